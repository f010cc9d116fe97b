//! The cluster's own cgroups. Every process of it, pods included, lives below one of them: that is how `down`
//! finds them all, whoever started them and whatever crashed.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const KILL_LIMIT: Duration = Duration::from_secs(20);

/// Where the kernel shows its hierarchies: many in version 1, one in version 2.
pub(super) struct Cgroups {
    hierarchies: Vec<PathBuf>,
    name: String,
}

impl Cgroups {
    pub(super) fn new(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let hierarchies = hierarchies(&mounts);
        if hierarchies.is_empty() {
            bail!("no cgroup hierarchy is mounted below /sys/fs/cgroup");
        }
        Ok(Self {
            hierarchies,
            name: name.to_owned(),
        })
    }

    /// The path that kubelet gets for a node's pods, from the root of the hierarchies.
    pub(super) fn of_node(&self, node: &str) -> String {
        format!("/{}/{node}", self.name)
    }

    /// Makes the cgroups of the control plane and of a node's pods in every hierarchy.
    pub(super) fn create(&self, node: &str) -> Result<()> {
        for hierarchy in &self.hierarchies {
            for part in [PathBuf::from("system"), PathBuf::from(node)] {
                let folder = hierarchy.join(&self.name).join(part);
                fs::create_dir_all(&folder)
                    .with_context(|| format!("cannot make the cgroup {}", folder.display()))?;
                inherit_cpuset(&hierarchy.join(&self.name), hierarchy)?;
                inherit_cpuset(&folder, &hierarchy.join(&self.name))?;
            }
        }
        Ok(())
    }

    /// Where a starting component writes its process id.
    pub(super) fn entry(&self) -> Result<PathBuf> {
        let named = |name: &str| self.hierarchies.iter().find(|path| path.ends_with(name));
        let hierarchy = named("pids").or_else(|| named("freezer"));
        let hierarchy = hierarchy
            .or(self.hierarchies.first())
            .context("no cgroup hierarchy")?;
        Ok(hierarchy.join(&self.name).join("system/cgroup.procs"))
    }

    /// The cluster's processes.
    pub(super) fn processes(&self) -> Vec<i32> {
        self.processes_below(&self.name)
    }

    /// The processes in a folder that every hierarchy has.
    fn processes_below(&self, folder: &str) -> Vec<i32> {
        let mut found = Vec::new();
        for hierarchy in &self.hierarchies {
            below(&hierarchy.join(folder), &mut |folder| {
                let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
                found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            });
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The cluster's own cgroups that are there, one a hierarchy.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let tops = self
            .hierarchies
            .iter()
            .map(|hierarchy| hierarchy.join(&self.name));
        tops.filter(|top| top.exists()).collect()
    }

    /// Kills every process of the cluster.
    pub(super) fn kill_all(&self) -> Result<()> {
        self.kill_below(&self.name)
    }

    /// Kills what runs in a node's pods.
    pub(super) fn kill_pods(&self, node: &str) -> Result<()> {
        self.kill_below(&format!("{}/{node}", self.name))
    }

    /// Kills until nobody is left; new processes of dying ones included.
    fn kill_below(&self, folder: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            let processes = self.processes_below(folder);
            if processes.is_empty() {
                return Ok(());
            }
            for process in &processes {
                let _ = kill(Pid::from_raw(*process), Signal::SIGKILL);
            }
            if start.elapsed() > KILL_LIMIT {
                bail!("these processes do not end: {processes:?}");
            }
            sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn remove(&self) -> Result<()> {
        let start = Instant::now();
        for hierarchy in &self.hierarchies {
            let top = hierarchy.join(&self.name);
            while top.exists() {
                let mut folders = Vec::new();
                below(&top, &mut |folder| folders.push(folder.to_owned()));
                let outcome = folders.iter().rev().try_for_each(fs::remove_dir);
                if let (Err(error), true) = (outcome, start.elapsed() > KILL_LIMIT) {
                    return Err(error).with_context(|| format!("cannot remove {}", top.display()));
                }
                sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

/// Mount points of cgroup hierarchies, from the text of `/proc/self/mounts`.
fn hierarchies(mounts: &str) -> Vec<PathBuf> {
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    fields
        .filter(|(path, kind)| kind.starts_with("cgroup") && path.starts_with("/sys/fs/cgroup"))
        .map(|(path, _)| PathBuf::from(path))
        .collect()
}

/// A new cpuset of version 1 is empty, and no process can enter it.
fn inherit_cpuset(folder: &Path, parent: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (own, from) = (folder.join(file), parent.join(file));
        let empty = fs::read_to_string(&own).is_ok_and(|text| text.trim().is_empty());
        if let (true, Ok(value)) = (empty, fs::read_to_string(&from)) {
            // Version 2 takes the parent's by itself.
            fs::write(&own, value.trim()).with_context(|| format!("cannot write {}", own.display()))?;
        }
    }
    Ok(())
}

/// Calls for a folder and all folders below it, parents first.
fn below(folder: &Path, call: &mut dyn FnMut(&Path)) {
    if !folder.is_dir() {
        return;
    }
    call(folder);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_hierarchies_of_both_versions() {
        let first = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n";
        assert_eq!(hierarchies(first), [PathBuf::from("/sys/fs/cgroup/pids")]);
        let second = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        assert_eq!(hierarchies(second), [PathBuf::from("/sys/fs/cgroup")]);
    }
}
