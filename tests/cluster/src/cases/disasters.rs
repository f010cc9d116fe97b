//! Faults that take minutes each, under constant traffic. They run only when they are named: `cargo xtask test --only
//! cluster -- disasters::`. Each prints how many of the application's requests failed, and it has to be none; each undoes
//! its fault, also where it fails.

mod authority;
mod clock;
mod control_plane;
mod nodes;
mod resources;
mod soak;
mod versions;

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Case;
use super::faults::{DEPLOYMENT, WORKERS, leaves, two_workers};
use crate::kubectl::{get, kubectl, rolled_out, text};
use crate::traffic::Traffic;
use crate::world::{OPERATOR, OPERATORS, PROVIDER, SYSTEM, World, eventually};

/// The case that makes what the others use.
pub(super) const PREPARE: &str = "disasters::traffic_starts";

pub(super) const CASES: &[(&str, Case)] = &[
    (PREPARE, start),
    ("disasters::node_drained", nodes::drained),
    ("disasters::node_lost", nodes::lost),
    ("disasters::disk_full", nodes::full),
    ("disasters::authority_deleted", authority::deleted),
    ("disasters::authority_lost", authority::lost),
    ("disasters::etcd_restored", control_plane::etcd_restored),
    ("disasters::worker_out_of_memory", resources::memory),
    ("disasters::registry_gone", resources::registry),
    ("disasters::no_name_resolution_for_a_minute", resources::names),
    ("disasters::api_server_slow", control_plane::slow),
    (
        "disasters::two_operators_of_different_versions",
        versions::two_operators,
    ),
    (
        "disasters::chart_upgraded_and_rolled_back",
        versions::earlier_chart_and_back,
    ),
    ("disasters::operators_clock_off_by_an_hour", clock::hour_off),
    ("disasters::fifty_sidecars_stay_as_they_are", soak::soak),
    ("disasters::traffic_ends", end),
];

const NAMESPACE: &str = "disasters";
/// The node that is drained and lost.
const VICTIM: &str = "node2";
const LIMIT: Duration = Duration::from_secs(120);

/// The application, its provider and the cluster's name resolution run on the node that stays: what is lost with the
/// other one is ours.
fn start(world: &World) -> Result<()> {
    two_workers(NAMESPACE)?;
    kubectl(&["cordon", VICTIM])?;
    let moved = || {
        for (namespace, deployment) in [
            ("kube-system", "deployment/coredns"),
            (PROVIDER, "deployment/mock"),
        ] {
            kubectl(&["rollout", "restart", deployment, "--namespace", namespace])?;
            rolled_out(namespace, deployment, LIMIT)?;
        }
        Traffic::start(world, NAMESPACE)
    };
    with_undo(moved, || kubectl(&["uncordon", VICTIM]).map(|_| ()))
}

/// Runs a fault, then undoes it, whatever came of it. The fault's own error is the one that counts.
fn with_undo(fault: impl FnOnce() -> Result<()>, undo: impl FnOnce() -> Result<()>) -> Result<()> {
    let outcome = fault();
    let undone = undo().context("the fault could not be undone");
    outcome.and(undone)
}

/// Waits until workers and operators are all there.
fn whole() -> Result<()> {
    rolled_out(NAMESPACE, DEPLOYMENT, LIMIT)?;
    rolled_out(SYSTEM, &format!("deployment/{OPERATOR}"), LIMIT)
}

/// Waits until workers and sidecars have other certificates than before.
fn renewed(before: &[String; 2]) -> Result<()> {
    eventually("new certificates", LIMIT, || {
        let now = leaves(NAMESPACE)?;
        Ok(now.iter().zip(before).all(|(now, old)| now != old).then_some(()))
    })
}

/// What the sidecars of a proxy are told.
fn configuration(name: &str) -> Result<String> {
    let map = get(NAMESPACE, &["configmap", &format!("{name}-sidecar")])?;
    Ok(text(&map, "/data/sidecar.toml").to_owned())
}

/// Waits until the sidecars of a proxy are told of a deadline.
fn deadline_arrives(name: &str, deadline: u32) -> Result<()> {
    eventually(&format!("the configuration of {name}"), LIMIT, || {
        let found = configuration(name)?.contains(&deadline.to_string());
        Ok(found.then_some(()))
    })
}

/// Lets calls go on until so many further ones are compressed, and no other.
fn compressed(traffic: &Traffic, more: u64) -> Result<()> {
    let before = traffic.since()?;
    traffic.another(more)?;
    let after = traffic.since()?;
    ensure!(
        after.passed == before.passed && after.failed == before.failed,
        "not all compressed: {before:?}, then {after:?}"
    );
    Ok(())
}

fn end(_: &World) -> Result<()> {
    crate::kubectl::delete_namespace(NAMESPACE)
}
