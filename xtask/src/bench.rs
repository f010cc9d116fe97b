//! `cargo xtask bench`: builds `liquid-bench` as it is shipped, sets up what a benchmark needs, and hands over the
//! arguments.

mod gateway;

use anyhow::Result;

use crate::command::{cargo, run};
use crate::console::warn;
use crate::model;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure.
    what: What,
    /// Handed to the benchmark; --help lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// Time and memory of LiquidAttention by length, beside its peers; `--device cuda` for a GPU.
    Attention,
    /// Evidence kept at a given size, on files in the format of eval/.
    Evidence,
    /// Speed and memory of extraction, by tier and document length.
    Extract,
    /// What the sidecar adds to a call, beside nginx and LiteLLM, and what it takes in memory.
    Gateway,
    /// Admission of pods with and without injection, on a Kubernetes of its own; needs root.
    Admission,
}

pub(crate) fn start(arguments: &Arguments) -> Result<()> {
    let name = match arguments.what {
        What::Attention => "attention",
        What::Evidence => "evidence",
        What::Extract => "extract",
        What::Gateway => "gateway",
        What::Admission => return crate::test::bench_admission(),
    };
    let mut bench = cargo(&["run", "--release", "--package", "liquid-bench"]);
    // Kernels for a GPU are built only where the arguments ask for one: they need more to build.
    if matches!(arguments.what, What::Attention) && arguments.rest.iter().any(|word| word.contains("cuda")) {
        bench.args(["--features", "cuda"]);
    }
    bench.args(["--", name]);
    match arguments.what {
        What::Attention | What::Admission => {}
        What::Evidence | What::Extract => weights()?,
        What::Gateway => {
            bench.args(gateway::set_up()?);
        }
    }
    run(bench.args(&arguments.rest))
}

fn weights() -> Result<()> {
    if let model::Weights::Missing(why) = model::ensure()? {
        warn(format!("no weights ({why}): only the lexical tier can run"));
    }
    Ok(())
}
