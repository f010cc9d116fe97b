//! `cargo xtask gpu`: builds `liquid-bench` with the kernels and starts its GPU suite, or packs it to run elsewhere.

mod pack;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, run};
use crate::console::{say, step};
use crate::graph;

/// What the help says behind the options.
const MANUAL: &str = "\
Without an NVIDIA GPU on this machine only --list and --pack do anything.

    cargo xtask gpu                all checks and measurements but those that need Python or minutes of tuning
    cargo xtask gpu check bench    these alone; --list names them
    cargo xtask gpu --pack FILE    program and data in one archive, for a machine that has no cargo

The other measurements on a GPU are `cargo xtask bench attention --device cuda`, `bench gpu`,
`bench extract --device cuda` and `bench evidence --device cuda`; a pack runs them too, and its README says how.

The first build takes ten minutes on two cores, and needs neither a GPU nor CUDA. The machine that runs it needs the
NVIDIA driver, CUDA 13's runtime libraries (NVRTC, cuBLASLt), and CUDA's headers below $CUDA_PATH/include (by default
/usr/local/cuda) for what burn compiles itself.";

#[derive(clap::Args)]
#[command(after_help = MANUAL)]
pub(crate) struct Arguments {
    /// What to run; --list names everything.
    subjects: Vec<String>,
    /// List the subjects, and run nothing.
    #[arg(long, conflicts_with_all = ["subjects", "pack"])]
    list: bool,
    /// Write an archive (tar.gz) of program, data and a README instead of running anything.
    #[arg(long, value_name = "FILE", conflicts_with = "subjects")]
    pack: Option<PathBuf>,
    /// Put the encoder's weights (84 MB more) into the pack, for `liquid-bench gpu`, `extract` and `evidence`.
    #[arg(long, requires = "pack")]
    with_weights: bool,
    /// Build with the profile dev: ready sooner; the kernels are the same, the host's part of a call is slower.
    #[arg(long)]
    dev: bool,
}

/// Packages that the profile dev leaves unoptimised, and the level that the suite needs: the checks' reference in
/// f64 over 131,072 tokens, and burn's way to an operation, for which a step of 50 us waits.
const OPTIMISED: [(&str, u8); 3] = [("liquid-bench", 2), ("burn-dispatch", 1), ("burn-tensor", 1)];

pub(crate) fn start(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        // The list needs no kernels, so nothing that takes long is built for it.
        return run(&mut cargo(&[
            "run",
            "--quiet",
            "--package",
            "liquid-bench",
            "--",
            "suite",
            "--list",
        ]));
    }
    match &arguments.pack {
        Some(file) => {
            step("Packing the GPU suite");
            pack::write(file, &build(arguments.dev)?, arguments.with_weights)
        }
        None => {
            find_gpu()?;
            let program = build(arguments.dev)?;
            run(Command::new(program).arg("suite").args(&arguments.subjects))
        }
    }
}

/// An error unless this machine has an NVIDIA GPU: before a build of ten minutes, not after it.
fn find_gpu() -> Result<()> {
    let devices = ["/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg"];
    ensure!(
        devices.iter().any(|device| Path::new(device).exists()),
        "this machine has no NVIDIA GPU ({} are missing); run `cargo xtask gpu --pack FILE` and take FILE to one that has",
        devices.join(", ")
    );
    Ok(())
}

/// Builds the program with everything that runs on a GPU.
fn build(dev: bool) -> Result<PathBuf> {
    say("building liquid-bench with the kernels");
    let mut build = cargo(&[
        "build",
        "--locked",
        "--package",
        "liquid-bench",
        "--features",
        "cuda",
    ]);
    if dev {
        for (package, level) in OPTIMISED {
            build.arg("--config");
            build.arg(format!("profile.dev.package.{package}.opt-level={level}"));
        }
    } else {
        build.arg("--release");
    }
    let programs = graph::build_apart(&mut build)?;
    let program = programs.into_iter().find(|one| one.target == "liquid-bench");
    Ok(program.context("cargo built no program liquid-bench")?.path)
}
