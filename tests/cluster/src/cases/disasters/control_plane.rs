//! The API server answers late, and etcd is set back to an earlier state.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{LIMIT, NAMESPACE, OPERATOR, SYSTEM, compressed, running, whole, with_undo};
use crate::cases::faults::{Doors, trial_pod};
use crate::kubectl::{apply, get, kubectl, patch, text};
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

fn set_mode(mode: &str) -> Result<()> {
    patch(
        NAMESPACE,
        "lmp/proxy",
        "merge",
        &json!({"spec": {"policy": {"mode": mode}}}),
    )
    .map(|_| ())
}

/// Waits until calls are compressed, or until none is.
fn mode_arrives(traffic: &Traffic, compressed: bool) -> Result<()> {
    eventually("the changed mode at the sidecar", 2 * LIMIT, || {
        let before = traffic.since()?;
        traffic.another(5)?;
        let after = traffic.since()?;
        let other = if compressed {
            after.passed - before.passed
        } else {
            after.compressed - before.compressed
        };
        Ok((other == 0).then_some(()))
    })
}

/// A request takes up to 5 s, for a minute and more. What is changed meanwhile still arrives, and pods still start.
pub(super) fn slow(world: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let lives = running()?;
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
            set_mode("Off")?;
            mode_arrives(&traffic, false)?;
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
        let outcome = with_undo(meanwhile, || set_mode("Auto"));
        over.store(true, Ordering::Relaxed);
        let hung = hanging
            .join()
            .ok()
            .context("the API server is not slowed down any more")?;
        outcome.and(hung)
    })?;
    mode_arrives(&traffic, true)?;
    whole()?;
    ensure!(lives == running()?, "something was restarted");
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

/// What the sidecars of a proxy are told.
fn configuration(name: &str) -> Result<String> {
    let map = get(NAMESPACE, &["configmap", &format!("{name}-sidecar")])?;
    Ok(text(&map, "/data/sidecar.toml").to_owned())
}

/// Objects have lower versions than those that the operator has seen, one that it knows was never made, and one that it
/// saw deleted is there. It has to notice: a watch that goes on from the version it has seen last is told nothing.
pub(super) fn etcd_restored(world: &World) -> Result<()> {
    apply(&small("returns", 20_000))?;
    until(NAMESPACE, "returns", "Accepted", LIMIT)?;
    let traffic = Traffic::from_now(NAMESPACE)?;
    let lives = running()?;
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
    apply(&small("returns", 31_000))?;
    apply(&small("new", 32_000))?;
    for (name, value) in [("returns", "31000"), ("new", "32000")] {
        eventually(&format!("the configuration of {name}"), LIMIT, || {
            Ok(configuration(name)?.contains(value).then_some(()))
        })?;
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
    ensure!(lives == running()?, "something was restarted");
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
