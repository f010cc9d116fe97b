//! Workers follow the load, to none and back, and no call fails or goes out whole for it.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::{answer, proxy};
use crate::kubectl::{apply, finished, get, kubectl, text};
use crate::manifest;
use crate::status::{condition, event, until_reason};
use crate::traffic::{Counts, Traffic};
use crate::world::{Namespace, World, eventually};

pub(super) const CASES: &[(&str, Case)] = &[
    ("load::nobody_asks_and_no_worker_is_left", idle),
    ("load::workers_follow_to_zero_and_back", follow),
    ("load::namespace_ends", end),
];

const NAMESPACE: &str = "load";
const WAVE: &str = "wave";

fn idle(_: &World) -> Result<()> {
    std::mem::forget(Namespace::opted_in(NAMESPACE)?);
    let mut wanted = manifest::proxy(NAMESPACE, "proxy");
    if let Some(workers) = wanted.pointer_mut("/spec/workers").and_then(Value::as_object_mut) {
        workers.insert(
            "autoscaling".to_owned(),
            json!({"minReplicas": 0, "maxReplicas": 3, "tokensInFlight": 2000, "scaleDownSeconds": 20, "holdSeconds": 120}),
        );
    }
    proxy(NAMESPACE, &wanted)?;
    zero()
}

/// Waits until there is no worker, and the proxy says that this is as it should be.
fn zero() -> Result<()> {
    until_reason(
        NAMESPACE,
        "proxy",
        "WorkersReady",
        "Idle",
        Duration::from_secs(120),
    )?;
    eventually("the last worker's end", Duration::from_secs(60), || {
        Ok((pods("app.kubernetes.io/component=worker")? == 0).then_some(()))
    })?;
    let found = get(NAMESPACE, &["lmp", "proxy"])?;
    ensure!(
        text(&found, "/status/workers") == "0/0",
        "it says otherwise: {found}"
    );
    let ready = condition(&found, "Ready");
    ensure!(text(&ready, "/status") == "True", "not ready for calls: {ready}");
    Ok(())
}

fn pods(selector: &str) -> Result<usize> {
    Ok(crate::kubectl::list(NAMESPACE, &["pods", "--selector", selector])?.len())
}

/// Waits until so many workers are ready, or any number above.
fn workers(least: u64) -> Result<()> {
    let what = format!("{least} workers that are ready");
    eventually(&what, Duration::from_secs(180), || {
        let found = get(NAMESPACE, &["deployment", "proxy-workers"])?;
        let ready = found.pointer("/status/readyReplicas").and_then(Value::as_u64);
        Ok((ready.unwrap_or(0) >= least).then_some(()))
    })
}

fn wanted() -> Result<u64> {
    let found = get(NAMESPACE, &["deployment", "proxy-workers"])?;
    Ok(found
        .pointer("/spec/replicas")
        .and_then(Value::as_u64)
        .unwrap_or(0))
}

/// Traffic that waits for an answer as long as calls are held.
fn patient(world: &World) -> Value {
    let mut container = manifest::application(world, "traffic", &["traffic.py"]);
    if let Some(container) = container.as_object_mut() {
        container.insert("env".to_owned(), json!([{"name": "TIMEOUT", "value": "150"}]));
    }
    container
}

fn follow(world: &World) -> Result<()> {
    // The first call finds no worker: it is held while one starts.
    Traffic::start_as(NAMESPACE, &patient(world), &[])?;
    let first = Traffic::of_all(NAMESPACE, "traffic")?;
    all_compressed("from none to one", &first)?;
    event(NAMESPACE, "proxy", "WorkersScaled")?;

    let mut wave = manifest::deployment(NAMESPACE, WAVE, &[patient(world)]);
    if let Some(spec) = wave.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.insert("replicas".to_owned(), json!(5));
    }
    apply(&wave)?;
    workers(2)?;
    let risen = eventually("calls of each pod of the wave", Duration::from_secs(120), || {
        let counts = Traffic::of_all(NAMESPACE, WAVE)?;
        Ok((counts.sent >= 30).then_some(counts))
    })?;
    all_compressed("load rises", &risen)?;
    kubectl(&["delete", "deployment", WAVE, "--namespace", NAMESPACE])?;
    eventually("one worker again", Duration::from_secs(120), || {
        Ok((wanted()? == 1).then_some(()))
    })?;
    let traffic = Traffic::from_now(NAMESPACE)?;
    traffic.another(20)?;
    all_compressed("load falls", &Traffic::of_all(NAMESPACE, "traffic")?)?;

    kubectl(&["delete", "deployment", "traffic", "--namespace", NAMESPACE])?;
    zero()?;
    apply(&manifest::pod(
        NAMESPACE,
        "again",
        &[manifest::application(world, "application", &["ask.py", "again"])],
    ))?;
    let answer = answer(&finished(NAMESPACE, "again", Duration::from_secs(150))?)?;
    ensure!(
        text(&answer, "/headers/x-liquid-decision") == "compressed",
        "the call after the pause was not compressed: {answer}"
    );
    Ok(())
}

fn all_compressed(when: &str, counts: &Counts) -> Result<()> {
    println!(
        "\n    {when}: {} requests, {} failed, {} compressed",
        counts.sent, counts.failed, counts.compressed
    );
    // A call that is under way is sent, and not decided yet.
    ensure!(
        counts.failed == 0 && counts.compressed > 0 && counts.passed == 0,
        "{when}: {counts:?}"
    );
    Ok(())
}

fn end(_: &World) -> Result<()> {
    crate::kubectl::delete_namespace(NAMESPACE)
}
