//! Worker and sidecar as child processes on loopback ports, for the demo and for the client tests.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use liquid_contract::ports;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{cache, root};
use crate::http;
use crate::tools::relative;

/// Loading and warming up the encoder, on a busy machine and in an unoptimised build.
const START_LIMIT: Duration = Duration::from_secs(180);
const STOP_LIMIT: Duration = Duration::from_secs(35);

/// A running service; it ends when this value is dropped.
pub(crate) struct Service {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts a program with its output in `.cache/logs/NAME.log`.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let log = cache().join("logs").join(format!("{name}.log"));
        fs::create_dir_all(cache().join("logs"))?;
        let file = File::create(&log)?;
        let child = command
            .current_dir(root())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Waits until `url` answers 200; `wait` is called about ten times a second.
    pub(crate) fn ready(&mut self, url: &str, mut wait: impl FnMut(Duration)) -> Result<Duration> {
        let start = Instant::now();
        while http::status(url) != Some(200) {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended with {status} before it was ready; {}",
                    self.name,
                    self.tail()
                );
            }
            if start.elapsed() > START_LIMIT {
                bail!(
                    "{} was not ready after {} s; {}",
                    self.name,
                    START_LIMIT.as_secs(),
                    self.tail()
                );
            }
            wait(start.elapsed());
            sleep(Duration::from_millis(100));
        }
        Ok(start.elapsed())
    }

    /// The process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, then the drain; SIGKILL if it outlasts its own limit.
    pub(crate) fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let start = Instant::now();
        while start.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(Duration::from_millis(20));
        }
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines = text.lines().rev().take(12).collect::<Vec<_>>();
        let lines = lines
            .into_iter()
            .rev()
            .map(|line| format!("\n    {line}"))
            .collect::<String>();
        format!("the end of {}:{lines}", relative(&self.log))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Addresses of one worker and one sidecar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) worker: u16,
    pub(crate) worker_admin: u16,
    pub(crate) sidecar: u16,
    pub(crate) sidecar_admin: u16,
}

impl Ports {
    /// The documented ports where they are free, else any.
    pub(crate) fn documented() -> Result<Self> {
        Ok(Self {
            worker: free(ports::WORKER)?,
            worker_admin: free(ports::WORKER_ADMIN)?,
            sidecar: free(ports::SIDECAR)?,
            sidecar_admin: free(ports::SIDECAR_ADMIN)?,
        })
    }

    pub(crate) fn any() -> Result<Self> {
        Ok(Self {
            worker: free(0)?,
            worker_admin: free(0)?,
            sidecar: free(0)?,
            sidecar_admin: free(0)?,
        })
    }

    /// What OpenAI clients take for a base URL.
    pub(crate) fn base_url(self) -> String {
        format!("http://127.0.0.1:{}/v1", self.sidecar)
    }

    pub(crate) fn worker_ready(self) -> String {
        format!("http://127.0.0.1:{}/readyz", self.worker_admin)
    }

    pub(crate) fn sidecar_ready(self) -> String {
        format!("http://127.0.0.1:{}/readyz", self.sidecar_admin)
    }
}

fn free(wanted: u16) -> Result<u16> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = bind(wanted)
        .or_else(|_| bind(0))
        .context("no free loopback port")?;
    Ok(listener.local_addr()?.port())
}

/// The worker, configured by environment; without weights it runs its lexical tier, with them its best.
pub(crate) fn worker(folder: &Path, ports: Ports, weights: Option<&Path>) -> Command {
    let mut command = Command::new(folder.join("liquid-worker"));
    command
        .arg("serve")
        .env(
            "LIQUID_WORKER__GRPC__LISTEN",
            format!("127.0.0.1:{}", ports.worker),
        )
        .env(
            "LIQUID_WORKER__ADMIN__LISTEN",
            format!("127.0.0.1:{}", ports.worker_admin),
        );
    if let Some(weights) = weights {
        command.env("LIQUID_WORKER__MODEL__FOLDER", weights);
    }
    command
}

/// The sidecar, configured by environment.
pub(crate) fn sidecar(folder: &Path, ports: Ports) -> Command {
    let mut command = Command::new(folder.join("liquid-sidecar"));
    command
        .env(
            "LIQUID_SIDECAR__LISTEN__ADDRESS",
            format!("127.0.0.1:{}", ports.sidecar),
        )
        .env(
            "LIQUID_SIDECAR__LISTEN__ADMIN",
            format!("127.0.0.1:{}", ports.sidecar_admin),
        )
        .env(
            "LIQUID_SIDECAR__EXTRACT__WORKERS",
            format!("127.0.0.1:{}", ports.worker),
        );
    command
}

/// The mock upstream; it prints its address first and ends with this process.
pub(crate) struct Mock {
    child: Child,
    pub(crate) url: String,
}

impl Mock {
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let mut child = Command::new(folder.join("mock-upstream"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start mock-upstream")?;
        let mut url = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut url)?;
        }
        Ok(Self {
            child,
            url: url.trim().to_owned(),
        })
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
