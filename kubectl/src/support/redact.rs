//! What of an object leaves the cluster: nothing that may hold a key or a text.

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use kube::ResourceExt;
use liquid_contract::environment::SIDECAR_PREFIX;
use liquid_operator::inject::env::Api;
use liquid_operator::names::{FIELD_MANAGER, GROUP, OPERATOR_LABELS, SIDECAR_CONTAINER};
use serde_json::{Value, json};

use crate::explain::describe_value;

/// Returns an object without its history, in which older versions of its fields stand.
pub(super) fn redact_object(mut object: Value) -> Value {
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
        if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|name, _| is_own_annotation(name));
        }
    }
    object
}

fn is_own_annotation(name: &str) -> bool {
    name.split_once('/').is_some_and(|(group, _)| group == GROUP)
}

/// Returns a Secret's names of keys with the lengths of their values.
pub(super) fn redact_secret(secret: &Secret) -> Value {
    let keys = secret
        .data
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), json!({"bytes": value.0.len()})));
    json!({
        "name": secret.name_any(),
        "type": secret.type_,
        "created": secret.metadata.creation_timestamp,
        "keys": keys.collect::<serde_json::Map<_, _>>(),
    })
}

/// Returns a pod with our containers whole, and of the others what decides about injection: name, image, base URLs.
pub(super) fn redact_pod(pod: &Pod) -> Value {
    let spec = pod.spec.as_ref();
    let is_all_ours = is_ours(pod);
    let list = |containers: Option<&Vec<Container>>| -> Vec<Value> {
        let containers = containers.into_iter().flatten();
        containers
            .map(
                |container| match is_all_ours || container.name == SIDECAR_CONTAINER {
                    true => redact_own(container),
                    false => redact_foreign(container),
                },
            )
            .collect()
    };
    let annotations = pod
        .annotations()
        .iter()
        .filter(|(name, _)| is_own_annotation(name));
    json!({
        "name": pod.name_any(),
        "created": pod.metadata.creation_timestamp,
        "deleted": pod.metadata.deletion_timestamp,
        "labels": pod.labels(),
        "annotations": annotations.collect::<std::collections::BTreeMap<_, _>>(),
        "owners": pod.owner_references(),
        "node": spec.and_then(|spec| spec.node_name.as_ref()),
        "initContainers": list(spec.and_then(|spec| spec.init_containers.as_ref())),
        "containers": list(spec.map(|spec| &spec.containers)),
        "status": pod.status.as_ref().map(|status| redact_status(status, is_all_ours)),
    })
}

/// Returns whether all containers of a pod are ours: the operator made it, or it is the operator.
fn is_ours(pod: &Pod) -> bool {
    let labels = pod.labels();
    let operator = OPERATOR_LABELS
        .iter()
        .all(|(name, value)| labels.get(*name).is_some_and(|found| found == value));
    let managed = labels
        .get("app.kubernetes.io/managed-by")
        .is_some_and(|by| by == FIELD_MANAGER);
    operator || managed
}

/// Returns conditions and states. The last words of a container that is not ours may hold anything.
fn redact_status(status: &k8s_openapi::api::core::v1::PodStatus, is_all_ours: bool) -> Value {
    let states = |statuses: &Option<Vec<k8s_openapi::api::core::v1::ContainerStatus>>| -> Vec<Value> {
        let statuses = statuses.iter().flatten();
        statuses
            .map(|status| {
                let mut status = status.clone();
                if !(is_all_ours || status.name == SIDECAR_CONTAINER) {
                    for state in [&mut status.state, &mut status.last_state].into_iter().flatten() {
                        if let Some(end) = &mut state.terminated {
                            end.message = None;
                        }
                    }
                }
                json!({
                    "name": status.name, "image": status.image, "imageID": status.image_id, "ready": status.ready,
                    "restarts": status.restart_count, "state": status.state, "lastState": status.last_state,
                })
            })
            .collect()
    };
    json!({
        "phase": status.phase,
        "podIP": status.pod_ip,
        "conditions": status.conditions,
        "initContainers": states(&status.init_container_statuses),
        "containers": states(&status.container_statuses),
    })
}

/// Returns a container of ours. A variable of the sidecar may be set by hand to a key: only those are shown that are not.
fn redact_own(container: &Container) -> Value {
    let mut value = json!(container);
    let entries = value.get_mut("env").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        let name = entry.get("name").and_then(Value::as_str).unwrap_or_default();
        let known = name.starts_with(SIDECAR_PREFIX) && !name.contains("PROVIDERS")
            || name.starts_with("LIQUID_OPERATOR_");
        if let (false, Some(fields)) = (known, entry.as_object_mut()) {
            fields.remove("value");
        }
    }
    value
}

fn redact_foreign(container: &Container) -> Value {
    let variables: Vec<&str> = Api::ALL.iter().flat_map(|api| api.variables()).copied().collect();
    let own = container
        .env
        .iter()
        .flatten()
        .filter(|entry| variables.contains(&entry.name.as_str()));
    json!({
        "name": container.name,
        "image": container.image,
        "ports": container.ports,
        "env": own.map(|entry| json!({"name": entry.name, "value": describe_value(entry)})).collect::<Vec<_>>(),
        "envFrom": container.env_from,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn no_value_of_an_application_leaves() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "SECRET-1", "liquidmemory.dev/mode": "auto",
            }},
            "spec": {
                "initContainers": [{"name": SIDECAR_CONTAINER, "env": [
                    {"name": "LIQUID_SIDECAR__LISTEN__ADDRESS", "value": "127.0.0.1:8787"},
                    {"name": "OPENAI_API_KEY", "value": "SECRET-2"},
                    {"name": "LIQUID_SIDECAR__UPSTREAM__PROVIDERS__OPENAI__BASE_URL", "value": "http://u:SECRET-3@h"},
                ]}],
                "containers": [{
                    "name": "main", "image": "app:1", "command": ["SECRET-4"], "args": ["SECRET-5"],
                    "env": [
                        {"name": "OPENAI_API_KEY", "value": "SECRET-6"},
                        {"name": "OPENAI_BASE_URL", "value": "http://u:SECRET-7@host/v1"},
                        {"name": "OPENAI_API_BASE", "value": "http://127.0.0.1:8787/v1"},
                    ],
                }],
            },
            "status": {"containerStatuses": [{
                "name": "main", "image": "app:1", "imageID": "", "ready": false, "restartCount": 1,
                "lastState": {"terminated": {"exitCode": 1, "message": "SECRET-8"}},
            }]},
        }))
        .unwrap();
        let text = redact_pod(&pod).to_string();
        assert!(!text.contains("SECRET-"), "{text}");
        for kept in [
            "http://127.0.0.1:8787/v1",
            "127.0.0.1:8787",
            "liquidmemory.dev/mode",
            "app:1",
        ] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }

    #[test]
    fn of_a_secret_the_names_leave_and_of_an_object_its_present() {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": "keys"}, "data": {"api-key": "U0VDUkVU"},
        }))
        .unwrap();
        let text = redact_secret(&secret).to_string();
        assert!(
            text.contains("\"api-key\":{\"bytes\":6}") && !text.contains("U0VDUkVU"),
            "{text}"
        );
        let object = json!({"metadata": {
            "managedFields": ["OLD"], "annotations": {"other.example/a": "OLD", "liquidmemory.dev/rollout": "1"},
        }});
        let wanted = json!({"metadata": {"annotations": {"liquidmemory.dev/rollout": "1"}}});
        assert_eq!(redact_object(object), wanted);
    }
}
