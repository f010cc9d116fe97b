//! GPUs: Pending with a useful condition where there is none, Running where a node offers one. The nodes have no real
//! GPU; the resource is advertised, so scheduling and quotas are real and the worker runs on the CPU.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::kubectl::{apply, get, kubectl, list, text};
use crate::manifest;
use crate::status::{event, until_reason};
use crate::world::{Namespace, World, eventually};

pub(super) const CASES: &[(&str, Case)] = &[
    ("gpu::pending_says_why_and_runs_once_there_is_one", pending),
    ("gpu::claims_are_allocated", claims),
];

fn pending(_: &World) -> Result<()> {
    let namespace = Namespace::opted_in("gpu")?;
    let name = namespace.0.as_str();
    let gpu = json!({"resourceName": "nvidia.com/gpu", "count": 1});
    apply(&with_workers(name, "gpu", gpu))?;
    until_reason(name, "proxy", "WorkersReady", "NoGpu", Duration::from_secs(60))?;
    let note = event(name, "proxy", "WorkersNotReady")?;
    ensure!(
        note.contains("nvidia.com/gpu"),
        "the Event does not say why: {note}"
    );
    advertise(Some("1"))?;
    let outcome = kubectl(&[
        "wait",
        "--namespace",
        name,
        "--for=condition=Ready",
        "--timeout=120s",
        "lmp/proxy",
    ]);
    let pods = list(name, &["pods"])?;
    advertise(None)?;
    outcome?;
    let limit = pods.first().and_then(|pod| {
        pod.pointer("/spec/containers/0/resources/limits/nvidia.com~1gpu")
            .cloned()
    });
    ensure!(limit == Some(json!("1")), "the worker asks for no GPU: {limit:?}");
    Ok(())
}

/// A proxy whose workers have this, too.
fn with_workers(namespace: &str, field: &str, value: Value) -> Value {
    let mut wanted = manifest::proxy(namespace, "proxy");
    if let Some(workers) = wanted.pointer_mut("/spec/workers").and_then(Value::as_object_mut) {
        workers.insert(field.to_owned(), value);
    }
    wanted
}

/// Dynamic resource allocation up to what needs a driver: the scheduler allocates a device to the worker's claim and
/// chooses the device's node. The kubelet then waits for a driver that is not there.
fn claims(_: &World) -> Result<()> {
    const DRIVER: &str = "gpu.liquid.test";
    let namespace = Namespace::opted_in("gpu-claims")?;
    let name = namespace.0.as_str();
    apply(&json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": DRIVER},
        "spec": {"selectors": [{"cel": {"expression": format!("device.driver == '{DRIVER}'")}}]},
    }))?;
    apply(&json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "gpu", "namespace": name},
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": DRIVER}}]}},
    }))?;
    let claims = json!([{"name": "gpu", "resourceClaimName": "gpu"}]);
    apply(&with_workers(name, "resourceClaims", claims))?;
    until_reason(
        name,
        "proxy",
        "WorkersReady",
        "Unschedulable",
        Duration::from_secs(60),
    )?;
    apply(&json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "node1-gpu"},
        "spec": {"driver": DRIVER, "nodeName": "node1", "devices": [{"name": "gpu-0"}],
            "pool": {"name": "node1", "generation": 1, "resourceSliceCount": 1}},
    }))?;
    let device = eventually("the allocation", Duration::from_secs(60), || {
        let claim = get(name, &["resourceclaim", "gpu"])?;
        Ok(claim
            .pointer("/status/allocation/devices/results/0/device")
            .cloned())
    })?;
    let pods = list(name, &["pods"])?;
    let pod = pods.first().context("no worker")?;
    ensure!(
        device == json!("gpu-0") && text(pod, "/spec/nodeName") == "node1",
        "allocated is {device}, and the worker is {pod}"
    );
    ensure!(
        text(pod, "/spec/containers/0/resources/claims/0/name") == "gpu",
        "the container does not use the claim"
    );
    kubectl(&[
        "delete",
        "resourceslice/node1-gpu",
        &format!("deviceclass/{DRIVER}"),
    ])
    .map(|_| ())
}

/// What a device plugin would tell the kubelet.
fn advertise(count: Option<&str>) -> Result<()> {
    let amount = json!({"nvidia.com/gpu": count});
    let patch = json!({"status": {"capacity": amount, "allocatable": amount}}).to_string();
    kubectl(&[
        "patch",
        "node",
        "node1",
        "--subresource=status",
        "--type=merge",
        "--patch",
        &patch,
    ])
    .map(|_| ())
}
