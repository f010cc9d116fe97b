//! The nodes are network namespaces of this machine: what runs in a pod is a process here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::kubectl::output;
use crate::world::eventually;

/// Memory that a container is left, in bytes, before it is used up.
const ROOM: u64 = 16 << 20;

/// A process in a pod.
pub(crate) struct Process {
    id: String,
}

impl Process {
    /// Finds the process of a pod that has this word in its command line. A container is said to run before its shell has
    /// become the program that it starts.
    pub(crate) fn find(pod: &str, word: &str) -> Result<Self> {
        let what = format!("a process '{word}' of pod {pod} on this machine");
        eventually(&what, Duration::from_secs(10), || Self::running(pod, word))
    }

    fn running(pod: &str, word: &str) -> Result<Option<Self>> {
        // A pod's name is its host name.
        let host = format!("HOSTNAME={pod}");
        let mut processes = std::fs::read_dir("/proc")?.flatten();
        let found = processes.find(|process| {
            let has = |file: &str, wanted: &str| {
                let words = std::fs::read(process.path().join(file)).unwrap_or_default();
                words
                    .split(|byte| *byte == 0)
                    .any(|word| word == wanted.as_bytes())
            };
            has("environ", &host) && has("cmdline", word)
        });
        Ok(found.map(|process| Self {
            id: process.file_name().to_string_lossy().into_owned(),
        }))
    }

    /// Kills it without notice.
    pub(crate) fn kill(&self) -> Result<()> {
        output(Command::new("kill").args(["-KILL", &self.id])).map(|_| ())
    }

    /// Returns how much memory the process has, in KiB.
    pub(crate) fn resident_memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.context("the process has ended")?.parse()?)
    }

    /// Uses up the memory of the process's container, by a file in memory that is charged to it: the kernel has to end the
    /// process.
    pub(crate) fn use_up_memory(&self) -> Result<()> {
        let cgroup = self.memory_cgroup()?;
        let read = |file: &str| std::fs::read_to_string(cgroup.join(file));
        let (used, limit) = match read("memory.current") {
            Ok(used) => (used, "memory.max"),
            Err(_) => (read("memory.usage_in_bytes")?, "memory.limit_in_bytes"),
        };
        let limited = used.trim().parse::<u64>()? + ROOM;
        std::fs::write(cgroup.join(limit), limited.to_string())?;
        let file = format!("/dev/shm/liquid-{}", self.id);
        let script = "echo $$ > \"$0/cgroup.procs\"; head -c \"$2\" /dev/zero > \"$1\"";
        let size = (4 * ROOM).to_string();
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(&cgroup).args([&file, &size]);
        // Where the kernel ends all of a container together, it ends the shell too.
        let _ = output(&mut shell);
        std::fs::remove_file(file).context("nothing was written")
    }

    /// The folder of the cgroup that limits the process's memory.
    fn memory_cgroup(&self) -> Result<PathBuf> {
        let text = std::fs::read_to_string(format!("/proc/{}/cgroup", self.id))?;
        // `NUMBER:CONTROLLERS:PATH`; version 2 has one line, `0::PATH`.
        let lines = || {
            text.lines()
                .filter_map(|line| line.split_once(':')?.1.split_once(':'))
        };
        let first = lines().find(|(controllers, _)| *controllers == "memory");
        let (controller, path) = first
            .or_else(|| lines().find(|(controllers, _)| controllers.is_empty()))
            .context("the process is in no cgroup for memory")?;
        Ok(Path::new("/sys/fs/cgroup")
            .join(controller)
            .join(path.trim_start_matches('/')))
    }

    /// Refuses every new connection to the pod's address. Its own connections, and those within it, stay.
    pub(crate) fn refuse_connections(&self) -> Result<()> {
        let network = format!("--net=/proc/{}/ns/net", self.id);
        let rules = "table inet refuse { chain input { type filter hook input priority 0; \
                     iifname != \"lo\" tcp flags & (syn | ack) == syn reject with tcp reset; }; }";
        output(Command::new("nsenter").args([&network, "nft", rules])).map(|_| ())
    }
}
