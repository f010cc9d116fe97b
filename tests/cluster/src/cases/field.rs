//! Faults that users of other operators and injectors have reported, tried here: clusters and pods that differ from those of
//! the guide.

mod charts;
mod pods;
mod users;
mod workers;

use anyhow::Result;
use serde_json::{Value, json};

use super::Case;
use crate::kubectl::{apply, text};
use crate::world::Namespace;

pub(super) const CASES: &[(&str, Case)] = &[
    (
        "field::case_33_pods_on_windows_are_skipped_with_an_event",
        pods::windows,
    ),
    (
        "field::case_34_users_are_left_to_the_platform_by_the_proxy",
        users::by_proxy,
    ),
    (
        "field::case_34_users_are_left_to_the_platform_by_the_chart",
        users::by_chart,
    ),
    (
        "field::case_35_the_sidecar_fits_into_the_pods_own_resources",
        pods::resources,
    ),
    (
        "field::case_36_names_that_no_service_can_have_are_refused",
        workers::names,
    ),
    (
        "field::case_37_release_names_of_every_length_make_valid_names",
        charts::release_names,
    ),
    (
        "field::case_39_values_move_the_webhook_to_the_nodes_network",
        charts::host_network,
    ),
    (
        "field::case_39_the_webhook_answers_on_the_nodes_network",
        charts::on_the_nodes_network,
    ),
    (
        "field::case_40_probes_work_in_a_mesh_and_its_parts_are_kept",
        pods::mesh,
    ),
    (
        "field::case_quotas_and_limit_ranges_are_named_with_the_remedy",
        workers::refused,
    ),
];

/// A namespace that opts in, with a proxy that wants no worker. The pods are only tried, or never start.
fn without_workers(name: &str) -> Result<Namespace> {
    let namespace = Namespace::new(name, &json!({"liquidmemory.dev/inject": "enabled"}))?;
    apply(&json!({
        "apiVersion": "liquidmemory.dev/v1alpha1", "kind": "LiquidMemoryProxy",
        "metadata": {"name": "proxy", "namespace": name},
        "spec": {"workers": {"replicas": 0}},
    }))?;
    Ok(namespace)
}

/// The injected container of a pod, if there is one.
fn sidecar(pod: &Value) -> Option<&Value> {
    let containers = pod.pointer("/spec/initContainers")?.as_array()?;
    containers
        .iter()
        .find(|container| text(container, "/name") == "liquid-sidecar")
}

/// Sets a field of a pod's or a template's spec, at this pointer.
fn set(object: &mut Value, pointer: &str, field: &str, value: Value) {
    if let Some(fields) = object.pointer_mut(pointer).and_then(Value::as_object_mut) {
        fields.insert(field.to_owned(), value);
    }
}
