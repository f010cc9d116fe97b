//! The operator's faults: its leader gone without and with notice, a new release, none at all.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::doors::{Doors, trial_pod};
use super::{DEPLOYMENT, NAMESPACE, WORKERS, kill, lives, pods};
use crate::guide::{self, Chapter};
use crate::kubectl::{get, kubectl, rolled_out, text};
use crate::machine::Process;
use crate::traffic::Traffic;
use crate::world::{Namespace, OPERATOR, OPERATORS, SYSTEM, World, eventually, scale_operator};

/// client-go's lease, one try of a candidate (2 s), and what a busy machine adds.
const LEASE: Duration = Duration::from_secs(15 + 2 + 5);
/// A released Lease is taken at the next try, long before it would have expired.
const RELEASED: Duration = Duration::from_secs(8);

/// Who leads, and when that replica renewed the Lease.
pub(in crate::cases) fn leader() -> Result<(String, String)> {
    let lease = get(SYSTEM, &["lease", OPERATOR])?;
    let holder = text(&lease, "/spec/holderIdentity").to_owned();
    ensure!(!holder.is_empty(), "nobody leads");
    Ok((holder, text(&lease, "/spec/renewTime").to_owned()))
}

/// Ends the leader's pod. How long after its last renewal another one leads: a pod may go on for seconds after it was
/// deleted.
fn replaced(end: impl FnOnce(&str) -> Result<()>) -> Result<Duration> {
    let (before, mut renewed) = leader()?;
    let operators = pods(SYSTEM, OPERATORS)?;
    let pod = operators.iter().find(|pod| before.contains(pod.as_str()));
    let pod = pod.with_context(|| format!("the leader {before} is none of {operators:?}"))?;
    end(pod)?;
    let mut last = Instant::now();
    let after = eventually("another leader", Duration::from_secs(60), || {
        let (now, renewal) = leader()?;
        if now == before && renewal != renewed {
            (last, renewed) = (Instant::now(), renewal);
        }
        Ok((now != before).then_some(now))
    })?;
    let took = last.elapsed();
    println!(
        "\n    {after} leads {:.1} s after the last renewal",
        took.as_secs_f64()
    );
    rolled_out(SYSTEM, "deployment/liquid-operator", Duration::from_secs(90))?;
    Ok(took)
}

/// Waits until two replicas are all there are. One that was replaced answers reviews until its last moment, which is what
/// could fail one.
fn replaced_ended() -> Result<()> {
    eventually(
        "the end of the replaced replicas",
        Duration::from_secs(60),
        || Ok((pods(SYSTEM, OPERATORS)?.len() == 2).then_some(())),
    )
}

/// Kills the process itself: a deleted pod is told so first, and would release the Lease.
fn crash(pod: &str) -> Result<()> {
    Process::find(pod, "serve")?.kill()
}

pub(super) fn killed(_: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let took = replaced(crash)?;
    ensure!(took < LEASE, "the Lease was free for too long: {took:?}");
    traffic.none_failed("the leader killed").map(|_| ())
}

/// SIGTERM: it gives the Lease back before it ends, and answers reviews until nobody sends any.
pub(super) fn terminated(world: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let doors = Doors::open(world, NAMESPACE)?;
    let took =
        replaced(|pod| kubectl(&["delete", "pod", pod, "--namespace", SYSTEM, "--wait=false"]).map(|_| ()))?;
    ensure!(took < RELEASED, "the Lease was not released: {took:?}");
    replaced_ended()?;
    doors.none_failed("the leader terminated")?;
    traffic.none_failed("the leader terminated").map(|_| ())
}

/// A new operator alone restarts no worker, although it brings another image for them: one that is on no node, so a
/// worker that was made anew could not even start.
pub(super) fn upgrade(world: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let before = lives(NAMESPACE, WORKERS)?;
    let doors = Doors::open(world, NAMESPACE)?;
    guide::run(world, Chapter::Upgrade)?;
    let next = format!("image.registry={}", world.next_registry);
    world.upgrade(&[&next, "operator.podAnnotations.upgraded=yes"])?;
    eventually("the new operator's word", Duration::from_secs(60), || {
        let proxy = get(NAMESPACE, &["lmp", "proxy"])?;
        let progress = text(&proxy, "/status/configuration/workers/progress");
        Ok(progress
            .contains(&format!("this operator brings {}", world.next_registry))
            .then_some(()))
    })?;
    replaced_ended()?;
    doors.none_failed("chart upgraded")?;
    let after = lives(NAMESPACE, WORKERS)?;
    ensure!(
        before == after,
        "the upgrade replaced workers: {before:?} by {after:?}"
    );
    traffic.none_failed("chart upgraded")?;
    world.upgrade(&[&format!("image.registry={}", world.registry)])
}

/// What runs goes on; what opts in waits, as `failurePolicy: Fail` promises; nobody else notices.
pub(super) fn down(_: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    scale_operator(0)?;
    eventually("no operator", Duration::from_secs(60), || {
        Ok(pods(SYSTEM, OPERATORS)?.is_empty().then_some(()))
    })?;
    kill(NAMESPACE, pods(NAMESPACE, WORKERS)?.first().context("no worker")?)?;
    traffic.another(20)?;
    let refused = trial_pod(NAMESPACE).err().map(|error| error.to_string());
    let refused = refused.context("an opted-in pod was let in")?;
    ensure!(
        refused.contains("inject.liquidmemory.dev"),
        "refused by another: {refused}"
    );
    let outside = Namespace::new("bystander", &json!({}))?;
    trial_pod(&outside.0).context("a pod that never opted in was refused")?;
    // Workers are a Deployment of their own: Kubernetes replaces them without us.
    rolled_out(NAMESPACE, DEPLOYMENT, Duration::from_secs(90))?;
    let outcome = traffic.none_failed("operator down").map(|_| ());
    scale_operator(2)?;
    rolled_out(SYSTEM, "deployment/liquid-operator", Duration::from_secs(120))?;
    outcome
}
