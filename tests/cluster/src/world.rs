//! What the cases share: where things are, and the namespaces they make.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::kubectl::{self, apply, delete_namespace, kubectl, list, rolled_out};

/// Where the release is installed.
pub(crate) const SYSTEM: &str = "liquid-memory";
/// The release in it.
pub(crate) const RELEASE: &str = "liquid-memory";
/// Where the mock provider runs.
pub(crate) const PROVIDER: &str = "provider";
/// The operator's Deployment and Service in [`SYSTEM`].
pub(crate) const OPERATOR: &str = "liquid-operator";
/// The labels of the operator's pods.
pub(crate) const OPERATORS: &str = "app.kubernetes.io/component=operator";
/// The port at which each of them serves metrics.
pub(crate) const OPERATOR_METRICS: u16 = 8080;

/// Names the folder of a small language model.
const DECODER: &str = "LIQUID_CLUSTER_DECODER";
/// Names the languages in which there are applications beside Python.
const CLIENTS: &str = "LIQUID_CLUSTER_CLIENTS";

/// Set by `cargo xtask test`.
#[derive(Debug)]
pub(crate) struct World {
    /// The repository.
    pub(crate) root: PathBuf,
    /// The cluster's programs.
    pub(crate) programs: PathBuf,
    /// First part of the images' names.
    pub(crate) registry: String,
    /// The same, of a release whose operator alone is on the nodes.
    pub(crate) next_registry: String,
    /// Their tag.
    pub(crate) version: String,
    /// The encoder's weights, on the machine of the nodes.
    pub(crate) model: PathBuf,
    /// The folder of a small language model, likewise; none where it cannot be had.
    pub(crate) decoder: Option<PathBuf>,
    /// The plugin `kubectl-liquid`.
    pub(crate) plugin: PathBuf,
    /// What the API server has written about the requests of service accounts.
    pub(crate) audit: PathBuf,
    /// The folder of a signed bundle, `bundle.tar`, and of the key that verifies it, `key.pub`.
    pub(crate) bundle: PathBuf,
    /// What the nodes know of registries: a folder for each.
    pub(crate) registries: PathBuf,
    /// `cargo xtask`, to do something to parts of the cluster.
    xtask: PathBuf,
    cluster: String,
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

    /// Whether there is a language model to run; asked before there is a cluster.
    pub(crate) fn has_decoder() -> bool {
        std::env::var_os(DECODER).is_some()
    }

    /// Whether there is an application in a language; asked before there is a cluster.
    pub(crate) fn has_client(language: &str) -> bool {
        std::env::var(CLIENTS).is_ok_and(|languages| languages.split(' ').any(|one| one == language))
    }

    fn read() -> Result<Self> {
        let read = |name: &str| {
            std::env::var(name)
                .with_context(|| format!("{name} is not set: run `cargo xtask test --only cluster`"))
        };
        Ok(Self {
            root: read("LIQUID_CLUSTER_ROOT")?.into(),
            programs: read("LIQUID_CLUSTER_PROGRAMS")?.into(),
            registry: read("LIQUID_CLUSTER_REGISTRY")?,
            next_registry: read("LIQUID_CLUSTER_NEXT_REGISTRY")?,
            version: read("LIQUID_CLUSTER_VERSION")?,
            model: read("LIQUID_CLUSTER_MODEL")?.into(),
            decoder: std::env::var_os(DECODER).map(PathBuf::from),
            plugin: read("LIQUID_CLUSTER_PLUGIN")?.into(),
            audit: read("LIQUID_CLUSTER_AUDIT")?.into(),
            bundle: read("LIQUID_CLUSTER_BUNDLE")?.into(),
            registries: read("LIQUID_CLUSTER_REGISTRIES")?.into(),
            xtask: read("LIQUID_CLUSTER_XTASK")?.into(),
            cluster: read("LIQUID_CLUSTER_NAME")?,
        })
    }

    /// `REGISTRY/NAME:VERSION`.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}:{}", self.registry, self.version)
    }

    /// A chart's folder.
    pub(crate) fn chart(&self, name: &str) -> PathBuf {
        self.root.join("deploy/charts").join(name)
    }

    pub(crate) fn helm(&self, arguments: &[&str]) -> Result<String> {
        kubectl::output(Command::new(self.programs.join("helm")).args(arguments))
    }

    /// Changes values of the release, and waits for the operator's rollout.
    pub(crate) fn upgrade(&self, values: &[&str]) -> Result<()> {
        let chart = self.chart("liquid-memory").display().to_string();
        let upgrade = [
            "upgrade",
            RELEASE,
            &chart,
            "--namespace",
            SYSTEM,
            "--reuse-values",
        ];
        let values = values.iter().flat_map(|value| ["--set", value]);
        self.helm(&upgrade.into_iter().chain(values).collect::<Vec<_>>())?;
        let operator = format!("deployment/{OPERATOR}");
        rolled_out(SYSTEM, &operator, Duration::from_secs(120))
    }

    /// Runs the release's own test; the error says what it printed.
    pub(crate) fn test(&self) -> Result<()> {
        self.helm(&["test", RELEASE, "--namespace", SYSTEM, "--logs"])
            .map(|_| ())
    }

    /// Has `cargo xtask cluster` do something to this cluster.
    pub(crate) fn cluster(&self, action: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.xtask);
        command
            .arg("cluster")
            .args(action)
            .args(["--name", &self.cluster]);
        kubectl::output(&mut command).map(|_| ())
    }
}

/// The operator's pods, those that end included.
pub(crate) fn operators() -> Result<Vec<Value>> {
    list(SYSTEM, &["pods", "--selector", OPERATORS])
}

/// Asks for so many replicas of the operator.
pub(crate) fn scale_operator(replicas: u8) -> Result<()> {
    let (operator, replicas) = (format!("deployment/{OPERATOR}"), format!("--replicas={replicas}"));
    kubectl(&["scale", &operator, "--namespace", SYSTEM, &replicas]).map(|_| ())
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

    /// One that opts in and holds pods to the strictest standard.
    pub(crate) fn opted_in(name: &str) -> Result<Self> {
        Self::new(
            name,
            &json!({
                "liquidmemory.dev/inject": "enabled",
                "pod-security.kubernetes.io/enforce": "restricted",
            }),
        )
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

/// Calls until it gives a value; the error says what was waited for, and what the last call said.
pub(crate) fn eventually<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let outcome = attempt();
        if let Ok(Some(value)) = outcome {
            return Ok(value);
        }
        if start.elapsed() > limit {
            let seconds = limit.as_secs();
            match outcome {
                Err(error) => return Err(error.context(format!("{what}: not after {seconds} s"))),
                Ok(_) => bail!("{what}: not after {seconds} s"),
            }
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}
