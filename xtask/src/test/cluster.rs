//! The tests that need a Kubernetes with a kubelet: start one and run them inside its network.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Count;
use crate::cluster::{self, Binaries, Layout, Owner, Place};
use crate::command::{cargo, output, root, run, watch};
use crate::console::warn;
use crate::images;

const PACKAGE: &str = "liquid-cluster-tests";
const NODES: u8 = 2;

/// All cases, or all of them skipped by name where no cluster can run.
pub(super) fn cluster() -> Result<Count> {
    let program = build()?;
    if let Some(reason) = cluster::missing() {
        warn(format!("no cluster: {reason}"));
        return skipped(&program, &reason);
    }
    let place = Place::named(&cluster::name_for(&root())?);
    // Ends with this program, however that ends.
    let layout = cluster::up(&place, NODES, Some(Owner::Process(std::process::id())))?;
    let outcome = cases(&layout, &program);
    cluster::down(&layout)?;
    outcome
}

fn cases(layout: &Layout, program: &Path) -> Result<Count> {
    let Binaries(programs) = cluster::programs()?;
    let mut command = cluster::inside(layout, program);
    command
        .env("LIQUID_CLUSTER_ROOT", root())
        .env("LIQUID_CLUSTER_PROGRAMS", programs);
    let mut count = Count::default();
    let success = watch(&mut command, |line| count.cargo(line))?;
    Ok(count.ended(success))
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
