//! The worker as a child process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process::{Process, free};

/// Steps of a start in their order, as the log names them.
const PHASES: [&str; 4] = [
    "decoder_weights",
    "decoder_tokenizer",
    "decoder_memory",
    "warm_up",
];

/// A worker that serves.
pub(super) struct Server {
    process: Process,
    log: PathBuf,
    address: SocketAddr,
    admin: SocketAddr,
    started: Instant,
}

fn command(program: &Path, variables: &[(&str, String)]) -> Command {
    let mut command = Command::new(program);
    command.arg("serve").env("LIQUID_WORKER__LOG__FORMAT", "json");
    for (name, value) in variables {
        command.env(name, value);
    }
    command
}

/// Runs `serve --check`.
pub(super) fn check(program: &Path, variables: &[(&str, String)]) -> Result<Output> {
    let output = command(program, variables).arg("--check").output();
    output.with_context(|| format!("cannot start {}", program.display()))
}

impl Server {
    pub(super) fn start(
        name: &str,
        folder: &Path,
        program: &Path,
        variables: &[(&str, String)],
    ) -> Result<Self> {
        let (address, admin) = (free()?, free()?);
        let mut command = command(program, variables);
        command
            .env("LIQUID_WORKER__GRPC__LISTEN", address.to_string())
            .env("LIQUID_WORKER__ADMIN__LISTEN", admin.to_string());
        Ok(Self {
            started: Instant::now(),
            process: Process::start(name, folder, &mut command)?,
            log: folder.join(format!("{name}.log")),
            address,
            admin,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the worker is ready.
    pub(super) fn ready(&mut self) -> Result<Duration> {
        self.process.ready(self.admin, "/readyz")?;
        Ok(self.started.elapsed())
    }

    /// Checks that the log names every step of the start in its order, and says when each began.
    pub(super) fn phases(&self) -> Result<String> {
        let log = std::fs::read_to_string(&self.log)?;
        let mut found = Vec::new();
        for line in log.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            let fields = line.get("fields").unwrap_or(&line);
            let phase = fields.get("phase").and_then(serde_json::Value::as_str);
            let since = fields.get("since_start_ms").and_then(serde_json::Value::as_u64);
            if let (Some(phase), Some(since)) = (phase, since) {
                found.push((phase.to_owned(), since));
            }
        }
        let names: Vec<&str> = found.iter().map(|(phase, _)| phase.as_str()).collect();
        ensure!(
            names == PHASES,
            "the log names the steps {names:?}, not {PHASES:?}"
        );
        let steps = found
            .iter()
            .map(|(phase, since)| format!("{phase} at {since} ms"));
        Ok(steps.collect::<Vec<_>>().join(", "))
    }

    /// Ends the worker as Kubernetes does.
    pub(super) fn end(self) -> Result<()> {
        let status = self.process.end()?;
        ensure!(
            status.success(),
            "the worker ended with {status}; see {}",
            self.log.display()
        );
        Ok(())
    }
}
