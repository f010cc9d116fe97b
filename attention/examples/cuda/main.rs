//! The kernels on a GPU: `check` (or some of `rule product layer loaded padding train long`) compares them with
//! the recurrence in f64, `kernels` times each kernel and product alone, `bench` measures the layer, `options` what its
//! options cost, `training` a training step, and `table` prints what `cargo xtask bench attention --device cuda`
//! prints. `reference` (transformers and flash-linear-attention, which Python must have), `others` and `fallback` (layers
//! and gradients by burn's own operations, which take minutes to tune) run only where they are named. The rest in one
//! command:
//!
//! ```text
//! cargo run --release -p liquid-attention --features cuda --example cuda
//! ```
//!
//! Its output is kept in `attention/results`. Ends with an error when a check fails.

mod bench;
mod check;
mod layer;
mod loaded;
mod others;
mod plain;
mod reference;
mod train;

use std::process::ExitCode;

use burn::tensor::Device;

fn main() -> ExitCode {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let device = Device::cuda(0);
    println!("burn {} on {device:?}", burn_version());
    let check = |part: &str| wanted("check") || wanted(part);
    let failed = check::run(&device, check);
    if wanted("kernels") {
        bench::kernels();
    }
    if wanted("training") {
        train::bench(&device);
    }
    if wanted("bench") {
        bench::run(&device);
    }
    if wanted("options") {
        bench::options(&device);
    }
    if wanted("table") {
        bench::table(&device);
    }
    ExitCode::from(u8::from(failed > 0))
}

fn burn_version() -> &'static str {
    "0.22.1"
}
