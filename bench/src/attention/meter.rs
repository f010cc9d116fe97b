//! Time and memory of a pass.
//!
//! Time is measured thrice: calls behind each other, as the layers of a model follow each other; a single
//! call that is waited for, which adds the way to the device and back; and, on a GPU, calls behind each other
//! when it has been at work for seconds: then it is at the limit of its power, and its clock is slower.
//! Before the first two it rests, so that they do not depend on what was measured before. Memory is what a
//! pass takes beyond what stood before it: on a GPU the growth of burn's pool of device memory (buffers that
//! another library allocates for itself are not in it), on a CPU the growth of the process's resident memory
//! (Linux only; `None` elsewhere).

use std::time::{Duration, Instant};

use burn::tensor::Device;

use super::report::Outcome;
use super::subjects::Pass;

const GIB: f64 = (1u64 << 30) as f64;
/// Time of a round of calls behind each other, in milliseconds; `attention/peers/attention.py` has the same
/// figure.
const ROUND: f64 = 10.0;
/// Most calls in a round; `attention/peers/attention.py` has the same figure.
const CALLS: f64 = 256.0;
/// Rest of a GPU before a figure.
const REST: Duration = Duration::from_secs(1);
/// Work of a GPU before its sustained speed is measured.
const HEAT: Duration = Duration::from_secs(2);
/// Time of all rounds of a slow subject, in milliseconds, which gets fewer of them for it.
const ALL_ROUNDS: f64 = 5_000.0;

/// Medians of `runs` rounds after a first call, which is reported apart: it may compile and choose kernels.
pub(super) fn measure(device: &Device, runs: usize, pass: &mut Pass) -> Result<Outcome, String> {
    let before = Memory::before(device);
    let rests = matches!(before, Some(Memory::Pool(_)));
    let first_ms = round(device, pass, 1)?;
    let extra_gib = before.and_then(|before| before.extra(device));
    let single = round(device, pass, 1)?;
    let runs = runs.min((ALL_ROUNDS / single) as usize).max(1);
    let calls = calls_of_a_round(device, pass, single)?;
    let rest = || {
        if rests {
            std::thread::sleep(REST);
        }
    };
    rest();
    let waited_ms = median_of(device, pass, runs, 1)?;
    let ms = if calls == 1 {
        waited_ms
    } else {
        rest();
        median_of(device, pass, runs, calls)?
    };
    let sustained_ms = if rests {
        let start = Instant::now();
        while start.elapsed() < HEAT {
            round(device, pass, calls)?;
        }
        Some(median_of(device, pass, runs, calls)?)
    } else {
        None
    };
    Ok(Outcome::Measured {
        ms,
        waited_ms: Some(waited_ms),
        sustained_ms,
        extra_gib,
        first_ms: Some(first_ms),
    })
}

/// Calls that fill a round. One that is waited for takes longer, so a round of as many as that decides.
fn calls_of_a_round(device: &Device, pass: &mut Pass, single: f64) -> Result<usize, String> {
    let filling = |ms: f64| (ROUND / ms).clamp(1.0, CALLS) as usize;
    match filling(single) {
        1 => Ok(1),
        calls => round(device, pass, calls).map(filling),
    }
}

/// Milliseconds of a call: the median of `runs` rounds of `calls` behind each other.
fn median_of(device: &Device, pass: &mut Pass, runs: usize, calls: usize) -> Result<f64, String> {
    let times = (0..runs).map(|_| round(device, pass, calls));
    let mut times = times.collect::<Result<Vec<_>, _>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or(f64::NAN))
}

/// Milliseconds of a call: the mean of `calls` behind each other.
fn round(device: &Device, pass: &mut Pass, calls: usize) -> Result<f64, String> {
    let synced = || device.sync().map_err(|error| error.to_string());
    synced()?;
    let start = Instant::now();
    for _ in 0..calls {
        drop(pass().map_err(|error| error.to_string())?);
    }
    synced()?;
    Ok(start.elapsed().as_secs_f64() * 1e3 / calls as f64)
}

/// Memory in use before a pass, in bytes.
enum Memory {
    /// Bytes reserved in burn's pool of device memory.
    Pool(u64),
    /// Resident bytes of this process.
    Process(u64),
}

impl Memory {
    /// Reads what is in use now; `None` where that cannot be known.
    fn before(device: &Device) -> Option<Self> {
        device.memory_cleanup();
        if let Some(usage) = device.memory_pool_usage() {
            return Some(Self::Pool(usage.bytes_reserved));
        }
        // "5" sets the peak back to what is resident now (proc(5)).
        std::fs::write("/proc/self/clear_refs", "5").ok()?;
        status("VmRSS:").map(Self::Process)
    }

    /// GiB at the peak since then beyond what was in use.
    fn extra(&self, device: &Device) -> Option<f64> {
        let (before, peak) = match self {
            Self::Pool(before) => (*before, device.memory_pool_usage()?.bytes_reserved),
            Self::Process(before) => (*before, status("VmHWM:")?),
        };
        Some(peak.saturating_sub(before) as f64 / GIB)
    }
}

/// The figure in a line of `/proc/self/status`, in bytes.
fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}
