//! Alerts and dashboard of the chart ask for metrics and labels that the programs export, as the tables of their
//! `REFERENCE.md` say, which are made from the sources; and what the plugin for kubectl adds up is in them too.

use std::collections::{BTreeMap, BTreeSet};

use kube::Resource;
use liquid_contract::metrics::{SIDECAR_SITE_TOKENS_AFTER, SIDECAR_SITE_TOKENS_BEFORE};
use liquid_operator::api::LiquidMemoryProxy;
use liquid_operator::names;
use serde_json::Value;

use crate::render::read;

/// Labels that Prometheus sets by the pod it reads, and those of histograms.
const AROUND: [&str; 3] = ["namespace", "pod", "le"];

/// Every sample that a program exports, with its labels.
fn exported() -> BTreeMap<String, BTreeSet<String>> {
    let mut samples = BTreeMap::new();
    for program in ["operator", "sidecar", "worker"] {
        let page = read(&format!("{program}/REFERENCE.md"));
        let (_, table) = page.split_once("<!-- generated: metrics -->").unwrap();
        let (table, _) = table.split_once("<!-- end -->").unwrap();
        for row in table.lines().filter(|row| row.starts_with("| `")) {
            let cells: Vec<&str> = row.split(" | ").collect();
            let name = cells[0].trim_start_matches("| ").trim_matches('`');
            let labels: BTreeSet<String> = words(cells[2]).map(str::to_owned).collect();
            let suffixes: &[&str] = match cells[1] {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            for suffix in suffixes {
                samples.insert(format!("{name}{suffix}"), labels.clone());
            }
        }
    }
    samples
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "_:".contains(letter)));
    words.filter(|word| !word.is_empty())
}

/// The metrics of a query, each with the labels that its braces name.
fn selectors(query: &str) -> Vec<(&str, Vec<&str>)> {
    let names = words(query).filter(|word| {
        let prefixes = ["liquid_", "gen_ai_client", "vllm:"];
        prefixes.iter().any(|prefix| word.starts_with(prefix))
    });
    let mut found = Vec::new();
    let mut rest = query;
    for name in names {
        let (_, after) = rest.split_once(name).unwrap();
        rest = after;
        let braces = rest.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let labels = braces.map_or("", |(inside, _)| inside).split(',');
        let labels = labels.filter_map(|pair| pair.split(['=', '!']).next());
        found.push((
            name,
            labels.map(str::trim).filter(|label| !label.is_empty()).collect(),
        ));
    }
    found
}

/// The labels of every `by (...)`.
fn groupings(query: &str) -> impl Iterator<Item = &str> {
    let parts = query.split("by (").skip(1);
    parts.flat_map(|part| words(part.split(')').next().unwrap_or_default()))
}

fn check(query: &str, exported: &BTreeMap<String, BTreeSet<String>>) {
    let mut known: BTreeSet<&str> = AROUND.into();
    for (name, labels) in selectors(query) {
        let own = exported
            .get(name)
            .unwrap_or_else(|| panic!("no program exports {name}: {query}"));
        for label in labels {
            assert!(
                own.contains(label) || AROUND.contains(&label),
                "{name} has no label {label}: {query}"
            );
        }
        known.extend(own.iter().map(String::as_str));
    }
    for label in groupings(query) {
        assert!(known.contains(label), "nothing has the label {label}: {query}");
    }
}

/// The values of `expr` at any depth.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_str().filter(|_| name == "expr") {
                    Some(query) => found.push(query.to_owned()),
                    None => queries(field, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

#[test]
fn alerts_and_dashboard_ask_for_what_is_exported() {
    let exported = exported();
    let folder = "deploy/charts/liquid-memory/files";
    for (file, least) in [("rules.yaml", 10), ("dashboard.json", 20)] {
        let value: Value = serde_saphyr::from_str(&read(&format!("{folder}/{file}"))).unwrap();
        let mut found = Vec::new();
        queries(&value, &mut found);
        assert!(found.len() >= least, "{file} has {} queries", found.len());
        found.iter().for_each(|query| check(query, &exported));
    }
}

#[test]
fn the_guides_autoscaler_asks_for_what_workers_export() {
    let guide = read("deploy/README.md");
    let mut blocks = guide.split("```yaml\n").skip(1);
    let found = blocks.find(|block| block.contains("kind: ScaledObject")).unwrap();
    let scaled: Value = serde_saphyr::from_str(found.split("```").next().unwrap()).unwrap();
    let target = &scaled["spec"]["scaleTargetRef"];
    assert_eq!(target["apiVersion"], LiquidMemoryProxy::api_version(&()).as_ref());
    assert_eq!(target["kind"], LiquidMemoryProxy::kind(&()).as_ref());
    let exported = exported();
    let triggers = scaled["spec"]["triggers"].as_array().unwrap();
    assert_eq!(triggers.len(), 2);
    for trigger in triggers {
        let metadata = &trigger["metadata"];
        let query = metadata["query"].as_str().unwrap();
        assert_eq!(selectors(query).len(), 1, "{query}");
        check(query, &exported);
        assert!(metadata["threshold"].as_str().unwrap().parse::<u64>().unwrap() > 0);
        let pods = format!("pod=~\"{}-.+\"", names::workers(target["name"].as_str().unwrap()));
        assert!(query.contains(&pods), "{query}");
    }
}

#[test]
fn a_metric_or_a_label_that_no_program_has_is_found() {
    let exported = exported();
    check(
        "sum by (pod, decision) (rate(liquid_sidecar_requests_total{namespace=~\"a\",reason=\"b\"}[5m]))",
        &exported,
    );
    for wrong in [
        "liquid_sidecar_request_total",
        "liquid_sidecar_requests_total{cause=\"a\"}",
        "sum by (tier) (liquid_sidecar_requests_total)",
        "vllm:num_requests_waited",
        "liquid_worker_stage_seconds",
    ] {
        let outcome = std::panic::catch_unwind(|| check(wrong, &exported));
        assert!(outcome.is_err(), "{wrong}");
    }
}

#[test]
fn the_plugin_adds_up_what_sidecars_export() {
    let exported = exported();
    for name in [SIDECAR_SITE_TOKENS_BEFORE, SIDECAR_SITE_TOKENS_AFTER] {
        let labels = exported.get(name).unwrap();
        let wanted = ["decision", "kind", "reason"];
        assert!(labels.iter().eq(wanted.iter()), "{name}: {labels:?}");
    }
}

#[test]
fn the_charts_labels_are_those_by_which_the_operator_is_found() {
    let helpers = read("deploy/charts/liquid-memory/templates/_helpers.tpl");
    for (name, value) in liquid_operator::names::OPERATOR_LABELS {
        assert!(
            helpers.contains(&format!("\n{name}: {value}\n")),
            "{name}: {value}"
        );
    }
}

#[test]
fn the_guide_lists_every_alert() {
    let rules: Value = serde_saphyr::from_str(&read("deploy/charts/liquid-memory/files/rules.yaml")).unwrap();
    let guide = read("deploy/README.md");
    let alerts = rules["groups"][0]["rules"].as_array().unwrap();
    for alert in alerts {
        let row = format!(
            "| `{}` | {} | ",
            alert["alert"].as_str().unwrap(),
            alert["labels"]["severity"].as_str().unwrap()
        );
        assert_eq!(guide.matches(&row).count(), 1, "{row}");
        let text = alert["annotations"]["description"].as_str().unwrap();
        assert!(!text.is_empty());
    }
    assert_eq!(guide.matches("| `LiquidMemory").count(), alerts.len());
}
