//! The parts of the command in their order.

use std::time::Instant;

use anyhow::{Context, Result};
use liquid_cuda::device::{DeviceInfo, driver_version};

use super::checkpoint::Checkpoint;
use super::report::{Numbers, Report, Sizes};
use super::{Arguments, Part, ShapeName, ceilings, checks, hybrid, peer, speed};
use crate::results;

/// Runs the parts that were asked for.
pub(super) fn run(arguments: &Arguments, gpu: usize) -> Result<()> {
    let wants = |part: Part| arguments.only.contains(&part);
    let (major, minor) = driver_version()?;
    let device = DeviceInfo::of(gpu)?.name;
    let mut report = Report {
        device: format!("{device}, driver for CUDA {major}.{minor}"),
        ..Report::default()
    };
    println!("liquid-bench {} on {}", env!("CARGO_PKG_VERSION"), report.device);
    let checkpoint = Checkpoint::named(arguments.shape);
    if wants(Part::Check) {
        let started = Instant::now();
        checks::run(gpu, &arguments.folder.join("check")).context("check")?;
        println!("checked in {:.1} s", started.elapsed().as_secs_f64());
    }
    let measured = [
        (Part::Bf16, Numbers::BF16),
        (Part::Fp8, Numbers::FP8),
        (Part::Fp8Kv, Numbers::FP8_KV),
    ];
    let any = measured.iter().any(|(part, _)| wants(*part));
    if any || wants(Part::Hybrid) {
        report.ceilings = ceilings::measure(gpu)?;
    }
    if wants(Part::Hybrid) {
        let folder = arguments.folder.join("hybrid");
        let checkpoint = Checkpoint::named(ShapeName::Qwen35);
        checkpoint.write(&folder)?;
        let sizes = Sizes::new(&checkpoint.config);
        let bounds = |tokens| hybrid::Bounds::new(tokens, &sizes, &report.ceilings);
        let figures = hybrid::measure(gpu, &folder, &arguments.lengths, bounds);
        report.hybrid = Some(figures.context("hybrid")?);
    }
    if any {
        let folder = arguments.folder.join("model");
        let started = Instant::now();
        checkpoint.write(&folder)?;
        println!(
            "random weights written in {:.1} s",
            started.elapsed().as_secs_f64()
        );
        for (_, numbers) in measured.into_iter().filter(|(part, _)| wants(*part)) {
            let figures = speed::measure(gpu, &folder, numbers).context(numbers.name)?;
            report.ours.push(figures);
        }
    }
    if let (true, Some(python)) = (wants(Part::Peer), &arguments.python) {
        match peer::measure(python, &checkpoint.config) {
            Ok(figures) => report.peer = Some(figures),
            Err(error) => println!("no peer: {error:#}"),
        }
    }
    report.print(&Sizes::new(&checkpoint.config));
    results::write_json(&arguments.json, &report)
}
