//! A program as a child process: started, waited for, its memory read, ended with all that it started.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// LiteLLM takes half a minute on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(240);
/// A worker gives its requests half a minute.
const STOP_LIMIT: Duration = Duration::from_secs(35);

/// A running process; it ends when this value is dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it prints goes to `NAME.log` in `folder`.
    pub(crate) fn start(name: &str, folder: &Path, command: &mut Command) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, log })
    }

    /// Waits until a GET of `path` is answered with 200.
    pub(crate) fn ready(&mut self, address: SocketAddr, path: &str) -> Result<()> {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(5)))
            .proxy(None)
            .build();
        let agent = ureq::Agent::from(agent);
        let (start, url) = (Instant::now(), format!("http://{address}{path}"));
        while agent.get(&url).call().is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "ended with {status} before it was ready; see {}",
                    self.log.display()
                );
            }
            if start.elapsed() > START_LIMIT {
                bail!("not ready after {START_LIMIT:?}; see {}", self.log.display());
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) -> Result<ExitStatus> {
        self.terminate();
        self.child.try_wait()?.context("the process does not end")
    }

    fn terminate(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let start = Instant::now();
        while start.elapsed() < STOP_LIMIT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Resident memory now, of it and all its children, in bytes. What they share counts for each of them.
    pub(crate) fn resident(&self) -> Result<u64> {
        let family = family(self.child.id())?;
        // One that ended in between has no memory any more.
        Ok(family.iter().filter_map(|id| field(*id, "VmRSS:").ok()).sum())
    }

    /// Most resident memory of the process itself since [`Process::forget_peak`], in bytes.
    pub(crate) fn peak(&self) -> Result<u64> {
        field(self.child.id(), "VmHWM:")
    }

    /// Makes the most resident memory the present one (proc(5), `clear_refs`).
    pub(crate) fn forget_peak(&self) -> Result<()> {
        let path = format!("/proc/{}/clear_refs", self.child.id());
        fs::write(&path, "5").with_context(|| path)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.terminate();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback port that is free now.
pub(crate) fn free() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free loopback port")?;
    Ok(listener.local_addr()?)
}

/// A process and all that descend from it.
fn family(root: u32) -> Result<Vec<u32>> {
    let ids = fs::read_dir("/proc").context("/proc")?;
    let ids = ids
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u64)> = ids
        .filter_map(|id| Some((id, status(id, "PPid:").ok()?)))
        .collect();
    let mut family = vec![root];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        let children = parents.iter().filter(|(_, of)| *of == u64::from(parent));
        family.extend(children.map(|(id, _)| *id));
        at += 1;
    }
    Ok(family)
}

/// A size in `/proc/ID/status`, in bytes.
fn field(id: u32, name: &str) -> Result<u64> {
    Ok(status(id, name)? * 1024)
}

/// The number behind a name in `/proc/ID/status`.
fn status(id: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{id}/status");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("{path} has no {name}"))
}
