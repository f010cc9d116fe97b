//! The tests that need a Kubernetes with a kubelet: start one, load the images, run them inside its network.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Count;
use crate::cluster::{self, Binaries, Layout, Owner, Place};
use crate::command::{cargo, output, root, run, watch};
use crate::console::{say, warn};
use crate::images::{self, Name, Profile};

const PACKAGE: &str = "liquid-cluster-tests";
/// No such host: an image that is not on the nodes cannot come from anywhere.
const REGISTRY: &str = "liquid.test";
const NODES: u8 = 2;

/// All cases, or all of them skipped by name where no cluster can run.
pub(super) fn cluster() -> Result<Count> {
    let program = build()?;
    if let Some(reason) = cluster::missing() {
        warn(format!("no cluster: {reason}"));
        return skipped(&program, &reason);
    }
    let images = [&Name::PRODUCT[..], &Name::FIXTURES].concat();
    let mut count = Count::default();
    let success = on_cluster(&program, &images, Profile::Dev, |command| {
        watch(command, |line| count.cargo(line))
    })?;
    Ok(count.ended(success))
}

/// Pods' admission with the operator as it is shipped.
pub(crate) fn bench_admission() -> Result<()> {
    let program = build()?;
    let images = [Name::Operator];
    on_cluster(&program, &images, Profile::Release, |command| {
        run(command.arg("bench-admission"))
    })
}

/// Starts a cluster with these images on its nodes and hands over the program, ready to run in its network. The
/// cluster ends with this process, however that ends.
fn on_cluster<T>(
    program: &Path,
    images: &[Name],
    profile: Profile,
    work: impl FnOnce(&mut Command) -> Result<T>,
) -> Result<T> {
    let place = Place::named(&cluster::name_for(&root())?);
    let written = images::make(images, profile, REGISTRY, &images::folder().join("test"))?;
    let archives = written.into_iter().map(|image| image.archive).collect::<Vec<_>>();
    let layout = cluster::up(&place, NODES, Some(Owner::Process(std::process::id())))?;
    let outcome = prepare(&layout, &place, program, &archives).and_then(|mut command| work(&mut command));
    cluster::down(&layout)?;
    outcome
}

fn prepare(layout: &Layout, place: &Place, program: &Path, archives: &[PathBuf]) -> Result<Command> {
    say(format!("loading {} images", archives.len()));
    cluster::load(layout, archives)?;
    let Binaries(programs) = cluster::programs()?;
    let mut command = cluster::inside(layout, program);
    command
        .env("LIQUID_CLUSTER_ROOT", root())
        .env("LIQUID_CLUSTER_PROGRAMS", programs)
        .env("LIQUID_CLUSTER_REGISTRY", REGISTRY)
        .env("LIQUID_CLUSTER_VERSION", env!("CARGO_PKG_VERSION"))
        .env("LIQUID_CLUSTER_XTASK", std::env::current_exe()?)
        .env("LIQUID_CLUSTER_NAME", place.name());
    Ok(command)
}

fn build() -> Result<PathBuf> {
    let mut build = cargo(&["build", "--locked", "--package", PACKAGE]);
    run(&mut build)?;
    build.arg("--message-format=json");
    let messages = output(build.arg("--quiet"))?;
    let program = images::executables(&messages).pop();
    program.with_context(|| format!("cargo built no program of {PACKAGE}"))
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
