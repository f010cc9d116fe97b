//! What injection would do to a pod that is there, by the operator's own decision.

use k8s_openapi::api::core::v1::Pod;
use liquid_operator::inject::{Input, Outcome, inject};
use liquid_operator::watchdog::selection::{self, Labels};
use liquid_operator::webhook::cluster::to_injection;

use crate::snapshot::Snapshot;
use crate::snapshot::namespace::NamespaceState;

/// Returns what the operator would decide about a pod; none where there is no operator, or the pod is no JSON.
pub(crate) fn decide(snapshot: &Snapshot, namespace: &NamespaceState, pod: &Pod) -> Option<Outcome> {
    let defaults = snapshot.operator()?.settings.sidecar_defaults();
    let proxies: Vec<_> = namespace.proxies.iter().filter_map(to_injection).collect();
    let value = serde_json::to_value(pod).ok()?;
    Some(inject(&Input {
        pod: &value,
        namespace: &namespace.name,
        defaults: &defaults,
        proxies: &proxies,
        config_maps: &namespace.config_maps,
    }))
}

/// Returns whether the API server asks the operator about a pod with these labels: by the webhook's selectors, where they may
/// be read, else by the labels' meaning.
pub(crate) fn is_opted_in(snapshot: &Snapshot, namespace: &NamespaceState, pod: &Pod) -> bool {
    let none = Labels::new();
    let around = namespace.labels.as_ref().unwrap_or(&none);
    let webhook = snapshot.installation.webhook.found();
    selection::is_opted_in(webhook, around, &pod.metadata)
}
