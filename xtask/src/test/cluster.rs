//! The tests that need a Kubernetes with a kubelet: start one, load the images, run them inside its network.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Count;
use crate::cluster::{self, Binaries, Layout, Owner, Place};
use crate::command::{cargo, output, root, run, watch};
use crate::console::{say, warn};
use crate::images::{self, Name, Profile, Programs};
use crate::model;

/// The cases: they install the charts and test what an administrator and a user see.
const CASES: &str = "liquid-cluster-tests";
/// The operator's parts in a process of their own; they need a cluster on which no operator runs.
const PARTS: &str = "real_api";
/// No such host: an image that is not on the nodes cannot come from anywhere.
const REGISTRY: &str = "liquid.test";
/// Where the operator's image lies a second time, and no other: the release after this one.
const NEXT_REGISTRY: &str = "liquid.test/next";
const NODES: u8 = 2;
/// The one case that is here, because it is about a cluster's own end.
const CRASH: &str = "cluster::down_removes_what_a_crash_left";
/// How long a cluster may take to have its first processes.
const STARTING: Duration = Duration::from_secs(60);

/// All cases, or all of them skipped by name where no cluster can run.
pub(super) fn cluster() -> Result<Count> {
    let (parts, cases) = (build_parts()?, build_cases()?);
    if let Some(reason) = cluster::missing() {
        warn(format!("no cluster: {reason}"));
        let mut count = skipped(&parts, &reason)?;
        count.add(&skipped(&cases, &reason)?);
        count.add(&Count::skipped(format!("{CRASH}: {reason}")));
        return Ok(count);
    }
    let images = [&Name::PRODUCT[..], &Name::FIXTURES].concat();
    let folder = images::folder().join("test");
    let built = Programs::build(&images, Profile::Dev)?;
    let mut archives = written(&images, &built, REGISTRY, &folder)?;
    archives.extend(written(
        &[Name::Operator],
        &built,
        NEXT_REGISTRY,
        &folder.join("next"),
    )?);
    let mut count = Count::default();
    on_cluster(&archives, |inside| {
        for program in [&parts, &cases] {
            let mut one = Count::default();
            let success = watch(&mut inside.command(program)?, |line| one.cargo(line))?;
            count.add(&one.ended(success));
        }
        Ok(())
    })?;
    count.add(&crash()?);
    Ok(count)
}

/// Pods' admission with the operator as it is shipped.
pub(crate) fn bench_admission() -> Result<()> {
    let cases = build_cases()?;
    let folder = images::folder().join("bench");
    // Built together, as for the images that are shipped: cargo chooses the features of what they share.
    let built = Programs::build(&Name::PRODUCT, Profile::Release)?;
    let archives = written(&[Name::Operator], &built, REGISTRY, &folder)?;
    on_cluster(&archives, |inside| {
        run(inside.command(&cases)?.arg("bench-admission"))
    })
}

/// The archives of the images.
fn written(names: &[Name], programs: &Programs, registry: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    let written = images::write(names, programs, registry, folder)?;
    Ok(written.into_iter().map(|image| image.archive).collect())
}

/// A cluster that runs, with the images on its nodes.
struct Inside {
    layout: Layout,
    place: Place,
}

impl Inside {
    /// A program in the cluster's network that knows where everything is.
    fn command(&self, program: &Path) -> Result<Command> {
        let Binaries(programs) = cluster::programs()?;
        let mut command = cluster::inside(&self.layout, program);
        command
            .env("LIQUID_CLUSTER_KUBECONFIG", self.layout.kubeconfig("admin"))
            .env("LIQUID_CLUSTER_ROOT", root())
            .env("LIQUID_CLUSTER_PROGRAMS", programs)
            .env("LIQUID_CLUSTER_REGISTRY", REGISTRY)
            .env("LIQUID_CLUSTER_NEXT_REGISTRY", NEXT_REGISTRY)
            .env("LIQUID_CLUSTER_VERSION", env!("CARGO_PKG_VERSION"))
            .env("LIQUID_CLUSTER_MODEL", model::folder())
            .env("LIQUID_CLUSTER_AUDIT", self.layout.audit_log())
            .env("LIQUID_CLUSTER_XTASK", std::env::current_exe()?)
            .env("LIQUID_CLUSTER_NAME", self.place.name());
        Ok(command)
    }
}

/// Starts a cluster with these images on its nodes. It ends with this process, however that ends.
fn on_cluster(archives: &[PathBuf], work: impl FnOnce(&Inside) -> Result<()>) -> Result<()> {
    let place = Place::named(&cluster::name_for(&root())?);
    let layout = cluster::up(&place, NODES, Some(Owner::Process(std::process::id())))?;
    let inside = Inside { layout, place };
    say(format!("loading {} images", archives.len()));
    let outcome = cluster::load(&inside.layout, archives).and_then(|()| work(&inside));
    cluster::down(&inside.layout)?;
    let left = cluster::traces(&inside.layout)?;
    ensure!(left.is_empty(), "the cluster has left behind: {left:?}");
    outcome
}

/// Kills the start of a cluster in the middle: `down` removes everything.
fn crash() -> Result<Count> {
    let place = Place::named(&format!("{}-x", cluster::name_for(&root())?));
    let layout = place.layout()?;
    let mut start = Command::new(std::env::current_exe()?)
        .args(["cluster", "--name", place.name(), "up", "--nodes", "1"])
        .stdout(Stdio::null())
        .spawn()?;
    let (began, mut before) = (Instant::now(), Vec::new());
    let processes = |traces: &[String]| traces.iter().filter(|trace| trace.starts_with("process")).count();
    while processes(&before) < 2 && began.elapsed() < STARTING {
        std::thread::sleep(Duration::from_millis(50));
        before = cluster::traces(&layout)?;
    }
    start.kill()?;
    start.wait()?;
    cluster::down(&layout)?;
    let left = cluster::traces(&layout)?;
    let holds = processes(&before) >= 2 && left.is_empty();
    say(format!(
        "{CRASH}: {} traces of the crash, {} after `down` {left:?}",
        before.len(),
        left.len()
    ));
    Ok(Count::one(holds))
}

fn build_cases() -> Result<PathBuf> {
    built(&["build", "--locked", "--package", CASES], CASES)
}

fn build_parts() -> Result<PathBuf> {
    let arguments = [
        "test",
        "--no-run",
        "--locked",
        "--package",
        "liquid-operator",
        "--test",
        PARTS,
    ];
    built(&arguments, PARTS)
}

/// Builds, then asks cargo where the program of this name is.
fn built(arguments: &[&str], name: &str) -> Result<PathBuf> {
    let mut build = cargo(arguments);
    run(&mut build)?;
    let messages = output(build.args(["--message-format=json", "--quiet"]))?;
    let programs = images::executables(&messages);
    // A test's file is named NAME-HASH.
    let named = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    programs
        .into_iter()
        .find(named)
        .with_context(|| format!("cargo built no program {name}"))
}

/// `NAME: test`, one a line.
fn skipped(program: &Path, reason: &str) -> Result<Count> {
    let list = output(Command::new(program).args(["--list", "--format", "terse"]))?;
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(Count {
        skipped: names.map(|name| format!("{name}: {reason}")).collect(),
        ..Count::default()
    })
}
