//! Faults under constant traffic. Each case prints how many of the application's requests failed, and it has to be
//! none: the application never retries, so any lost request counts.

mod certificates;
mod doors;
mod operator;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

pub(super) use certificates::{authority, leaves, new_application_is_served};
pub(super) use doors::{Doors, trial_pod};
pub(super) use operator::leader;

use super::Case;
use super::path::proxy;
use crate::kubectl::{get, kubectl, list, patch, rolled_out, text};
use crate::manifest;
use crate::status::event;
use crate::traffic::Traffic;
use crate::world::{Namespace, SYSTEM, World, eventually};

pub(super) const CASES: &[(&str, Case)] = &[
    ("faults::traffic_starts", start),
    ("faults::worker_killed", worker_killed),
    ("faults::workers_rolled_out", rollout),
    ("faults::configuration_changed", configuration),
    ("faults::api_server_restarted", api_server),
    ("faults::leader_killed", operator::killed),
    ("faults::leader_terminated", operator::terminated),
    ("faults::chart_upgraded", operator::upgrade),
    ("faults::operator_down", operator::down),
    ("faults::authority_rotated_twice", certificates::rotation),
    ("faults::traffic_ends", end),
];

const NAMESPACE: &str = "faults";
pub(super) const DEPLOYMENT: &str = "deployment/proxy-workers";
/// Pods, by their labels.
pub(super) const WORKERS: &str = "app.kubernetes.io/component=worker";
const APPLICATION: &str = "app=traffic";

fn start(world: &World) -> Result<()> {
    two_workers(NAMESPACE)?;
    Traffic::start(world, NAMESPACE)
}

/// Makes a namespace that opts in, with a proxy of two workers. It stays.
pub(super) fn two_workers(namespace: &str) -> Result<()> {
    std::mem::forget(Namespace::opted_in(namespace)?);
    let mut wanted = manifest::proxy(namespace, "proxy");
    wanted["spec"]["workers"]["replicas"] = json!(2);
    proxy(namespace, &wanted)
}

pub(super) fn pods(namespace: &str, selector: &str) -> Result<Vec<String>> {
    let pods = list(namespace, &["pods", "--selector", selector])?;
    let names = pods.iter().map(|pod| text(pod, "/metadata/name").to_owned());
    Ok(names.collect())
}

/// The [`lives`] of workers and application: equal where a fault has cost none.
pub(super) fn running(namespace: &str) -> Result<[BTreeMap<String, u64>; 2]> {
    Ok([lives(namespace, WORKERS)?, lives(namespace, APPLICATION)?])
}

/// Each pod by its uid, with how often its containers were started again: two of these are equal where nothing was
/// replaced or restarted in between.
fn lives(namespace: &str, selector: &str) -> Result<BTreeMap<String, u64>> {
    let restarts = |pod: &Value, list: &str| {
        let containers = pod.pointer(list).and_then(Value::as_array);
        let counts = containers.into_iter().flatten();
        counts
            .filter_map(|container| container.get("restartCount")?.as_u64())
            .sum::<u64>()
    };
    let pods = list(namespace, &["pods", "--selector", selector])?;
    let lives = pods.iter().map(|pod| {
        let sum = restarts(pod, "/status/containerStatuses") + restarts(pod, "/status/initContainerStatuses");
        (text(pod, "/metadata/uid").to_owned(), sum)
    });
    Ok(lives.collect())
}

/// Without notice, as a node that fails ends it.
fn kill(namespace: &str, pod: &str) -> Result<()> {
    let now = ["--grace-period=0", "--force", "--wait=false"];
    kubectl(&[&["delete", "pod", pod, "--namespace", namespace], &now[..]].concat()).map(|_| ())
}

fn worker_killed(_: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    kill(NAMESPACE, pods(NAMESPACE, WORKERS)?.first().context("no worker")?)?;
    traffic.another(20)?;
    rolled_out(NAMESPACE, DEPLOYMENT, Duration::from_secs(90))?;
    traffic.none_failed("a worker killed").map(|_| ())
}

/// How far a part of the configuration has come, as the status says it.
fn configured(part: &str) -> Result<Value> {
    let proxy = get(NAMESPACE, &["lmp", "proxy"])?;
    let found = proxy.pointer(&format!("/status/configuration/{part}"));
    found.cloned().context("the status has no configuration")
}

/// Waits until the status shows another revision of a part; it has to arrive this way, and an Event has to say so.
fn told(part: &str, before: &Value, delivery: &str, reason: &str) -> Result<()> {
    eventually("another revision", Duration::from_secs(30), || {
        let now = configured(part)?;
        ensure!(
            text(&now, "/delivery") == delivery,
            "it does not arrive by {delivery}: {now}"
        );
        Ok((now.get("revision") != before.get("revision")).then_some(()))
    })?;
    event(NAMESPACE, "proxy", reason).map(|_| ())
}

fn rollout(_: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let (old, revision) = (lives(NAMESPACE, WORKERS)?, configured("workers")?);
    let change = json!({"spec": {"workers": {"resources": {"limits": {"memory": "2100Mi"}}}}});
    patch(NAMESPACE, "lmp/proxy", "merge", &change)?;
    told("workers", &revision, "Rollout", "RolloutStarted")?;
    eventually("new workers", Duration::from_secs(120), || {
        let now = lives(NAMESPACE, WORKERS)?;
        Ok((now.len() == 2 && now.keys().all(|pod| !old.contains_key(pod))).then_some(()))
    })?;
    rolled_out(NAMESPACE, DEPLOYMENT, Duration::from_secs(90))?;
    let counts = traffic.none_failed("workers rolled out")?;
    // One of two goes at a time: evidence is there throughout.
    ensure!(
        counts.compressed * 10 >= counts.sent * 8,
        "hardly compressed: {counts:?}"
    );
    Ok(())
}

/// Sets the mode of the proxy `proxy`.
pub(super) fn set_mode(namespace: &str, mode: &str) -> Result<()> {
    let change = json!({"spec": {"policy": {"mode": mode}}});
    patch(namespace, "lmp/proxy", "merge", &change).map(|_| ())
}

/// Waits until all calls are compressed, or none is.
pub(super) fn all_or_none(traffic: &Traffic, compressed: bool, limit: Duration) -> Result<()> {
    eventually("the changed mode at the sidecar", limit, || {
        let from = traffic.since()?;
        traffic.another(5)?;
        let now = traffic.since()?;
        let more = now.compressed - from.compressed;
        Ok((more == if compressed { now.sent - from.sent } else { 0 }).then_some(()))
    })
}

/// What the sidecars read reaches one that runs; nothing is restarted for it.
fn configuration(_: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let (before, revision) = (running(NAMESPACE)?, configured("sidecars")?);
    let limit = Duration::from_secs(120);
    set_mode(NAMESPACE, "Off")?;
    told("sidecars", &revision, "WatchedFile", "ConfigurationChanged")?;
    all_or_none(&traffic, false, limit)?;
    set_mode(NAMESPACE, "Auto")?;
    all_or_none(&traffic, true, limit)?;
    let after = running(NAMESPACE)?;
    ensure!(before == after, "something was restarted: {before:?}, {after:?}");
    traffic.none_failed("configuration changed twice").map(|_| ())
}

fn api_server(world: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    world.cluster(&["restart", "kube-apiserver", "--pause", "3"])?;
    eventually("the API server", Duration::from_secs(60), || {
        kubectl(&["get", "--raw", "/readyz"]).map(Some)
    })?;
    rolled_out(SYSTEM, "deployment/liquid-operator", Duration::from_secs(90))?;
    traffic.none_failed("API server restarted").map(|_| ())
}

fn end(_: &World) -> Result<()> {
    crate::kubectl::delete_namespace(NAMESPACE)
}
