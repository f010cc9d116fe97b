//! The charts name ports, paths and variables of the operator; the operator has them.

use std::collections::BTreeSet;

use liquid_contract::{endpoints, ports};
use liquid_operator::config::Settings;

use crate::render::{read, root};

const TEMPLATES: &str = "deploy/charts/liquid-memory/templates";

/// The operator's settings, with what it needs and no more.
fn settings() -> Settings {
    let command = <Settings as clap::Args>::augment_args(clap::Command::new("operator"));
    let images = ["operator", "--sidecar-image", "s", "--worker-image", "w"];
    let matches = command.try_get_matches_from(images).unwrap();
    <Settings as clap::FromArgMatches>::from_arg_matches(&matches).unwrap()
}

/// The variables that the operator reads.
fn known() -> BTreeSet<String> {
    let command = <Settings as clap::Args>::augment_args(clap::Command::new("operator"));
    let variables = command.get_arguments().filter_map(|argument| argument.get_env());
    variables
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

#[test]
fn ports_are_those_that_the_operator_listens_on() {
    let settings = settings();
    assert_eq!(settings.webhook_address().port(), ports::OPERATOR_WEBHOOK);
    assert_eq!(settings.admin_address().port(), ports::OPERATOR_ADMIN);
    let template = |name: &str| read(&format!("{TEMPLATES}/{name}"));
    let (deployment, service) = (template("deployment.yaml"), template("service.yaml"));
    let (policy, helpers) = (template("networkpolicy.yaml"), template("_helpers.tpl"));
    let values = read("deploy/charts/liquid-memory/values.yaml");
    for (name, value, port) in [
        ("webhook", "webhookPort", ports::OPERATOR_WEBHOOK),
        ("admin", "adminPort", ports::OPERATOR_ADMIN),
    ] {
        let rendered = format!("{{{{ include \"liquid.{value}\" . }}}}");
        for (text, line) in [
            (&values, format!("\n  {value}: {port}\n")),
            (&helpers, format!(".Values.operator.{value} | default {port} ")),
            (
                &deployment,
                format!("{{name: {name}, containerPort: {rendered}}}"),
            ),
            (&service, format!("targetPort: {rendered}}}")),
            (&policy, format!("{{port: {rendered}}}")),
        ] {
            assert!(text.contains(&line), "{line}");
        }
    }
    for (text, entry) in [
        (&deployment, "containerPort:"),
        (&service, "targetPort:"),
        (&policy, "{port:"),
    ] {
        assert_eq!(text.matches(entry).count(), 2, "{entry}");
    }
}

#[test]
fn probes_ask_what_the_operator_serves() {
    let deployment = read(&format!("{TEMPLATES}/deployment.yaml"));
    for (probe, path) in [
        ("startupProbe", endpoints::LIVEZ),
        ("livenessProbe", endpoints::LIVEZ),
        ("readinessProbe", endpoints::READYZ),
    ] {
        let line = format!("{probe}: {{httpGet: {{path: {path}, port: admin}}");
        assert!(deployment.contains(&line), "{line}");
    }
}

#[test]
fn variables_are_those_that_the_operator_reads() {
    let known = known();
    assert!(known.contains("LIQUID_OPERATOR_NAMESPACE"), "{known:?}");
    let mut set = BTreeSet::new();
    for entry in std::fs::read_dir(root().join(TEMPLATES)).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        for name in words.filter(|word| word.starts_with("LIQUID_")) {
            assert!(known.contains(name), "{}: {name}", path.display());
            set.insert(name.to_owned());
        }
    }
    assert!(set.len() > 10, "{set:?}");
}
