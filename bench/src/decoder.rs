//! `liquid-bench decoder`: a decoder on a GPU, checked against the processor and then measured: prompts, answers, a second
//! question about a document that is in memory, and the time from start to ready. Weights are random, of a known model's
//! shape; beside it the same from transformers, in the same run, and the bounds of the device.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

#[cfg(feature = "cuda-worker")]
mod ceilings;
#[cfg(feature = "cuda-worker")]
mod checkpoint;
#[cfg(feature = "cuda-worker")]
mod checks;
#[cfg(feature = "cuda-worker")]
mod hybrid;
#[cfg(feature = "cuda-worker")]
mod measured;
#[cfg(feature = "cuda-worker")]
mod peer;
#[cfg(feature = "cuda-worker")]
mod report;
#[cfg(feature = "cuda-worker")]
mod speed;

#[cfg(feature = "cuda-worker")]
pub(crate) use checkpoint::{Checkpoint, Random};

/// A shape of random weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShapeName {
    /// Mistral-7B-v0.3.
    #[value(name = "mistral-7b")]
    Mistral7b,
    /// Llama-3.1-8B.
    #[value(name = "llama-3.1-8b")]
    Llama8b,
    /// Qwen3.5-9B: a hybrid.
    #[value(name = "qwen3.5-9b")]
    Qwen35,
    /// Four layers of 256 numbers, to try the command.
    Small,
}

/// Measures a decoder on a GPU.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The GPU: cuda or cuda:N.
    #[arg(long, default_value = "cuda")]
    device: String,
    /// Shape of the random weights.
    #[arg(long, value_enum, default_value = "mistral-7b")]
    shape: ShapeName,
    /// Folder for the weights, which stay there: 14.5 GB for mistral-7b.
    #[arg(long, default_value = "target/bench/decoder")]
    folder: PathBuf,
    /// Python with torch and transformers, for the peer; without, it is left out.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Parts to run.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["check", "bf16", "fp8", "fp8-kv", "peer", "hybrid"])]
    only: Vec<Part>,
    /// Tokens of the prompts of the part hybrid, at most 1048576; reading so many takes minutes.
    #[arg(long, value_delimiter = ',', default_values_t = [4096, 131_072, 1_048_576])]
    lengths: Vec<usize>,
    /// File for the figures as JSON.
    #[arg(long, default_value = "target/bench/decoder.json")]
    json: PathBuf,
}

/// A part of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Small models of every architecture against the processor.
    Check,
    /// The figures in bf16.
    Bf16,
    /// The figures with projections in FP8.
    Fp8,
    /// The figures with projections, keys and values in FP8.
    Fp8Kv,
    /// The figures of transformers.
    Peer,
    /// Time and memory of a hybrid of Qwen3.5-9B's shape at growing lengths.
    Hybrid,
}

/// Returns the number of a GPU that is named cuda or cuda:N.
pub(crate) fn gpu_number(device: &str) -> Result<usize> {
    match device.split_once(':') {
        None if device == "cuda" => Ok(0),
        Some(("cuda", number)) => Ok(number.parse()?),
        _ => bail!("--device {device}: name a GPU, cuda or cuda:N"),
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let gpu = gpu_number(&arguments.device)?;
    #[cfg(feature = "cuda-worker")]
    return measured::run(arguments, gpu);
    #[cfg(not(feature = "cuda-worker"))]
    bail!("cuda:{gpu}: this build has no CUDA; build liquid-bench with --features cuda-worker");
}
