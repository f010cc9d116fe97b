//! Time and memory of a pass.
//!
//! Memory is what the pass takes beyond what stood before it: on a GPU the growth of burn's pool of device memory
//! (buffers that another library allocates for itself are not in it), on a CPU the growth of the process's
//! resident memory (Linux only; `None` elsewhere).

use std::time::Instant;

use burn::tensor::Device;

use super::Outcome;
use super::subjects::Pass;

const GIB: f64 = (1u64 << 30) as f64;

/// Median of `runs` passes after a first one, which is reported apart: it may compile and choose kernels.
pub(super) fn measure(device: &Device, runs: usize, pass: &mut Pass) -> Result<Outcome, String> {
    let before = Memory::before(device);
    let first_ms = once(device, pass)?;
    let extra_gib = before.and_then(|before| before.extra(device));
    let mut times = (0..runs.max(1))
        .map(|_| once(device, pass))
        .collect::<Result<Vec<_>, _>>()?;
    times.sort_by(f64::total_cmp);
    Ok(Outcome::Measured {
        ms: times[times.len() / 2],
        extra_gib,
        first_ms: Some(first_ms),
    })
}

fn once(device: &Device, pass: &mut Pass) -> Result<f64, String> {
    let synced = || device.sync().map_err(|error| error.to_string());
    synced()?;
    let start = Instant::now();
    let output = pass().map_err(|error| error.to_string())?;
    synced()?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    drop(output);
    Ok(ms)
}

enum Memory {
    /// Bytes in use in the pool.
    Pool(u64),
    /// Resident bytes.
    Process(u64),
}

impl Memory {
    fn before(device: &Device) -> Option<Self> {
        device.memory_cleanup();
        if let Some(usage) = device.memory_pool_usage() {
            return Some(Self::Pool(usage.bytes_reserved));
        }
        // "5" sets the peak back to what is resident now (proc(5)).
        std::fs::write("/proc/self/clear_refs", "5").ok()?;
        status("VmRSS:").map(Self::Process)
    }

    fn extra(&self, device: &Device) -> Option<f64> {
        let (before, peak) = match self {
            Self::Pool(before) => (*before, device.memory_pool_usage()?.bytes_reserved),
            Self::Process(before) => (*before, status("VmHWM:")?),
        };
        Some(peak.saturating_sub(before) as f64 / GIB)
    }
}

/// A line of `/proc/self/status`, in bytes.
fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}
