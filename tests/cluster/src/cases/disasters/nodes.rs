//! A node that is taken out of service in good order, and one that is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{
    DEPLOYMENT, LIMIT, NAMESPACE, OPERATOR, OPERATORS, SYSTEM, VICTIM, WORKERS, compressed, whole, with_undo,
};
use crate::cases::faults::pods;
use crate::kubectl::{get, kubectl, list, rolled_out, text};
use crate::traffic::Traffic;
use crate::world::{World, eventually};

/// How long Kubernetes waits for word from a kubelet (50 s), and what a busy machine adds.
const SILENCE: Duration = Duration::from_secs(50 + 40);

/// The nodes on which pods run.
fn nodes(namespace: &str, selector: &str) -> Result<BTreeSet<String>> {
    let running = ["--field-selector", "status.phase!=Failed"];
    let pods = list(
        namespace,
        &[&["pods", "--selector", selector], &running[..]].concat(),
    )?;
    let names = pods.iter().map(|pod| text(pod, "/spec/nodeName").to_owned());
    Ok(names.collect())
}

/// Has workers and operators run on both nodes, one of each.
fn spread() -> Result<()> {
    let operator = format!("deployment/{OPERATOR}");
    for (namespace, selector, deployment) in
        [(NAMESPACE, WORKERS, DEPLOYMENT), (SYSTEM, OPERATORS, &operator)]
    {
        eventually(&format!("{deployment} on both nodes"), LIMIT, || {
            rolled_out(namespace, deployment, LIMIT)?;
            if nodes(namespace, selector)?.len() == 2 {
                return Ok(Some(()));
            }
            let pod = pods(namespace, selector)?;
            let pod = pod.first().with_context(|| format!("{deployment} has no pod"))?;
            kubectl(&["delete", "pod", pod, "--namespace", namespace])?;
            Ok(None)
        })?;
    }
    Ok(())
}

/// Everything leaves within its disruption budget, so one worker is there throughout.
pub(super) fn drained(_: &World) -> Result<()> {
    spread()?;
    let traffic = Traffic::from_now(NAMESPACE)?;
    let drain = || {
        kubectl(&[
            "drain",
            VICTIM,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--timeout=180s",
        ])?;
        whole()?;
        for (namespace, selector) in [(NAMESPACE, WORKERS), (SYSTEM, OPERATORS)] {
            let left = nodes(namespace, selector)?;
            ensure!(!left.contains(VICTIM), "the drained node still runs {selector}");
        }
        let counts = traffic.none_failed("node drained")?;
        ensure!(
            counts.compressed * 10 >= counts.sent * 8,
            "hardly compressed: {counts:?}"
        );
        Ok(())
    };
    with_undo(drain, || kubectl(&["uncordon", VICTIM]).map(|_| ()))
}

/// Nothing on the node answers any more, and nobody is told so: calls on their way to its worker have to find the other.
pub(super) fn lost(world: &World) -> Result<()> {
    spread()?;
    let traffic = Traffic::from_now(NAMESPACE)?;
    let number = VICTIM.trim_start_matches("node");
    let loss = || {
        world.cluster(&["lose", number])?;
        eventually("the loss to be noticed", SILENCE, || {
            Ok((!is(VICTIM, "Ready")?).then_some(()))
        })?;
        compressed(&traffic, 20)?;
        traffic.none_failed("node lost").map(|_| ())
    };
    let back = || {
        world.cluster(&["rejoin", number])?;
        eventually("the node again", LIMIT, || Ok(is(VICTIM, "Ready")?.then_some(())))?;
        whole()
    };
    with_undo(loss, back)?;
    compressed(&traffic, 20)?;
    traffic.none_failed("node lost and back").map(|_| ())
}

/// Its kubelet ends what runs there, without asking a disruption budget.
pub(super) fn full(world: &World) -> Result<()> {
    spread()?;
    let traffic = Traffic::from_now(NAMESPACE)?;
    let number = VICTIM.trim_start_matches("node");
    let fill = || {
        world.cluster(&["fill", number])?;
        for (namespace, selector) in [(NAMESPACE, WORKERS), (SYSTEM, OPERATORS)] {
            eventually("nothing on the full node", LIMIT, || {
                Ok((!nodes(namespace, selector)?.contains(VICTIM)).then_some(()))
            })?;
        }
        whole()?;
        compressed(&traffic, 20)?;
        traffic.none_failed("disk full").map(|_| ())
    };
    with_undo(fill, || {
        world.cluster(&["empty", number])?;
        eventually("room on the node", LIMIT, || {
            Ok((!is(VICTIM, "DiskPressure")?).then_some(()))
        })?;
        for namespace in [NAMESPACE, SYSTEM] {
            let ended = "--field-selector=status.phase==Failed";
            kubectl(&["delete", "pods", "--namespace", namespace, ended])?;
        }
        whole()
    })
}

/// Whether the node says that a condition holds; without its word the control plane says that it is unknown.
fn is(node: &str, of_type: &str) -> Result<bool> {
    let node = get("default", &["node", node])?;
    let found = crate::status::condition(&node, of_type);
    Ok(text(&found, "/status") == "True")
}
