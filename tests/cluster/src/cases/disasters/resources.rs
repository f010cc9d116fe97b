//! What the cluster provides is gone: memory, name resolution, the registry.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{LIMIT, NAMESPACE, WORKERS, compressed, whole, with_undo};
use crate::cases::faults::pods;
use crate::kubectl::{get, kubectl, list, patch, rolled_out, text};
use crate::machine::Process;
use crate::status::until_reason;
use crate::traffic::Traffic;
use crate::world::{PROVIDER, World, eventually};

const KUBE_SYSTEM: &str = "kube-system";
const NAMES: &str = "deployment/coredns";
const PROVIDERS: &str = "deployment/mock";

/// The kernel ends a worker that has used up the memory of its container.
pub(super) fn memory(_: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let workers = pods(NAMESPACE, WORKERS)?;
    let worker = workers.first().context("no worker")?;
    Process::find(worker, "serve")?.use_up_memory()?;
    eventually("a worker that is out of memory", LIMIT, || {
        let pod = get(NAMESPACE, &["pod", worker])?;
        let reason = text(&pod, "/status/containerStatuses/0/lastState/terminated/reason");
        Ok((reason == "OOMKilled").then_some(()))
    })?;
    whole()?;
    compressed(&traffic, 20)?;
    traffic.none_failed("worker out of memory").map(|_| ())
}

/// No name is resolved for a minute: neither the provider's nor the workers'.
pub(super) fn names(_: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let scale = |replicas: &str| kubectl(&["scale", NAMES, "--namespace", KUBE_SYSTEM, replicas]);
    let none = || {
        scale("--replicas=0")?;
        eventually("no name server", LIMIT, || {
            Ok(list(KUBE_SYSTEM, &["pods", "--selector", "app=coredns"])?
                .is_empty()
                .then_some(()))
        })?;
        let began = Instant::now();
        // A connection that is open needs no name: those to the provider end with it.
        kubectl(&["rollout", "restart", PROVIDERS, "--namespace", PROVIDER])?;
        rolled_out(PROVIDER, PROVIDERS, LIMIT)?;
        std::thread::sleep(Duration::from_secs(60).saturating_sub(began.elapsed()));
        traffic.none_failed("no name resolution for a minute").map(|_| ())
    };
    with_undo(none, || {
        scale("--replicas=1")?;
        rolled_out(KUBE_SYSTEM, NAMES, LIMIT)
    })?;
    compressed(&traffic, 20)?;
    traffic.none_failed("name resolution is back").map(|_| ())
}

/// No registry answers, as ever on these clusters. What is on the nodes starts again, and a rollout to what is not stops at
/// its first pod.
pub(super) fn registry(_: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let before = pods(NAMESPACE, WORKERS)?;
    let image = |image: Value| {
        let change = json!({"spec": {"workers": {"image": image}}});
        patch(NAMESPACE, "lmp/proxy", "merge", &change)
    };
    let gone = || {
        image(json!("liquid.test/liquid-worker:not-there"))?;
        until_reason(NAMESPACE, "proxy", "Degraded", "ImageNotPulled", LIMIT)?;
        let now = pods(NAMESPACE, WORKERS)?;
        let left = now.iter().find(|pod| before.contains(pod));
        Process::find(left.context("no worker of before is left")?, "serve")?.kill()?;
        eventually("the worker that is left", LIMIT, || {
            compressed(&traffic, 5).map(Some)
        })?;
        traffic.none_failed("registry gone").map(|_| ())
    };
    with_undo(gone, || {
        image(Value::Null)?;
        whole()
    })?;
    compressed(&traffic, 20)?;
    let counts = traffic.none_failed("registry back")?;
    ensure!(counts.compressed > counts.passed, "hardly compressed: {counts:?}");
    Ok(())
}
