//! What the measurements share: waiting for the device, its memory, and medians.

use std::time::Duration;

use anyhow::{Result, anyhow};
use burn::tensor::Device;

const GIB: f64 = (1_u64 << 30) as f64;

/// Waits until the device has done everything that was enqueued.
pub(super) fn wait(device: &Device) -> Result<()> {
    device
        .sync()
        .map_err(|error| anyhow!("the device failed: {error:?}"))
}

/// Device memory that burn has reserved, in GiB.
pub(super) fn reserved(device: &Device) -> f64 {
    device
        .memory_pool_usage()
        .map_or(f64::NAN, |usage| usage.bytes_reserved as f64 / GIB)
}

/// A time in milliseconds.
pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The median of times; zero of none.
pub(super) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
