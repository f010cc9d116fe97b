//! Times of calls by the GPU's own clock.

use anyhow::Result;

use crate::suite::gpu::Gpu;

/// A GPU whose clock times calls.
pub(super) struct Clock(pub(super) Gpu);

impl Clock {
    /// Prints what a call takes.
    pub(super) fn print(&mut self, name: &str, call: impl FnMut(&mut Gpu) -> Result<()>) -> Result<()> {
        let ms = self.time(call)?;
        println!("  {name:36} {ms:>9.4} ms");
        Ok(())
    }

    /// Median milliseconds of a call, from rounds of several behind each other.
    pub(super) fn time(&mut self, mut call: impl FnMut(&mut Gpu) -> Result<()>) -> Result<f64> {
        let mut round = |calls: usize| -> Result<f64> {
            let gpu = &mut self.0;
            let (start, end) = (gpu.context.timing_event()?, gpu.context.timing_event()?);
            gpu.stream.record(&start)?;
            for _ in 0..calls {
                call(gpu)?;
            }
            gpu.stream.record(&end)?;
            gpu.stream.synchronize()?;
            Ok(start.milliseconds_to(&end)? / calls as f64)
        };
        round(2)?;
        let once = round(3)?;
        let calls = ((5.0 / once) as usize).clamp(3, 400);
        let mut times = (0..5).map(|_| round(calls)).collect::<Result<Vec<_>>>()?;
        times.sort_by(f64::total_cmp);
        Ok(times[2])
    }
}
