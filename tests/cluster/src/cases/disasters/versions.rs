//! Operators of two versions at once, and the chart of before.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{LIMIT, NAMESPACE, OPERATOR, SYSTEM, compressed, deadline_arrives, whole, with_undo};
use crate::cases::faults::{Doors, leader, running};
use crate::kubectl::{apply, get, kubectl, output, patch, rolled_out};
use crate::traffic::Traffic;
use crate::world::{RELEASE, World, eventually, scale_operator};

/// The chart of the operator.
const CHART: &str = "liquid-memory";
const NEXT: &str = "liquid-operator-next";

/// The operator of the next release, beside that of this one.
fn next_operator(world: &World) -> Result<Value> {
    let found = get(SYSTEM, &["deployment", OPERATOR])?;
    let spec = found.get("spec").context("no spec")?.to_string();
    let (from, to) = (
        format!("{}/", world.registry),
        format!("{}/", world.next_registry),
    );
    let mut spec: Value = serde_json::from_str(&spec.replace(&from, &to))?;
    for (at, value) in [
        ("/selector/matchLabels", json!({"release": "next"})),
        ("/template/metadata/labels", json!({"release": "next"})),
        ("", json!({"replicas": 1})),
    ] {
        let found = spec.pointer_mut(at).and_then(Value::as_object_mut);
        let more = value.as_object().cloned().unwrap_or_default();
        found.with_context(|| format!("no {at}"))?.extend(more);
    }
    Ok(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": NEXT, "namespace": SYSTEM}, "spec": spec,
    }))
}

/// The pod that leads.
fn leading_pod() -> Result<String> {
    let (holder, _) = leader()?;
    let (pod, _) = holder.split_once('_').context("no replica leads")?;
    Ok(pod.to_owned())
}

/// The one that leads does what the proxy says.
fn follows(deadline: u32) -> Result<()> {
    let change = json!({"spec": {"extraction": {"deadlineMilliseconds": deadline}}});
    patch(NAMESPACE, "lmp/proxy", "merge", &change)?;
    deadline_arrives("proxy", deadline)
}

/// Each leads in turn, both answer reviews, and no worker is replaced for it: another version has other images.
pub(super) fn two_operators(world: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let lives = running(NAMESPACE)?;
    let doors = Doors::open(world, NAMESPACE)?;
    let both = || {
        apply(&next_operator(world)?)?;
        rolled_out(SYSTEM, &format!("deployment/{NEXT}"), LIMIT)?;
        scale_operator(1)?;
        whole()?;
        let (mut led, mut deadline) = ([0, 0], 21_000);
        while led.iter().any(|terms| *terms < 2) {
            let before = eventually("a leader", LIMIT, || leading_pod().map(Some))?;
            led[usize::from(before.starts_with(NEXT))] += 1;
            follows(deadline)?;
            deadline += 1000;
            kubectl(&["delete", "pod", &before, "--namespace", SYSTEM])?;
            eventually("another leader", LIMIT, || {
                Ok((leading_pod()? != before).then_some(()))
            })?;
            rolled_out(SYSTEM, &format!("deployment/{NEXT}"), LIMIT)?;
            whole()?;
        }
        println!("\n    terms of this version: {}, of the next: {}", led[0], led[1]);
        Ok(())
    };
    with_undo(both, || {
        scale_operator(2)?;
        whole()?;
        kubectl(&[
            "delete",
            "deployment",
            NEXT,
            "--namespace",
            SYSTEM,
            "--ignore-not-found",
            "--cascade=foreground",
        ])?;
        follows(20_000)
    })?;
    doors.none_failed("operators of two versions")?;
    ensure!(lives == running(NAMESPACE)?, "something was restarted");
    compressed(&traffic, 10)?;
    traffic.none_failed("operators of two versions").map(|_| ())
}

/// From the chart of before to this one, back by Helm's own means, and up again, with this version's images.
pub(super) fn earlier_chart_and_back(world: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let lives = running(NAMESPACE)?;
    let doors = Doors::open(world, NAMESPACE)?;
    let folder = tempfile::tempdir()?;
    let change = || {
        upgrade(world, &earlier_chart(world, folder.path())?)?;
        upgrade(world, &world.chart(CHART))?;
        follows(22_000)?;
        world.helm(&["rollback", RELEASE, "--namespace", SYSTEM])?;
        whole()?;
        follows(23_000)
    };
    with_undo(change, || {
        upgrade(world, &world.chart(CHART))?;
        follows(20_000)
    })?;
    compressed(&traffic, 20)?;
    doors.none_failed("chart upgraded and rolled back")?;
    ensure!(lives == running(NAMESPACE)?, "something was restarted");
    traffic.none_failed("chart upgraded and rolled back").map(|_| ())
}

/// Writes the chart as it was before its templates changed last into a folder.
fn earlier_chart(world: &World, folder: &Path) -> Result<PathBuf> {
    let path = format!("deploy/charts/{CHART}");
    let git = |arguments: &[&str]| output(Command::new("git").arg("-C").arg(&world.root).args(arguments));
    let templates = format!("{path}/templates");
    let last = git(&["log", "--max-count=1", "--format=%H", "--", &templates])?;
    let archive = folder.join("chart.tar");
    let to = format!("--output={}", archive.display());
    git(&["archive", &to, &format!("{last}~1"), &path])?;
    let mut tar = Command::new("tar");
    output(tar.arg("-xf").arg(&archive).arg("-C").arg(folder))?;
    Ok(folder.join(path))
}

/// To a chart, with the values that were given to the release.
fn upgrade(world: &World, chart: &Path) -> Result<()> {
    let chart = chart.display().to_string();
    let values = "--reset-then-reuse-values";
    world.helm(&["upgrade", RELEASE, &chart, "--namespace", SYSTEM, values])?;
    whole()
}
