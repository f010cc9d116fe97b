//! `cargo xtask bench scale`: an API server of its own without a node, the charts, and the operator as it is shipped.
//! The cluster tests' program makes the objects and measures (`tests/cluster/src/scale.rs`).

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::target;
use crate::cluster::{self, Binaries, Layout, Owner, Place, Shape};
use crate::command::{cargo, output, root, run};
use crate::console::{say, step};

/// The packages that are built, each with its profile.
const OPERATOR: [&str; 4] = ["build", "--release", "--package", "liquid-operator"];
const TESTS: [&str; 3] = ["build", "--package", "liquid-cluster-tests"];
/// A cluster in which no pod is ever started.
const WITHOUT_NODES: Shape = Shape {
    nodes: 0,
    kubernetes: None,
};
/// Where the release is installed.
const SYSTEM: &str = "liquid-memory";

#[derive(clap::Args)]
pub(super) struct Scale {
    /// How many LiquidMemoryProxies.
    #[arg(long, default_value_t = 1_000)]
    proxies: u32,
    /// How many pods with their sidecars.
    #[arg(long, default_value_t = 5_000)]
    pods: u32,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// An operator that is built already, such as that of an earlier version.
    #[arg(long, value_name = "FILE")]
    operator: Option<PathBuf>,
}

impl Scale {
    /// Builds, starts the cluster, measures, and takes the cluster down.
    pub(super) fn start(&self) -> Result<()> {
        step("Setting up the scale benchmark");
        let operator = match &self.operator {
            Some(operator) => operator.clone(),
            None => {
                run(&mut cargo(&OPERATOR))?;
                target().join("release/liquid-operator")
            }
        };
        run(&mut cargo(&TESTS))?;
        let place = Place::named(&format!("{}-s", cluster::name_for(&root())?));
        let layout = cluster::up(&place, &WITHOUT_NODES, Some(Owner::Process(std::process::id())))?;
        let outcome = install(&layout).and_then(|()| self.measure(&layout, &operator));
        cluster::down(&layout)?;
        let left = cluster::traces(&layout)?;
        ensure!(left.is_empty(), "the cluster has left behind: {left:?}");
        outcome
    }

    fn measure(&self, layout: &Layout, operator: &PathBuf) -> Result<()> {
        let Binaries(programs) = cluster::programs(layout)?;
        let mut command = cluster::inside(layout, &target().join("debug/liquid-cluster-tests"));
        command
            .arg("bench-scale")
            .args([self.proxies.to_string(), self.pods.to_string()])
            .args([operator, &programs, &layout.audit_log()])
            .args(self.json.then_some("json"));
        run(&mut command)
    }
}

/// Installs the charts. Nothing is waited for: no pod will run.
fn install(layout: &Layout) -> Result<()> {
    let charts = root().join("deploy/charts");
    for chart in ["liquid-memory-crds", "liquid-memory"] {
        let mut helm = cluster::client(layout, "helm")?;
        helm.args(["install", chart]).arg(charts.join(chart));
        output(helm.args(["--namespace", SYSTEM, "--create-namespace"]))?;
    }
    say("the charts are installed");
    Ok(())
}
