//! Load by wrk: closed loop, one thread, so many connections, the same small chat completion again and again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// One measurement of one peer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Sample {
    /// Half of the calls took no longer, in microseconds.
    pub(super) p50_us: f64,
    /// 99 of 100 calls took no longer, in microseconds.
    pub(super) p99_us: f64,
    /// Calls a second.
    pub(super) rps: f64,
    /// Calls that failed or were answered with another status than 2xx or 3xx.
    pub(super) errors: u64,
}

/// A call of 1 KB, and a last line that this module reads.
const SCRIPT: &str = r#"
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer sk-1234"
wrk.body = '{"model":"gpt-4o","messages":[{"role":"user","content":"' .. string.rep("Hello world. ", 75) .. '"}]}'
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\n{"p50_us":%d,"p99_us":%d,"rps":%.3f,"errors":%d}\n',
    latency:percentile(50), latency:percentile(99), summary.requests / (summary.duration / 1e6),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

/// wrk, with its script.
pub(super) struct Load {
    wrk: PathBuf,
    script: PathBuf,
    seconds: u64,
}

impl Load {
    /// Writes the script into `folder`.
    pub(super) fn new(wrk: &Path, folder: &Path, seconds: u64) -> Result<Self> {
        let script = folder.join("post.lua");
        std::fs::write(&script, SCRIPT).with_context(|| script.display().to_string())?;
        Ok(Self {
            wrk: wrk.to_owned(),
            script,
            seconds,
        })
    }

    /// Loads `address` over `connections`.
    pub(super) fn run(&self, address: SocketAddr, connections: u32) -> Result<Sample> {
        let output = Command::new(&self.wrk)
            .args(["-t1", "--timeout", "30s"])
            .arg(format!("-c{connections}"))
            .arg(format!("-d{}s", self.seconds))
            .arg("-s")
            .arg(&self.script)
            .arg(format!("http://{address}/v1/chat/completions"))
            .output()
            .with_context(|| format!("cannot start {}", self.wrk.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "wrk ended with {}: {text}",
            output.status
        );
        let line = text.lines().rfind(|line| line.starts_with('{'));
        let sample: Sample = serde_json::from_str(line.context("wrk printed no result")?)?;
        ensure!(
            sample.rps > 0.0,
            "no call of {connections} at http://{address} was answered"
        );
        Ok(sample)
    }
}
