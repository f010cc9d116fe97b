//! The nodes are network namespaces of this machine: what runs in a pod is a process here.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::kubectl::output;
use crate::world::eventually;

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

    /// Refuses every new connection to the pod's address. Its own connections, and those within it, stay.
    pub(crate) fn refuse_connections(&self) -> Result<()> {
        let network = format!("--net=/proc/{}/ns/net", self.id);
        let rules = "table inet refuse { chain input { type filter hook input priority 0; \
                     iifname != \"lo\" tcp flags & (syn | ack) == syn reject with tcp reset; }; }";
        output(Command::new("nsenter").args([&network, "nft", rules])).map(|_| ())
    }
}
