//! `cargo xtask bench`: builds `liquid-bench` as it is shipped, sets up what a benchmark needs, and hands over the
//! arguments.

mod gateway;
mod scale;

use std::path::PathBuf;

use anyhow::Result;

use crate::command::{cargo, root, run};
use crate::console::warn;
use crate::model;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
#[command(disable_help_subcommand = true)]
enum What {
    /// Time and memory of LiquidAttention by length, beside its peers; `--device cuda` for a GPU.
    Attention(Rest),
    /// What conversations cost by their length, with whole documents and with packs.
    Conversation(Rest),
    /// A decoder on an NVIDIA GPU: agreement with the processor, speed beside transformers and the device's bounds.
    Decoder(Rest),
    /// Evidence kept at a given size, on files in the format of eval/.
    Evidence(Rest),
    /// Speed and memory of extraction, by tier and document length; `--device cuda` for a GPU.
    Extract(Rest),
    /// Facts that SmolLM2 writes about files in the format of eval/: what their quotes hold, and what they take.
    Facts(Rest),
    /// What the sidecar adds to a call, beside nginx and LiteLLM, and what it takes in memory.
    Gateway(Rest),
    /// The encoder on an NVIDIA GPU: agreement with the processor, speed, what it does when memory runs out.
    Gpu(Rest),
    /// A GPU's memory for one pass over a document and over its pack, with transformers and with our engine.
    Vram(Rest),
    /// The worker on an NVIDIA GPU end to end, with encoder, ranker and SmolLM2 on one card, beside itself on the processor.
    Worker(Rest),
    /// Admission of pods with and without injection, on a Kubernetes of its own; needs root.
    Admission,
    /// The operator with 1,000 proxies and 5,000 injected pods, on an API server of its own without nodes; needs root.
    Scale(scale::Scale),
}

/// Handed to the benchmark, `--help` too: it knows its options.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
struct Rest {
    /// Options of the benchmark; --help lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn start(arguments: &Arguments) -> Result<()> {
    let (name, Rest { rest }) = match &arguments.what {
        What::Attention(rest) => ("attention", rest),
        What::Conversation(rest) => ("conversation", rest),
        What::Decoder(rest) => ("decoder", rest),
        What::Evidence(rest) => ("evidence", rest),
        What::Extract(rest) => ("extract", rest),
        What::Facts(rest) => ("facts", rest),
        What::Gateway(rest) => ("gateway", rest),
        What::Gpu(rest) => ("gpu", rest),
        What::Vram(rest) => ("vram", rest),
        What::Worker(rest) => ("worker", rest),
        What::Admission => return crate::test::bench_admission(),
        What::Scale(scale) => return scale.start(),
    };
    let mut bench = cargo(&["run", "--release", "--package", "liquid-bench"]);
    // What runs on a GPU is built only where it is asked for, and attention, which takes minutes, only for itself.
    let on_gpu = matches!(name, "gpu" | "decoder" | "vram") || rest.iter().any(|word| word.contains("cuda"));
    match (on_gpu, name) {
        (false, _) => {}
        (true, "attention") => drop(bench.args(["--features", "cuda"])),
        (true, _) => drop(bench.args(["--features", "cuda-worker"])),
    }
    bench.args(["--", name]);
    let asks_only = rest.iter().any(|word| word == "--help" || word == "-h");
    match arguments.what {
        _ if asks_only => {}
        What::Attention(_) | What::Decoder(_) | What::Vram(_) | What::Admission | What::Scale(_) => {}
        What::Conversation(_) | What::Evidence(_) | What::Extract(_) | What::Gpu(_) => weights()?,
        What::Facts(_) => {
            weights()?;
            language_model()?;
        }
        What::Worker(_) => {
            weights()?;
            language_model()?;
            run(&mut cargo(&WORKER))?;
        }
        What::Gateway(_) => {
            bench.args(gateway::set_up()?);
        }
    }
    run(bench.args(rest))
}

/// Builds the worker as it runs on a GPU.
const WORKER: [&str; 6] = [
    "build",
    "--release",
    "--package",
    "liquid-worker",
    "--features",
    "cuda",
];

/// Where cargo builds.
fn target() -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root().join(folder)
}

fn language_model() -> Result<()> {
    match model::decoder::ensure()? {
        model::Weights::Ready(_) => Ok(()),
        model::Weights::Missing(why) => anyhow::bail!("no language model ({why})"),
    }
}

fn weights() -> Result<()> {
    if let model::Weights::Missing(why) = model::ensure()? {
        warn(format!("no weights ({why}): only the lexical tier can run"));
    }
    Ok(())
}
