//! What the cases share: where things are, and the namespaces they make.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use crate::kubectl::{self, apply, delete_namespace};

/// Where the release is installed.
pub(crate) const SYSTEM: &str = "liquid-memory";

/// Set by `cargo xtask test`.
#[derive(Debug)]
pub(crate) struct World {
    /// The repository.
    pub(crate) root: PathBuf,
    /// The cluster's programs.
    pub(crate) programs: PathBuf,
}

impl World {
    /// The environment; an error says how to start the tests.
    pub(crate) fn get() -> Result<&'static Self> {
        static WORLD: OnceLock<Result<World, String>> = OnceLock::new();
        WORLD
            .get_or_init(|| Self::read().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!(error.clone()))
    }

    fn read() -> Result<Self> {
        let read = |name: &str| {
            std::env::var(name)
                .with_context(|| format!("{name} is not set: run `cargo xtask test --only cluster`"))
        };
        Ok(Self {
            root: read("LIQUID_CLUSTER_ROOT")?.into(),
            programs: read("LIQUID_CLUSTER_PROGRAMS")?.into(),
        })
    }

    /// A chart's folder.
    pub(crate) fn chart(&self, name: &str) -> PathBuf {
        self.root.join("deploy/charts").join(name)
    }

    pub(crate) fn helm(&self, arguments: &[&str]) -> Result<String> {
        kubectl::output(Command::new(self.programs.join("helm")).args(arguments))
    }
}

/// A namespace that goes with this value.
pub(crate) struct Namespace(pub(crate) String);

impl Namespace {
    /// Makes a namespace with these labels.
    pub(crate) fn new(name: &str, labels: &Value) -> Result<Self> {
        apply(&json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": labels},
        }))?;
        Ok(Self(name.to_owned()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A failed case leaves it for whoever looks; the cluster goes anyway.
        if !std::thread::panicking() {
            let _ = delete_namespace(&self.0);
        }
    }
}
