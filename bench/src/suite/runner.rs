//! Runs the chosen subjects on the first GPU, and counts the checks.

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use liquid_cuda::device::DeviceInfo;

use super::checks::{self, Report};
use super::{MEASURED, Subject, speed};
use crate::versions;

/// Runs the subjects in this order.
///
/// # Errors
/// There is no GPU, or a check failed.
pub(super) fn run(subjects: &[Subject]) -> Result<()> {
    find_gpu()?;
    let device = Device::cuda(0);
    println!("burn {} on {device:?}", versions::burn());
    let mut report = Report::default();
    let (measured, checks): (Vec<_>, Vec<_>) =
        subjects.iter().partition(|subject| MEASURED.contains(subject));
    run_each(&checks, &device, &mut report);
    if !checks.is_empty() {
        println!("{report}");
    }
    run_each(&measured, &device, &mut report);
    ensure!(report.failed() == 0, "{report}");
    Ok(())
}

/// Runs subjects one after the other. One that ends early is a failure; the others still run.
fn run_each(subjects: &[Subject], device: &Device, report: &mut Report) {
    for &subject in subjects {
        if let Err(error) = start(subject, device, report) {
            report.fail(&format!("{subject:?}"), &error);
        }
    }
}

/// Says what is missing before burn would end the process for it.
fn find_gpu() -> Result<()> {
    let gpu = DeviceInfo::of(0).context("no NVIDIA GPU that can be used")?;
    println!("{}, {} GiB", gpu.name, gpu.memory >> 30);
    Ok(())
}

fn start(subject: Subject, device: &Device, report: &mut Report) -> Result<()> {
    match subject {
        // `chosen` has put the checks in its place.
        Subject::Check => Ok(()),
        Subject::Rule => checks::rule::check(device, report),
        Subject::Product => checks::product::check(device, report),
        Subject::Layer => checks::layer::check(device, report),
        Subject::Loaded => checks::loaded::check(device, report),
        Subject::Padding => checks::padding::check(device, report),
        Subject::Train => checks::gradients::check(device, report),
        Subject::Long => checks::rule::check_long(device, report),
        Subject::Ragged => checks::ragged::check(report),
        Subject::Transformer => checks::transformer::check(report),
        Subject::Reference => checks::peers::check(device, report),
        Subject::Others => checks::others::check(device, report),
        Subject::Fallback => checks::gradients::check_fallback(device, report),
        Subject::Kernels => speed::kernels::print(),
        Subject::Decoder => speed::transformer::print(),
        Subject::Training => speed::training::print(device),
        Subject::Bench => speed::layer::print(device),
        Subject::Options => speed::layer::print_options(device),
        Subject::Table => speed::table::print(device),
    }
}
