//! Namespaces: do they opt in as they mean to, and has each that does a proxy.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use liquid_operator::names::INJECT_LABEL;

use super::finding::{Fault, Finding, ObjectName};
use crate::snapshot::Snapshot;
use crate::snapshot::namespace::NamespaceState;

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    for namespace in &snapshot.namespaces {
        let Some(labels) = &namespace.labels else { continue };
        let object = || ObjectName::cluster("Namespace", &namespace.name);
        let name = &namespace.name;
        match labels.get(INJECT_LABEL).map(String::as_str) {
            Some("enabled") if namespace.proxies.is_empty() && snapshot.proxies_known => findings.push(Finding::new(
                Fault::NamespaceWithoutProxy,
                object(),
                format!("it has the label {INJECT_LABEL}=enabled and no LiquidMemoryProxy: its pods cannot be created"),
                format!("apply a LiquidMemoryProxy in {name}, or: kubectl label namespace {name} {INJECT_LABEL}-"),
            )),
            Some("enabled" | "disabled") => {}
            Some(value) => findings.push(Finding::new(
                Fault::LabelUnknown,
                object(),
                format!("its label {INJECT_LABEL} is {value:?}, which opts nothing in: its pods get no sidecar"),
                format!("kubectl label namespace {name} {INJECT_LABEL}=enabled --overwrite"),
            )),
            None if !namespace.proxies.is_empty() && !is_used(namespace) => findings.push(Finding::new(
                Fault::NamespaceNotOptedIn,
                object(),
                format!("it has a LiquidMemoryProxy, but neither it nor a pod of it has the label {INJECT_LABEL}=enabled: no pod gets a sidecar"),
                format!("kubectl label namespace {name} {INJECT_LABEL}=enabled, then restart its workloads"),
            )),
            None => {}
        }
    }
}

/// Returns whether the proxies of a namespace that has no label are used: by a gateway, or by pods that opt in by themselves.
/// Where pods may not be listed they may be.
fn is_used(namespace: &NamespaceState) -> bool {
    let Some(pods) = &namespace.pods else {
        return true;
    };
    let own = |pod: &Pod| {
        pod.labels()
            .get(INJECT_LABEL)
            .is_some_and(|value| value == "enabled")
    };
    namespace.proxies.iter().any(|proxy| proxy.spec.gateway.is_some()) || pods.iter().any(own)
}
