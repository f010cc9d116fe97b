//! Namespaces: do they opt in as they mean to, and has each that does a proxy.

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
            None if !namespace.proxies.is_empty() && !has_own_opt_in(namespace) => findings.push(Finding::new(
                Fault::NamespaceNotOptedIn,
                object(),
                format!("it has a LiquidMemoryProxy, but neither it nor a pod of it has the label {INJECT_LABEL}=enabled: no pod gets a sidecar"),
                format!("kubectl label namespace {name} {INJECT_LABEL}=enabled, then restart its workloads"),
            )),
            None => {}
        }
    }
}

/// Returns whether a pod opts in by itself. Where pods may not be listed it may be so.
fn has_own_opt_in(namespace: &NamespaceState) -> bool {
    let Some(pods) = &namespace.pods else { return true };
    let mut pods = pods.iter();
    pods.any(|pod| {
        pod.labels()
            .get(INJECT_LABEL)
            .is_some_and(|value| value == "enabled")
    })
}
