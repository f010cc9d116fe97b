//! Service meshes: whether a mesh's proxy stands, or will stand, before a pod's ports.
//!
//! Such a proxy may take its mesh's TLS and nothing else. The kubelet has none of it: its HTTP probes are then
//! refused, unless the mesh has rewritten them, which it does not do for containers that are added after it, and
//! which would hold up a native sidecar that starts before the mesh's own (istio #53786).

use super::patch_builder::Annotation;
use super::pod::{Container, Pod};
use crate::names::ISTIO_EXCLUDED_PORTS_ANNOTATION;

/// Containers of Istio.
const ISTIO_CONTAINERS: [&str; 4] = [
    "istio-proxy",
    "istio-init",
    "istio-validation",
    "enable-core-dump",
];
/// Containers of other meshes: Linkerd, Kuma, Consul, App Mesh.
const CONTAINERS: [&str; 10] = [
    "linkerd-proxy",
    "linkerd-init",
    "linkerd-network-validator",
    "kuma-sidecar",
    "kuma-init",
    "kuma-validation",
    "consul-dataplane",
    "consul-connect-inject-init",
    "envoy",
    "proxyinit",
];
/// Labels and annotations of pods that are, or will be, in Istio; and with which values. None: with any.
const ISTIO_MARKS: [(&str, &[&str]); 4] = [
    ("sidecar.istio.io/status", &[]),
    ("sidecar.istio.io/inject", &["true"]),
    ("security.istio.io/tlsMode", &["istio"]),
    ("istio.io/rev", &[]),
];
/// The same for other meshes.
const MARKS: [(&str, &[&str]); 6] = [
    ("linkerd.io/inject", &["enabled", "ingress"]),
    ("linkerd.io/proxy-version", &[]),
    ("kuma.io/sidecar-injected", &["true"]),
    ("kuma.io/sidecar-injection", &["enabled", "true"]),
    ("consul.hashicorp.com/connect-inject", &["true"]),
    ("consul.hashicorp.com/connect-inject-status", &["injected"]),
];
/// Returns true if a mesh's proxy is, or will be, in the pod.
pub(super) fn has_mesh(pod: &Pod<'_>) -> bool {
    has_istio(pod) || has_container(pod, &CONTAINERS) || has_mark(pod, &MARKS)
}

/// Returns true if a container is a mesh's. It calls no LLM, and a mesh's containers stay as the mesh has made them.
pub(super) fn is_part(container: &Container<'_>) -> bool {
    ISTIO_CONTAINERS.contains(&container.name) || CONTAINERS.contains(&container.name)
}

fn has_istio(pod: &Pod<'_>) -> bool {
    has_container(pod, &ISTIO_CONTAINERS) || has_mark(pod, &ISTIO_MARKS)
}

fn has_container(pod: &Pod<'_>, names: &[&str]) -> bool {
    pod.all_containers()
        .any(|container| names.contains(&container.name))
}

fn has_mark(pod: &Pod<'_>, marks: &[(&str, &[&str])]) -> bool {
    marks.iter().any(|(name, values)| {
        let mut found = ["labels", "annotations"]
            .into_iter()
            .filter_map(|map| pod.meta(map, name));
        found.any(|value| values.is_empty() || values.contains(&value))
    })
}

/// Returns the annotation that keeps Istio's proxy away from a port, beside the ports that the pod excludes itself.
/// None if there is nothing to add. Istio's network plugin reads it when the pod starts; an init container of Istio
/// that is there already does not.
pub(super) fn exclude_port(pod: &Pod<'_>, port: u16) -> Option<Annotation> {
    if !has_istio(pod) {
        return None;
    }
    let port = port.to_string();
    let excluded = pod
        .meta("annotations", ISTIO_EXCLUDED_PORTS_ANNOTATION)
        .unwrap_or_default();
    let ports: Vec<&str> = excluded
        .split(',')
        .map(str::trim)
        .filter(|port| !port.is_empty())
        .collect();
    if ports.contains(&"*") || ports.contains(&port.as_str()) {
        return None;
    }
    let value = [&ports[..], &[&port]].concat().join(",");
    Some(Annotation {
        name: ISTIO_EXCLUDED_PORTS_ANNOTATION,
        value,
    })
}
