//! GPUs: Pending with a useful condition where there is none, Running where a node offers one. The nodes have no real
//! GPU; the resource is advertised, so scheduling and quotas are real and the worker runs on the CPU.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::kubectl::{apply, get, kubectl, list, text};
use crate::manifest;
use crate::world::{Namespace, World, eventually};

pub(super) const CASES: &[(&str, Case)] = &[("gpu::pending_says_why_and_runs_once_there_is_one", pending)];

fn pending(_: &World) -> Result<()> {
    let namespace = Namespace::opted_in("gpu")?;
    let name = namespace.0.as_str();
    let mut wanted = manifest::proxy(name, "proxy");
    if let Some(workers) = wanted.pointer_mut("/spec/workers").and_then(Value::as_object_mut) {
        workers.insert(
            "gpu".to_owned(),
            json!({"resourceName": "nvidia.com/gpu", "count": 1}),
        );
    }
    apply(&wanted)?;
    eventually("the reason NoGpu", Duration::from_secs(60), || {
        let proxy = get(name, &["lmp", "proxy"])?;
        let conditions = proxy
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .cloned();
        let workers = conditions.unwrap_or_default().into_iter();
        let mut workers = workers.filter(|condition| text(condition, "/type") == "WorkersReady");
        Ok(workers.find(|condition| text(condition, "/reason") == "NoGpu"))
    })?;
    eventually("an Event that says it", Duration::from_secs(30), || {
        let events = list(name, &["events"])?;
        let told = events.iter().any(|event| {
            text(event, "/involvedObject/kind") == "LiquidMemoryProxy"
                && event.to_string().contains("nvidia.com/gpu")
        });
        Ok(told.then_some(()))
    })?;
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
