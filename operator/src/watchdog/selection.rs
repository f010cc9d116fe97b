//! Which pods the API server asks the operator about: by the webhook's own selectors where there are any, else by the
//! meaning of the labels.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::{Selector, SelectorExt};

use crate::names::INJECT_LABEL;

/// Annotation of a static pod's mirror, which no webhook can change.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Value of the label that opts in.
const ENABLED: &str = "enabled";

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Returns whether the API server asks the operator about a pod with this metadata, in a namespace with these labels.
pub fn is_opted_in(
    webhook: Option<&MutatingWebhookConfiguration>,
    namespace: &Labels,
    pod: &ObjectMeta,
) -> bool {
    let annotations = pod.annotations.as_ref();
    if annotations.is_some_and(|annotations| annotations.contains_key(MIRROR)) {
        return false;
    }
    let none = Labels::new();
    let labels = pod.labels.as_ref().unwrap_or(&none);
    let Some(webhook) = webhook else {
        return opts_in(namespace, labels.get(INJECT_LABEL).map(String::as_str));
    };
    let mut entries = webhook.webhooks.iter().flatten();
    entries.any(|entry| selects(entry, namespace, labels))
}

/// Returns what the labels mean by themselves: the pod's label wins over its namespace's.
pub fn opts_in(namespace: &Labels, pod: Option<&str>) -> bool {
    let value = pod.or_else(|| namespace.get(INJECT_LABEL).map(String::as_str));
    value == Some(ENABLED)
}

fn selects(entry: &MutatingWebhook, namespace: &Labels, pod: &Labels) -> bool {
    matches(entry.namespace_selector.as_ref(), namespace) && matches(entry.object_selector.as_ref(), pod)
}

/// Returns whether labels match a selector; none matches everything.
pub fn matches(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    let Some(selector) = selector else { return true };
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn labels(value: Option<&str>) -> Labels {
        value
            .map(|value| (INJECT_LABEL.to_owned(), value.to_owned()))
            .into_iter()
            .collect()
    }

    fn meta(label: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            labels: Some(labels(label)),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn the_pods_label_wins_over_its_namespaces() {
        for (namespace, pod, wanted) in [
            (None, None, false),
            (Some("enabled"), None, true),
            (Some("enabled"), Some("disabled"), false),
            (None, Some("enabled"), true),
            (Some("disabled"), None, false),
        ] {
            let found = is_opted_in(None, &labels(namespace), &meta(pod));
            assert_eq!(found, wanted, "{namespace:?} {pod:?}");
        }
    }

    #[test]
    fn the_webhooks_selectors_decide_where_there_are_any() {
        let webhook: MutatingWebhookConfiguration = serde_json::from_value(json!({
            "metadata": {}, "webhooks": [{
                "name": "a", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {},
                "namespaceSelector": {"matchExpressions": [
                    {"key": INJECT_LABEL, "operator": "In", "values": ["enabled"]},
                    {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]},
                ]},
                "objectSelector": {"matchExpressions": [
                    {"key": INJECT_LABEL, "operator": "NotIn", "values": ["disabled"]},
                ]},
            }],
        }))
        .unwrap();
        let around = |name: &str| {
            let mut around = labels(Some("enabled"));
            around.insert("kubernetes.io/metadata.name".into(), name.into());
            around
        };
        let asks = |name: &str, label| is_opted_in(Some(&webhook), &around(name), &meta(label));
        assert!(asks("shop", None));
        assert!(!asks("shop", Some("disabled")));
        assert!(!asks("kube-system", None));
    }

    #[test]
    fn a_static_pods_mirror_is_never_asked_about() {
        let mirror = ObjectMeta {
            annotations: Some([(MIRROR.to_owned(), "sum".to_owned())].into()),
            ..meta(Some("enabled"))
        };
        assert!(!is_opted_in(None, &labels(Some("enabled")), &mirror));
    }
}
