//! The API server answers late, and etcd is set back to an earlier state.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    LIMIT, NAMESPACE, OPERATOR, SYSTEM, compressed, configuration, deadline_arrives, whole, with_undo,
};
use crate::cases::faults::{Doors, all_or_none, running, set_mode, trial_pod};
use crate::kubectl::{apply, get, kubectl, text};
use crate::manifest;
use crate::status::until;
use crate::traffic::Traffic;
use crate::world::{World, eventually};

/// How long the API server hangs, and for how long it answers between.
const HANGS: Duration = Duration::from_secs(5);
const ANSWERS: Duration = Duration::from_millis(300);
/// How many objects are made after the copy: etcd's revision is then set back by more than it grows while the case
/// waits, so that what has missed the change would not see it by chance.
const LATER_OBJECTS: usize = 600;

/// A request takes up to 5 s, for a minute and more. What is changed meanwhile still arrives, and pods still start.
pub(super) fn slow(world: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let lives = running(NAMESPACE)?;
    let (over, began) = (AtomicBool::new(false), Instant::now());
    let signal = |signal: &str| world.cluster(&["signal", signal, "kube-apiserver"]);
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| {
            let hang = || -> Result<()> {
                while !over.load(Ordering::Relaxed) {
                    signal("SIGSTOP")?;
                    std::thread::sleep(HANGS);
                    signal("SIGCONT")?;
                    std::thread::sleep(ANSWERS);
                }
                Ok(())
            };
            with_undo(hang, || signal("SIGCONT"))
        });
        let meanwhile = || -> Result<()> {
            set_mode(NAMESPACE, "Off")?;
            all_or_none(&traffic, false, 2 * LIMIT)?;
            let pod = trial_pod(NAMESPACE)?;
            ensure!(
                text(&pod, "/spec/initContainers/0/name") == "liquid-sidecar",
                "a pod without sidecar"
            );
            while began.elapsed() < Duration::from_secs(60) {
                traffic.another(5)?;
            }
            Ok(())
        };
        let outcome = with_undo(meanwhile, || set_mode(NAMESPACE, "Auto"));
        over.store(true, Ordering::Relaxed);
        let hung = hanging
            .join()
            .ok()
            .context("the API server is not slowed down any more")?;
        outcome.and(hung)
    })?;
    all_or_none(&traffic, true, 2 * LIMIT)?;
    whole()?;
    ensure!(lives == running(NAMESPACE)?, "something was restarted");
    traffic.none_failed("API server slow").map(|_| ())
}

/// A proxy without workers: what the controller makes of it is a ConfigMap.
fn small(name: &str, deadline: u32) -> Value {
    let mut wanted = manifest::proxy(NAMESPACE, name);
    for (field, value) in [
        ("/spec/workers/replicas", 0),
        ("/spec/extraction/deadlineMilliseconds", deadline),
    ] {
        if let Some(found) = wanted.pointer_mut(field) {
            *found = json!(value);
        }
    }
    wanted
}

/// Objects have lower versions than those that the operator has seen, one that it knows was never made, and one that it
/// saw deleted is there. It has to notice: a watch that goes on from the version it has seen last is told nothing.
pub(super) fn etcd_restored(world: &World) -> Result<()> {
    apply(&small("returns", 20_000))?;
    until(NAMESPACE, "returns", "Accepted", LIMIT)?;
    let traffic = Traffic::from_now(NAMESPACE)?;
    let lives = running(NAMESPACE)?;
    world.cluster(&["backup"])?;
    ready()?;
    kubectl(&["delete", "lmp", "returns", "--namespace", NAMESPACE])?;
    apply(&small("never-made", 20_000))?;
    until(NAMESPACE, "never-made", "Accepted", LIMIT)?;
    let later = (0..LATER_OBJECTS).map(|number| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("later-{number}"), "namespace": NAMESPACE}})
    });
    apply(&json!({"apiVersion": "v1", "kind": "List", "items": later.collect::<Vec<_>>()}))?;
    let before = version()?;
    world.cluster(&["restore"])?;
    ready()?;
    println!(
        "\n    the operator's Lease was set back by {} revisions",
        before.saturating_sub(version()?)
    );
    // From before the copy, changed; and new.
    let changes = [("returns", 31_000), ("new", 32_000)];
    for (name, deadline) in changes {
        apply(&small(name, deadline))?;
    }
    for (name, deadline) in changes {
        deadline_arrives(name, deadline)?;
        until(NAMESPACE, name, "Accepted", LIMIT)?;
    }
    ensure!(
        configuration("never-made").is_err(),
        "objects of a proxy that was never made"
    );
    let doors = Doors::open(world, NAMESPACE)?;
    whole()?;
    compressed(&traffic, 20)?;
    doors.none_failed("etcd restored")?;
    ensure!(lives == running(NAMESPACE)?, "something was restarted");
    kubectl(&["delete", "lmp", "returns", "new", "--namespace", NAMESPACE])?;
    traffic.none_failed("etcd restored").map(|_| ())
}

fn ready() -> Result<()> {
    eventually("the API server", LIMIT, || {
        kubectl(&["get", "--raw", "/readyz"]).map(Some)
    })
    .map(|_| ())
}

/// The version of the operator's Lease, which is written every 2 s.
fn version() -> Result<u64> {
    let lease = get(SYSTEM, &["lease", OPERATOR])?;
    text(&lease, "/metadata/resourceVersion")
        .parse()
        .context("no version")
}
