//! Starting, ending and starting again one component. What was started is written to disk.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::cgroup::Cgroups;
use super::layout::Layout;

/// kube-apiserver, for one, does not end by itself when etcd is gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// A component as it runs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) pid: i32,
    /// The whole command, so that it can be started again.
    command: Vec<String>,
}

/// Where a component is to run.
pub(super) struct Room {
    /// The network of this node.
    pub(super) node: u8,
    /// In the mounts of this process, or in new ones of its own.
    pub(super) mounts: Mounts,
}

/// Which file systems a component sees.
pub(super) enum Mounts {
    /// Those of the machine.
    Machine,
    /// A copy of its own, in which these folders are empty: what containerd and kubelet leave in fixed places
    /// then ends with them.
    New(&'static [&'static str]),
    /// Those of a running process.
    Of(i32),
}

/// Starts a component in its room and in the cluster's cgroup.
pub(super) fn start(layout: &Layout, name: &str, room: &Room, program: &[String]) -> Result<Process> {
    let mut command = vec![
        "nsenter".to_owned(),
        format!("--net={}", layout.netns_path(room.node).display()),
    ];
    let mut script = "echo $$ > \"$0\"".to_owned();
    match &room.mounts {
        Mounts::Machine => {}
        Mounts::Of(process) => command.push(format!("--mount=/proc/{process}/ns/mnt")),
        Mounts::New(folders) => {
            command.extend(["unshare", "--mount", "--propagation=private"].map(str::to_owned));
            for folder in *folders {
                script.push_str(&format!(" && mount -t tmpfs -o mode=755 liquid {folder}"));
            }
        }
    }
    script.push_str(" && exec \"$@\"");
    let entry = Cgroups::new(&layout.prefix())?.entry()?;
    command.extend(["sh".to_owned(), "-c".to_owned(), script, path(&entry)]);
    command.extend(program.iter().cloned());
    spawn(layout, name, command)
}

fn spawn(layout: &Layout, name: &str, command: Vec<String>) -> Result<Process> {
    let log = File::options().create(true).append(true).open(layout.log(name))?;
    let child = Command::new("setsid")
        .args(&command)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .env_remove("KUBECONFIG")
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let pid = i32::try_from(child.id())?;
    // Whoever ends it is not whoever started it: a thread collects it while this program runs.
    std::thread::spawn(move || {
        let mut child = child;
        let _ = child.wait();
    });
    let process = Process {
        name: name.to_owned(),
        pid,
        command,
    };
    let record = layout.components().join(format!("{name}.json"));
    fs::write(&record, serde_json::to_vec_pretty(&process)?)
        .with_context(|| format!("cannot write {}", record.display()))?;
    Ok(process)
}

/// Everything that was started, by name.
pub(super) fn all(layout: &Layout) -> Vec<Process> {
    let entries = fs::read_dir(layout.components()).into_iter().flatten().flatten();
    let mut found = entries
        .filter_map(|entry| serde_json::from_slice::<Process>(&fs::read(entry.path()).ok()?).ok())
        .collect::<Vec<_>>();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

impl Process {
    /// Whether it runs, and is not another process that got its number.
    pub(super) fn alive(&self, members: &[i32]) -> bool {
        members.contains(&self.pid)
    }
}

/// Ends a component and starts it again as it was.
pub(super) fn restart(layout: &Layout, name: &str, pause: u64) -> Result<()> {
    stop(layout, name)?;
    sleep(Duration::from_secs(pause));
    start_again(layout, name)
}

/// Ends a component, by force if it does not end by itself.
pub(super) fn stop(layout: &Layout, name: &str) -> Result<()> {
    let process = find(layout, name)?;
    let cgroups = Cgroups::new(&layout.prefix())?;
    let alive = || process.alive(&cgroups.processes());
    let pid = Pid::from_raw(process.pid);
    if alive() {
        let _ = kill(pid, Signal::SIGTERM);
    }
    let start = Instant::now();
    while alive() {
        if start.elapsed() > PATIENCE {
            let _ = kill(pid, Signal::SIGKILL);
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Starts a component as it was, unless it runs.
pub(super) fn start_again(layout: &Layout, name: &str) -> Result<()> {
    let process = find(layout, name)?;
    if !process.alive(&Cgroups::new(&layout.prefix())?.processes()) {
        spawn(layout, name, process.command)?;
    }
    Ok(())
}

/// Sends a component a signal.
pub(super) fn signal(layout: &Layout, name: &str, signal: Signal) -> Result<()> {
    let process = find(layout, name)?;
    if !process.alive(&Cgroups::new(&layout.prefix())?.processes()) {
        bail!("{name} does not run");
    }
    kill(Pid::from_raw(process.pid), signal).with_context(|| format!("{signal} for {name}"))
}

/// A component that was started, and that may be ended by itself.
fn find(layout: &Layout, name: &str) -> Result<Process> {
    let processes = all(layout);
    let names = processes.iter().map(|process| process.name.clone());
    let names = names.collect::<Vec<_>>().join(", ");
    let found = processes.into_iter().find(|process| process.name == name);
    let found = found.with_context(|| format!("no component '{name}'; there are: {names}"))?;
    if name.ends_with("containerd") {
        bail!("{name} holds the node's mounts: restart the cluster instead");
    }
    Ok(found)
}

/// The last lines of a component's log, for an error's text.
pub(super) fn tail(layout: &Layout, name: &str) -> String {
    let text = fs::read(layout.log(name)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().rev().take(8).collect::<Vec<_>>();
    lines
        .into_iter()
        .rev()
        .map(|line| format!("\n    {line}"))
        .collect()
}

/// Calls until it is true; the error names what was waited for and shows the log of who should have done it.
pub(super) fn wait(
    layout: &Layout,
    what: &str,
    who: &str,
    limit: Duration,
    mut done: impl FnMut() -> bool,
) -> Result<()> {
    let start = Instant::now();
    let cgroups = Cgroups::new(&layout.prefix())?;
    while !done() {
        let ended = !all(layout)
            .iter()
            .any(|process| process.name == who && process.alive(&cgroups.processes()));
        // What has just been started may not have entered its cgroup yet.
        if start.elapsed() > limit || (ended && start.elapsed() > PATIENCE) {
            bail!(
                "{what}: not after {} s{}; the end of {}:{}",
                start.elapsed().as_secs(),
                if ended { ", and it has ended" } else { "" },
                layout.log(who).display(),
                tail(layout, who)
            );
        }
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

pub(super) fn path(path: &Path) -> String {
    path.display().to_string()
}

/// `--flag=VALUE` with a path.
pub(super) fn flag(name: &str, value: &Path) -> String {
    format!("--{name}={}", value.display())
}
