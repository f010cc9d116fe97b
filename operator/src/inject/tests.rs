//! What injection does: golden patches, rules one by one, and what holds for every pod.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod answers;
mod field;
mod golden;
mod interception;
mod properties;

use serde_json::{Value, json};

use super::*;
use crate::api::PodUser;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

fn defaults() -> SidecarDefaults {
    SidecarDefaults {
        image: "registry.example/liquid-sidecar:0.1.0".into(),
        pull_policy: "IfNotPresent",
        pull_secrets: vec!["registry-key".into()],
        user: PodUser::Fixed,
        any_address: Ipv4Addr::UNSPECIFIED.into(),
        log_format: "json",
    }
}

fn proxy(name: &str, created: &str) -> Proxy {
    let some = |text: &str| Some(text.to_owned());
    Proxy {
        name: name.into(),
        image: None,
        user: None,
        created: created.parse().ok(),
        port: 8787,
        admin_port: 9465,
        resources: SidecarResources {
            cpu_request: some("50m"),
            cpu_limit: some("1"),
            memory_request: some("64Mi"),
            memory_limit: some("512Mi"),
        },
        keys: Vec::new(),
        tls_interception: None,
    }
}

/// A situation in which a pod arrives.
#[derive(Clone, Debug)]
struct Scene {
    pod: Value,
    defaults: SidecarDefaults,
    proxies: Vec<Proxy>,
    config_maps: ConfigMaps,
}

impl Scene {
    fn new(pod: Value) -> Self {
        Self {
            pod,
            defaults: defaults(),
            proxies: vec![proxy("main", "2026-01-02T03:04:05Z")],
            config_maps: ConfigMaps::new(),
        }
    }

    fn config_map(mut self, name: &str, data: &[(&str, &str)]) -> Self {
        let data: BTreeMap<String, String> = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        self.config_maps.insert(name.into(), ConfigMapData::Known(data));
        self
    }

    fn answer(&self) -> Outcome {
        inject(&Input {
            pod: &self.pod,
            namespace: "shop",
            defaults: &self.defaults,
            proxies: &self.proxies,
            config_maps: &self.config_maps,
        })
    }

    /// The pod as the API server stores it. Panics if it is refused.
    fn patched(&self) -> Value {
        let mut pod = self.pod.clone();
        match self.answer().decision {
            Decision::Patch(patch) => json_patch::patch(&mut pod, &patch).unwrap(),
            Decision::Pass => {}
            Decision::Deny(denial) => panic!("{denial}"),
        }
        pod
    }

    /// The same situation for the patched pod.
    fn again(&self) -> Self {
        Self {
            pod: self.patched(),
            ..self.clone()
        }
    }
}

/// A pod of one container with these variables.
fn pod_with(env: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "app", "labels": { "app": "shop" } },
        "spec": { "containers": [{ "name": "app", "image": "app:1", "env": env }] },
    })
}

fn annotate(mut pod: Value, annotations: &[(&str, &str)]) -> Value {
    for (name, value) in annotations {
        pod["metadata"]["annotations"][format!("liquidmemory.dev/{name}")] = (*value).into();
    }
    pod
}

#[track_caller]
fn denied(scene: &Scene, wanted: &str) {
    match scene.answer().decision {
        Decision::Deny(denial) => assert_eq!(denial.to_string(), wanted),
        other => panic!("not denied: {other:?}"),
    }
}

/// The value that a container of the pod ends up with.
fn value<'a>(pod: &'a Value, container: &str, variable: &str) -> Option<&'a str> {
    let read = pod::Pod::read(pod).unwrap();
    let container = read
        .all_containers()
        .find(|found| found.name == container)
        .unwrap();
    let entries: Vec<&Value> = pod::items(container.value, "env").collect();
    let entry = entries
        .into_iter()
        .rev()
        .find(|entry| pod::text(entry, "name") == Some(variable));
    pod::text(entry?, "value")
}
