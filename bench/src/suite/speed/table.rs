//! The headline table beside its peers, and the same as JSON.

use anyhow::Result;
use burn::tensor::Device;

use crate::attention::Benchmark;

/// Measures and prints the table.
pub(in crate::suite) fn print(device: &Device) -> Result<()> {
    let benchmark = Benchmark {
        device: device.clone(),
        ..Benchmark::default()
    };
    let report = benchmark.run(|report| {
        if let Some(row) = report.rows.last() {
            println!("{row}");
        }
    })?;
    println!("\n{report}");
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
