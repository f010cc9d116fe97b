//! The injected container, and how it is recognised again.

use std::net::SocketAddr;

use liquid_contract::environment::{
    SIDECAR_ADMIN, SIDECAR_INTERCEPT, SIDECAR_INTERCEPT_CERTIFICATE, SIDECAR_INTERCEPT_KEY, SIDECAR_LISTEN,
    SIDECAR_LOG_FORMAT, SIDECAR_MODE, SIDECAR_UNREAD, SIDECAR_WHOLE, ZONE,
};
use liquid_contract::{Mode, Unread, Whole, files};
use serde_json::{Map, Value, json};

use super::env::Upstreams;
use super::outcome::Denial;
use super::pod::{Container, ContainerList, Pod, items, text};
use super::probes::{ProbeMethod, build_probes};
use super::settings::{SidecarDefaults, SidecarResources};
use crate::api::PodUser;
use crate::names::{INJECTED_ANNOTATION, INTERCEPTION_FOLDER, SIDECAR_CONTAINER, ZONE_FIELD};

/// Everything that the sidecar's container is built from.
#[derive(Debug)]
pub(super) struct SidecarSpec<'a> {
    pub(super) defaults: &'a SidecarDefaults,
    pub(super) image: &'a str,
    /// As which user it runs.
    pub(super) user: PodUser,
    pub(super) probes: ProbeMethod,
    pub(super) port: u16,
    pub(super) admin_port: u16,
    /// Where it intercepts TLS.
    pub(super) intercept: Option<SocketAddr>,
    pub(super) mode: Option<Mode>,
    pub(super) unread: Option<Unread>,
    pub(super) whole: Option<Whole>,
    pub(super) resources: SidecarResources,
    pub(super) upstreams: &'a Upstreams,
    pub(super) mounts: Vec<Value>,
}

impl SidecarSpec<'_> {
    /// Returns the address on which the sidecar serves probes and metrics.
    fn admin_address(&self) -> SocketAddr {
        SocketAddr::new(self.defaults.any_address, self.admin_port)
    }
}

/// Builds the container: a native sidecar that starts before all others and ends after them.
pub(super) fn build_container(spec: &SidecarSpec<'_>) -> Value {
    let [startup, liveness, readiness] =
        build_probes(spec.probes, spec.admin_address()).map(|(_, probe)| probe);
    json!({
        "name": SIDECAR_CONTAINER,
        "image": spec.image,
        "imagePullPolicy": spec.defaults.pull_policy,
        "restartPolicy": "Always",
        "args": ["--config", format!("{}/{}", files::CONFIG_FOLDER, files::SIDECAR_CONFIG)],
        "env": build_variables(spec),
        "ports": [{ "name": "liquid-admin", "containerPort": spec.admin_port, "protocol": "TCP" }],
        "startupProbe": startup,
        "livenessProbe": liveness,
        "readinessProbe": readiness,
        "resources": build_resources(&spec.resources),
        "securityContext": build_security(spec.user),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": spec.mounts,
    })
}

/// Builds the security context. With a user of its own, the pod's `runAsUser` does not reach the sidecar.
fn build_security(user: PodUser) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsGroup": user.id(),
        "runAsNonRoot": true,
        "runAsUser": user.id(),
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    if let Some(fields) = context.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    context
}

fn build_variables(spec: &SidecarSpec<'_>) -> Vec<Value> {
    let mut variables = vec![
        build_variable(SIDECAR_LISTEN, &format!("127.0.0.1:{}", spec.port)),
        build_variable(SIDECAR_ADMIN, &spec.admin_address().to_string()),
        build_variable(SIDECAR_LOG_FORMAT, spec.defaults.log_format),
        json!({ "name": ZONE, "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": ZONE_FIELD } } }),
    ];
    if let Some(address) = spec.intercept {
        let file = |name: &str| format!("{INTERCEPTION_FOLDER}/{name}");
        variables.extend([
            build_variable(SIDECAR_INTERCEPT, &address.to_string()),
            build_variable(SIDECAR_INTERCEPT_CERTIFICATE, &file(files::CERTIFICATE)),
            build_variable(SIDECAR_INTERCEPT_KEY, &file(files::KEY)),
        ]);
    }
    let policy = [
        (SIDECAR_MODE, spec.mode.map(Mode::name)),
        (SIDECAR_UNREAD, spec.unread.map(Unread::name)),
        (SIDECAR_WHOLE, spec.whole.map(Whole::name)),
    ];
    variables.extend(
        policy
            .into_iter()
            .filter_map(|(name, value)| Some(build_variable(name, value?))),
    );
    variables.extend(
        spec.upstreams
            .variables()
            .map(|(name, value)| build_variable(name, value)),
    );
    variables
}

/// Builds an entry of `env`.
pub(super) fn build_variable(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

fn build_resources(resources: &SidecarResources) -> Value {
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

/// The sidecar that a pod has already.
#[derive(Debug)]
pub(super) struct InjectedSidecar<'a> {
    /// The sidecar's container.
    pub(super) container: Container<'a>,
    /// The port on which it serves the application.
    pub(super) port: u16,
    /// The address on which it serves probes and metrics.
    pub(super) admin: Option<SocketAddr>,
    /// Where it intercepts TLS.
    pub(super) intercept: Option<SocketAddr>,
    /// The upstreams that it has adopted.
    pub(super) upstreams: Upstreams,
}

/// Finds the injected sidecar: its name, its place and the annotation tell it from a container of the
/// application.
///
/// # Errors
/// The name is taken by another container.
pub(super) fn find_sidecar<'a>(pod: &Pod<'a>) -> Result<Option<InjectedSidecar<'a>>, Denial> {
    let taken = |field| Denial::NameTaken {
        field,
        name: SIDECAR_CONTAINER.into(),
    };
    let named = |container: &Container<'_>| container.name == SIDECAR_CONTAINER;
    if pod
        .containers(ContainerList::Main)
        .any(|container| named(&container))
    {
        return Err(taken("spec.containers"));
    }
    let Some(container) = pod.containers(ContainerList::Init).find(named) else {
        return Ok(None);
    };
    let value_of = |name: &str| {
        let entry = items(container.value, "env").find(|entry| text(entry, "name") == Some(name));
        entry.and_then(|entry| text(entry, "value")).map(str::to_owned)
    };
    let port = value_of(SIDECAR_LISTEN).and_then(|address| address.strip_prefix("127.0.0.1:")?.parse().ok());
    let ours = container.is_native_sidecar() && pod.meta("annotations", INJECTED_ANNOTATION).is_some();
    match port.filter(|_| ours) {
        Some(port) => Ok(Some(InjectedSidecar {
            container,
            port,
            admin: value_of(SIDECAR_ADMIN).and_then(|address| address.parse().ok()),
            intercept: value_of(SIDECAR_INTERCEPT).and_then(|address| address.parse().ok()),
            upstreams: Upstreams::from_variables(value_of),
        })),
        None => Err(taken("spec.initContainers")),
    }
}
