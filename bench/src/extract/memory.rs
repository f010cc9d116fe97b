//! This process's memory, from `/proc/self` (Linux, proc(5)).

use std::fs;

use anyhow::{Context, Result};

/// Resident bytes now.
pub(super) fn current() -> Result<u64> {
    field("VmRSS:")
}

/// Most resident bytes since the start, or since [`reset_peak`].
pub(super) fn peak() -> Result<u64> {
    field("VmHWM:")
}

/// Starts a new peak.
pub(super) fn reset_peak() -> Result<()> {
    fs::write("/proc/self/clear_refs", "5").context("/proc/self/clear_refs")
}

fn field(name: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("no {name}"))?;
    let kibibytes: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .context("a number of kB")?;
    Ok(kibibytes * 1024)
}
