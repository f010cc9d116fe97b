//! Unmodified SDKs against a real worker and a real sidecar, with the mock upstream as the provider.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::Count;
use crate::command::{cargo, root, run, watch};
use crate::model::{Weights, ensure};
use crate::stack::{self, Mock, Ports, Service};
use crate::tools;

/// LiteLLM asks for an older openai package than the latest, hence two environments.
const ENVIRONMENTS: [(&str, &str, &[&str]); 2] = [
    ("clients", "requirements.txt", &["--ignore", "test_litellm.py"]),
    ("litellm", "requirements-litellm.txt", &["test_litellm.py"]),
];

pub(super) fn python() -> Result<Count> {
    let folder = root().join("tests/clients/python");
    let stack = Stack::start()?;
    let mut total = Count::default();
    for (name, requirements, files) in ENVIRONMENTS {
        let python = tools::python(name, &folder.join(requirements))?;
        let mut pytest = Command::new(python);
        pytest
            .args(["-m", "pytest", "-rs", "--color=no", "-p", "no:cacheprovider"])
            .args(files)
            .current_dir(&folder);
        let mut count = Count::default();
        let success = watch(stack.tell(&mut pytest), |line| count.pytest(line))?;
        total.add(&count.ended(success));
    }
    Ok(total)
}

pub(super) fn node() -> Result<Count> {
    let folder = root().join("tests/clients/node");
    tools::node(&folder)?;
    let stack = Stack::start()?;
    let mut node = Command::new("node");
    node.args(["--test", "--test-concurrency=1", "--test-reporter=tap"])
        .current_dir(folder);
    let mut count = Count::default();
    let success = watch(stack.tell(&mut node), |line| count.node(line))?;
    Ok(count.ended(success))
}

/// What the clients talk to, from their side to the provider's; dropped in that order.
struct Stack {
    ports: Ports,
    _sidecar: Service,
    _worker: Service,
    mock: Mock,
}

impl Stack {
    fn start() -> Result<Self> {
        let programs = build()?;
        let ports = Ports::any()?;
        let mock = Mock::start(&programs)?;
        let weights = match ensure()? {
            Weights::Ready(folder) => Some(folder),
            Weights::Missing(_) => None,
        };
        let mut worker = Service::start(
            "test-worker",
            &mut stack::worker(&programs, ports, weights.as_deref()),
        )?;
        worker.ready(&ports.worker_ready(), |_| {})?;
        let mut sidecar = Service::start("test-sidecar", &mut sidecar(&programs, ports, &mock.url))?;
        sidecar.ready(&ports.sidecar_ready(), |_| {})?;
        Ok(Self {
            ports,
            _sidecar: sidecar,
            _worker: worker,
            mock,
        })
    }

    fn tell<'c>(&self, command: &'c mut Command) -> &'c mut Command {
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

fn build() -> Result<PathBuf> {
    let packages = ["liquid-worker", "liquid-sidecar", "liquid-testing"];
    let mut build = cargo(&["build", "--locked", "--bins"]);
    for package in packages {
        build.args(["--package", package]);
    }
    run(&mut build)?;
    Ok(root().join("target/debug"))
}
