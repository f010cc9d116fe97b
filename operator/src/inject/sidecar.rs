//! The injected container, and how it is recognised again.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::env::Upstreams;
use super::outcome::Denial;
use super::pod::{Container, List, Pod, items, text};
use super::settings::{Platform, Resources};
use crate::names::{CONFIG_FOLDER, INJECTED_ANNOTATION, SIDECAR_CONTAINER};

const LISTEN: &str = "LIQUID_SIDECAR__LISTEN__ADDRESS";
const ADMIN: &str = "LIQUID_SIDECAR__LISTEN__ADMIN";
const MODE: &str = "LIQUID_SIDECAR__POLICY__MODE";
const LOG_FORMAT: &str = "LIQUID_SIDECAR__LOG__FORMAT";

/// No user of the node and not root; the pod's own `runAsUser` must not reach the sidecar.
const USER: u32 = 65_532;
/// Seconds that the sidecar may take to listen.
const START_SECONDS: u32 = 60;

/// What the container is made from.
#[derive(Debug)]
pub(super) struct Spec<'a> {
    pub(super) platform: &'a Platform,
    pub(super) image: &'a str,
    pub(super) port: u16,
    pub(super) admin_port: u16,
    pub(super) mode: Option<&'static str>,
    pub(super) resources: Resources,
    pub(super) upstreams: &'a Upstreams,
    pub(super) mounts: Vec<Value>,
}

/// The container: a native sidecar that starts before all others and ends after them.
pub(super) fn container(spec: &Spec<'_>) -> Value {
    json!({
        "name": SIDECAR_CONTAINER,
        "image": spec.image,
        "imagePullPolicy": spec.platform.pull_policy,
        "restartPolicy": "Always",
        "args": ["--config", format!("{CONFIG_FOLDER}/sidecar.toml")],
        "env": variables(spec),
        "ports": [{ "name": "liquid-admin", "containerPort": spec.admin_port, "protocol": "TCP" }],
        "startupProbe": probe(spec.admin_port, "/livez", 1, START_SECONDS),
        "livenessProbe": probe(spec.admin_port, "/livez", 10, 3),
        "readinessProbe": probe(spec.admin_port, "/readyz", 5, 3),
        "resources": resources(&spec.resources),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsGroup": USER,
            "runAsNonRoot": true,
            "runAsUser": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": spec.mounts,
    })
}

fn variables(spec: &Spec<'_>) -> Vec<Value> {
    let mut variables = vec![
        variable(LISTEN, &format!("127.0.0.1:{}", spec.port)),
        variable(
            ADMIN,
            &SocketAddr::new(spec.platform.any_address, spec.admin_port).to_string(),
        ),
        variable(LOG_FORMAT, spec.platform.log_format),
    ];
    variables.extend(spec.mode.map(|mode| variable(MODE, mode)));
    variables.extend(
        spec.upstreams
            .variables()
            .map(|(name, value)| variable(name, value)),
    );
    variables
}

/// An entry of `env`.
pub(super) fn variable(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

/// Both endpoints answer without a worker, so a missing worker never holds an application up.
fn probe(port: u16, path: &str, period: u32, failures: u32) -> Value {
    json!({
        "httpGet": { "path": path, "port": port, "scheme": "HTTP" },
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    })
}

fn resources(resources: &Resources) -> Value {
    let side = |cpu: &Option<String>, memory: &Option<String>| {
        let pairs = [("cpu", cpu), ("memory", memory)];
        let set = pairs
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?.into())));
        set.collect::<Map<String, Value>>()
    };
    json!({
        "requests": side(&resources.cpu_request, &resources.memory_request),
        "limits": side(&resources.cpu_limit, &resources.memory_limit),
    })
}

/// A sidecar that the pod has already.
#[derive(Debug)]
pub(super) struct Present<'a> {
    /// Where it stands.
    pub(super) container: Container<'a>,
    /// Where it serves the application.
    pub(super) port: u16,
    /// What it has adopted.
    pub(super) upstreams: Upstreams,
}

/// Finds it: the name, the place and the annotation say that it is ours.
///
/// # Errors
/// The name is taken by something else.
pub(super) fn find<'a>(pod: &Pod<'a>) -> Result<Option<Present<'a>>, Denial> {
    let taken = |field| Denial::NameTaken {
        field,
        name: SIDECAR_CONTAINER.into(),
    };
    let named = |container: &Container<'_>| container.name == SIDECAR_CONTAINER;
    if pod.containers(List::Main).any(|container| named(&container)) {
        return Err(taken("spec.containers"));
    }
    let Some(container) = pod.containers(List::Init).find(named) else {
        return Ok(None);
    };
    let value_of = |name: &str| {
        let entry = items(container.value, "env").find(|entry| text(entry, "name") == Some(name));
        entry.and_then(|entry| text(entry, "value")).map(str::to_owned)
    };
    let port = value_of(LISTEN).and_then(|address| address.strip_prefix("127.0.0.1:")?.parse().ok());
    let ours = container.is_native_sidecar() && pod.meta("annotations", INJECTED_ANNOTATION).is_some();
    match port.filter(|_| ours) {
        Some(port) => Ok(Some(Present {
            container,
            port,
            upstreams: Upstreams::of(value_of),
        })),
        None => Err(taken("spec.initContainers")),
    }
}
