//! Unmodified SDKs and frameworks against a real worker and a real sidecar, with the mock upstream as the provider; some
//! against the language model that the worker itself serves.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::Wanted;
use crate::command::{root, watch};
use crate::count::Count;
use crate::model::{Weights, decoder, ensure};
use crate::stack::{self, Mock, Ports, Service};
use crate::{graph, tools};

/// LiteLLM, on which some frameworks stand, asks for an older openai package than the latest, hence two environments.
const ENVIRONMENTS: [(&str, &str, &[&str]); 2] = [
    (
        "clients",
        "requirements.txt",
        &["--ignore", "test_litellm.py", "--ignore", "frameworks"],
    ),
    (
        "frameworks",
        "requirements-frameworks.txt",
        &["test_litellm.py", "frameworks"],
    ),
];

/// Installs the SDKs.
pub(super) fn download() -> Result<()> {
    for (name, requirements, _) in ENVIRONMENTS {
        tools::python(name, &python_folder().join(requirements))?;
    }
    tools::node(&node_folder())
}

fn python_folder() -> PathBuf {
    root().join("tests/clients/python")
}

fn node_folder() -> PathBuf {
    root().join("tests/clients/node")
}

pub(super) fn python(wanted: &Wanted) -> Result<Count> {
    let folder = python_folder();
    let stack = Stack::start()?;
    let mut total = Count::default();
    for (name, requirements, files) in ENVIRONMENTS {
        let python = tools::python(name, &folder.join(requirements))?;
        let mut command = Command::new(python);
        command.arg("-m").args(PYTEST).args(files).current_dir(&folder);
        total.add(&pytest(stack.tell(&mut command), &wanted.names)?);
    }
    Ok(total)
}

/// pytest, as [`Count::pytest`] reads it.
pub(super) const PYTEST: [&str; 6] = [
    "pytest",
    "-rs",
    "--color=no",
    "--durations=10",
    "-p",
    "no:cacheprovider",
];

/// Runs a command that begins with [`PYTEST`], the tests of these names alone if there are any.
pub(super) fn pytest(command: &mut Command, names: &[String]) -> Result<Count> {
    if !names.is_empty() {
        command.args(["-k", &names.join(" or ")]);
    }
    let mut count = Count::default();
    let success = watch(command, |line| count.pytest(line))?;
    // It fails where the names select no test.
    let none = !names.is_empty() && count == Count::default();
    Ok(count.ended(success || none))
}

pub(super) fn node(wanted: &Wanted) -> Result<Count> {
    let folder = node_folder();
    tools::node(&folder)?;
    let stack = Stack::start()?;
    let mut node = Command::new("node");
    node.args(["--test", "--test-concurrency=1", "--test-reporter=tap"])
        .args(
            wanted
                .names
                .iter()
                .map(|name| format!("--test-name-pattern={name}")),
        )
        .current_dir(folder);
    let mut count = Count::default();
    let success = watch(stack.tell(&mut node), |line| count.node(line))?;
    Ok(count.ended(success))
}

/// What the clients talk to, from their side to the provider's; dropped in that order.
struct Stack {
    ports: Ports,
    /// Where a sidecar is whose provider is the worker's language model, if it serves one.
    inside: Option<(u16, Service)>,
    _sidecar: Service,
    _worker: Service,
    mock: Mock,
}

impl Stack {
    fn start() -> Result<Self> {
        let program = graph::built()?.program("liquid-worker")?;
        let programs = program.parent().unwrap_or(program);
        let ports = Ports::any()?;
        let mock = Mock::start(programs)?;
        let weights = match ensure()? {
            Weights::Ready(folder) => Some(folder),
            Weights::Missing(_) => None,
        };
        let mut worker = stack::worker(programs, ports, weights.as_deref());
        let has_decoder = match decoder::ensure()? {
            Weights::Ready(folder) => {
                worker
                    .env("LIQUID_WORKER__DECODER__FOLDER", folder)
                    .env("LIQUID_WORKER__DECODER__MEMORY_BYTES", "536870912");
                true
            }
            Weights::Missing(_) => false,
        };
        let mut worker = Service::start("test-worker", &mut worker)?;
        worker.ready(&ports.worker_ready(), |_| {})?;
        let mut sidecar = Service::start("test-sidecar", &mut sidecar(programs, ports, &mock.url))?;
        sidecar.ready(&ports.sidecar_ready(), |_| {})?;
        Ok(Self {
            ports,
            inside: has_decoder.then(|| inside(programs, ports)).transpose()?,
            _sidecar: sidecar,
            _worker: worker,
            mock,
        })
    }

    fn tell<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        if let Some((port, _)) = &self.inside {
            command
                .env("WORKER_URL", format!("http://127.0.0.1:{}", self.ports.worker))
                .env("INSIDE_URL", format!("http://127.0.0.1:{port}"));
        }
        command
            .env("LIQUID_URL", format!("http://127.0.0.1:{}", self.ports.sidecar))
            .env("MOCK_URL", &self.mock.url)
            // Providers' settings of the machine must not redirect a client.
            .env_remove("OPENAI_BASE_URL")
            .env_remove("OPENAI_API_BASE")
            .env_remove("ANTHROPIC_BASE_URL")
            .env("NO_PROXY", "127.0.0.1")
    }
}

/// Starts a sidecar that has no other provider than the worker's language model; returns its port too.
fn inside(programs: &Path, ports: Ports) -> Result<(u16, Service)> {
    let own = Ports::any()?;
    let ports = Ports {
        worker: ports.worker,
        ..own
    };
    let mut command = stack::sidecar(programs, ports);
    command
        .env_remove("SYNTHESIS_MODEL")
        .env("LIQUID_SIDECAR__UPSTREAM__OPENAI", "liquid")
        .env("LIQUID_SIDECAR__UPSTREAM__ANTHROPIC", "liquid")
        .env("LIQUID_SIDECAR__UPSTREAM__RETRIES", "0");
    let mut sidecar = Service::start("test-sidecar-inside", &mut command)?;
    sidecar.ready(&ports.sidecar_ready(), |_| {})?;
    Ok((ports.sidecar, sidecar))
}

fn sidecar(programs: &Path, ports: Ports, mock: &str) -> Command {
    let mut command = stack::sidecar(programs, ports);
    command
        .env_remove("SYNTHESIS_MODEL")
        .env(
            "LIQUID_SIDECAR__UPSTREAM__PROVIDERS__OPENAI__BASE_URL",
            format!("{mock}/v1"),
        )
        .env(
            "LIQUID_SIDECAR__UPSTREAM__PROVIDERS__ANTHROPIC__BASE_URL",
            format!("{mock}/v1"),
        )
        // The clients retry on their own: what they see must be what the provider said.
        .env("LIQUID_SIDECAR__UPSTREAM__RETRIES", "0")
        // An unoptimised worker encodes at a tenth of its speed.
        .env("LIQUID_SIDECAR__EXTRACT__DEADLINE_MS", "60000")
        .env("LIQUID_SIDECAR__LIMITS__MAX_BODY_BYTES", "4194304");
    command
}
