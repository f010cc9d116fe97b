//! What injection would do to a pod that is there, by the operator's own decision.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhook;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use liquid_operator::inject::{Input, Outcome, inject};
use liquid_operator::names::INJECT_LABEL;
use liquid_operator::webhook::cluster::to_injection;
use std::collections::BTreeMap;

use crate::snapshot::Snapshot;
use crate::snapshot::namespace::NamespaceState;

/// Annotation of a static pod's mirror, which no webhook can change.
const MIRROR: &str = "kubernetes.io/config.mirror";

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
    if pod.annotations().contains_key(MIRROR) {
        return false;
    }
    let labels = pod.labels();
    if let Some(webhook) = snapshot.installation.webhook.found() {
        let none = BTreeMap::new();
        let around = namespace.labels.as_ref().unwrap_or(&none);
        let mut entries = webhook.webhooks.iter().flatten();
        return entries.any(|entry| selects(entry, around, labels));
    }
    let around = namespace
        .labels
        .as_ref()
        .and_then(|labels| labels.get(INJECT_LABEL));
    match labels.get(INJECT_LABEL).map(String::as_str) {
        Some(value) => value == "enabled",
        None => around.is_some_and(|value| value == "enabled"),
    }
}

fn selects(
    entry: &MutatingWebhook,
    namespace: &BTreeMap<String, String>,
    pod: &BTreeMap<String, String>,
) -> bool {
    matches(entry.namespace_selector.as_ref(), namespace) && matches(entry.object_selector.as_ref(), pod)
}

/// Returns whether labels match a selector; none matches everything.
pub(crate) fn matches(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else { return true };
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}
