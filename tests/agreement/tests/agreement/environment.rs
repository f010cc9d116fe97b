//! The variables that injection gives a sidecar are read by the sidecar, each of them.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use liquid_contract::{Mode, environment, files, ports};
use liquid_operator::api::{InterceptedPods, PodUser};
use liquid_operator::inject::{
    ConfigMaps, Decision, Input, Proxy, SidecarDefaults, SidecarResources, inject,
};
use liquid_operator::names;
use serde_json::{Value, json};

use crate::render::{Files, proxy};

/// The container that injection adds to a pod with these annotations, whose application calls gateways of its own.
pub(crate) fn container(annotations: &Value, log_format: &'static str) -> Value {
    let mut pod = json!({
        "metadata": { "name": "app", "annotations": annotations },
        "spec": { "containers": [{ "name": "app", "image": "app:1", "env": [
            { "name": "OPENAI_BASE_URL", "value": "https://gateway.corp/v1" },
            { "name": "ANTHROPIC_BASE_URL", "value": "https://claude.corp" },
        ] }] },
    });
    let defaults = SidecarDefaults {
        image: "registry.example/liquid-sidecar:0.1.0".into(),
        pull_policy: "IfNotPresent",
        pull_secrets: Vec::new(),
        user: PodUser::Fixed,
        any_address: Ipv4Addr::UNSPECIFIED.into(),
        log_format,
    };
    let proxy = Proxy {
        name: "docs".into(),
        image: None,
        user: None,
        created: None,
        port: ports::SIDECAR,
        admin_port: ports::SIDECAR_ADMIN,
        resources: SidecarResources::default(),
        keys: Vec::new(),
        tls_interception: Some(InterceptedPods::Annotated),
    };
    let outcome = inject(&Input {
        pod: &pod,
        namespace: "legal",
        defaults: &defaults,
        proxies: &[proxy],
        config_maps: &ConfigMaps::new(),
    });
    let Decision::Patch(patch) = outcome.decision else {
        panic!("{:?}", outcome.decision)
    };
    json_patch::patch(&mut pod, &patch).unwrap();
    let containers = pod["spec"]["initContainers"].as_array().unwrap();
    let sidecar = containers
        .iter()
        .find(|container| container["name"] == names::SIDECAR_CONTAINER);
    sidecar.unwrap().clone()
}

/// What Kubernetes makes of the field that it fills in.
pub(crate) const NODE_ZONE: &str = "zone-1";

/// The variables of a container, in the zone [`NODE_ZONE`].
pub(crate) fn variables(container: &Value) -> Vec<(String, String)> {
    let text = |entry: &Value| entry.as_str().unwrap().to_owned();
    let value = |entry: &Value| match &entry["valueFrom"]["fieldRef"]["fieldPath"] {
        Value::Null => text(&entry["value"]),
        field => {
            assert_eq!(field, names::ZONE_FIELD);
            NODE_ZONE.to_owned()
        }
    };
    let entries = container["env"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| (text(&entry["name"]), value(entry)))
        .collect()
}

fn annotations() -> Value {
    json!({
        "liquidmemory.dev/mode": "force",
        "liquidmemory.dev/unread": "refuse",
        "liquidmemory.dev/whole": "coverage",
        "liquidmemory.dev/port": "18787",
        "liquidmemory.dev/admin-port": "19465",
        "liquidmemory.dev/adopt-upstream": "true",
        "liquidmemory.dev/tls-interception": "true",
    })
}

#[test]
fn every_annotation_reaches_the_sidecar() {
    let rendered = Files::render(&proxy(json!({})));
    let variables = variables(&container(&annotations(), "text"));
    let mut named: Vec<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
    named.sort_unstable();
    let mut known = [
        environment::SIDECAR_LISTEN,
        environment::SIDECAR_ADMIN,
        environment::SIDECAR_INTERCEPT,
        environment::SIDECAR_INTERCEPT_CERTIFICATE,
        environment::SIDECAR_INTERCEPT_KEY,
        environment::SIDECAR_MODE,
        environment::SIDECAR_UNREAD,
        environment::SIDECAR_WHOLE,
        environment::SIDECAR_LOG_FORMAT,
        environment::ZONE,
        environment::SIDECAR_OPENAI_URL,
        environment::SIDECAR_ANTHROPIC_URL,
    ];
    known.sort_unstable();
    assert_eq!(named, known);
    let config = rendered.sidecar(variables).unwrap();
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:18787");
    assert_eq!(config.listen.admin.to_string(), "0.0.0.0:19465");
    let file = |name: &str| Some(PathBuf::from(format!("{}/{name}", names::INTERCEPTION_FOLDER)));
    assert_eq!(config.intercept.address, "127.0.0.1:443".parse().ok());
    assert_eq!(config.intercept.cert_file, file(files::CERTIFICATE));
    assert_eq!(config.intercept.key_file, file(files::KEY));
    assert_eq!(format!("{:?}", config.policy.mode), "Force");
    assert_eq!(format!("{:?}", config.policy.unread), "Refuse");
    assert_eq!(format!("{:?}", config.policy.whole), "Coverage");
    assert_eq!(format!("{:?}", config.log.format), "Text");
    assert_eq!(config.extract.zone, NODE_ZONE);
    let url = |name: &str| config.upstream.providers[name].base_url.clone().unwrap();
    assert_eq!(url("openai"), "https://gateway.corp/v1");
    assert_eq!(url("anthropic"), "https://claude.corp/v1");
}

#[test]
fn no_variable_is_without_effect() {
    let files = Files::render(&proxy(json!({})));
    let all = variables(&container(&annotations(), "text"));
    let whole = files.sidecar(all.clone()).unwrap();
    for (left_out, (name, _)) in all.iter().enumerate() {
        let mut others = all.clone();
        others.remove(left_out);
        // One without which the others are refused has an effect.
        assert_ne!(files.sidecar(others).ok().as_ref(), Some(&whole), "{name}");
    }
}

#[test]
fn every_mode_and_log_format_is_read() {
    let files = Files::render(&proxy(json!({})));
    for mode in Mode::ALL {
        let annotations = json!({ "liquidmemory.dev/mode": mode.name() });
        let config = files
            .sidecar(variables(&container(&annotations, "json")))
            .unwrap();
        assert_eq!(format!("{:?}", config.policy.mode), format!("{mode:?}"));
        assert_eq!(format!("{:?}", config.log.format), "Json");
    }
}
