//! `cargo xtask bench`: builds `liquid-bench` as it is shipped and hands over the arguments.

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
    /// Evidence kept at a given size, on files in the format of eval/.
    Evidence,
    /// Speed and memory of extraction, by tier and document length.
    Extract,
}

pub(crate) fn start(arguments: &Arguments) -> Result<()> {
    if let model::Weights::Missing(why) = model::ensure()? {
        warn(format!("no weights ({why}): only the lexical tier can run"));
    }
    let what = match arguments.what {
        What::Evidence => "evidence",
        What::Extract => "extract",
    };
    let mut bench = cargo(&["run", "--release", "--package", "liquid-bench", "--", what]);
    run(bench.args(&arguments.rest))
}
