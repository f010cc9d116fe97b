//! `liquid-bench vram`: a GPU's memory for one forward pass over a document and over our pack of it, with transformers and
//! with our engine, by length. Without a folder the weights are random, of Llama-3.1-8B's shape: memory asks for sizes alone.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

#[cfg(feature = "cuda-worker")]
mod measured;
#[cfg(feature = "cuda-worker")]
mod ours;
#[cfg(feature = "cuda-worker")]
mod pack;
#[cfg(feature = "cuda-worker")]
mod peer;
#[cfg(feature = "cuda-worker")]
mod report;

/// The model, the document, and what is measured.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The GPU: cuda or cuda:N
    #[arg(long, default_value = "cuda")]
    device: String,
    /// Folder of a model as Hugging Face has it [default: random weights of Llama-3.1-8B's shape]
    #[arg(long)]
    model: Option<PathBuf>,
    /// Tokens of the document
    #[arg(long, default_value_t = 32_768)]
    tokens: usize,
    /// Words of the document for each word that its pack keeps; a sidecar's setting without another
    #[arg(long, default_value_t = 5.5)]
    ratio: f64,
    /// Folder with the sets that the document is made of
    #[arg(long, default_value = "eval")]
    sets: PathBuf,
    /// Measure transformers alone
    #[arg(long)]
    baseline_only: bool,
    /// Python with torch and transformers
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Folder for random weights, which stay there: 16 GB
    #[arg(long, default_value = "target/bench/vram")]
    folder: PathBuf,
    /// Print the figures as JSON, and no table
    #[arg(long)]
    json: bool,
    /// File for the figures as JSON
    #[arg(long, default_value = "target/bench/vram.json")]
    output: PathBuf,
    /// File for the picture
    #[arg(long, default_value = "target/bench/vram.png")]
    png: PathBuf,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    #[cfg(feature = "cuda-worker")]
    return measured::run(arguments);
    #[cfg(not(feature = "cuda-worker"))]
    anyhow::bail!(
        "{}: this build has no CUDA; build liquid-bench with --features cuda-worker",
        arguments.device
    );
}
