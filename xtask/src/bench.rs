//! `cargo xtask bench`: builds `liquid-bench` as it is shipped and hands over the arguments.

use anyhow::Result;

use crate::command::{cargo, exists, root, run};
use crate::console::{step, warn};
use crate::{model, tools};

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
    /// Overhead of the sidecar in pass-through, beside nginx and LiteLLM.
    Gateway,
}

pub(crate) fn start(arguments: &Arguments) -> Result<()> {
    match arguments.what {
        What::Evidence | What::Extract => {
            if let model::Weights::Missing(why) = model::ensure()? {
                warn(format!("no weights ({why}): only the lexical tier can run"));
            }
            let what = if matches!(arguments.what, What::Evidence) {
                "evidence"
            } else {
                "extract"
            };
            bench(what, &arguments.rest)
        }
        What::Gateway => gateway(&arguments.rest),
    }
}

/// The peers are optional: whoever is absent is left out by name.
fn gateway(rest: &[String]) -> Result<()> {
    step("The sidecar and its peers");
    run(&mut cargo(&["build", "--release", "--package", "liquid-sidecar"]))?;
    if !exists("nginx", "-v") {
        warn("nginx is left out: it is not installed (Debian: apt-get install nginx-light)");
    }
    let requirements = root().join("bench/litellm/requirements.txt");
    let mut arguments = rest.to_vec();
    match tools::python("litellm", &requirements) {
        Ok(python) => {
            let litellm = python.with_file_name("litellm");
            arguments.splice(0..0, ["--litellm".to_owned(), litellm.display().to_string()]);
        }
        Err(error) => warn(format!("LiteLLM is left out: {error:#}")),
    }
    bench("gateway", &arguments)
}

fn bench(what: &str, rest: &[String]) -> Result<()> {
    let mut bench = cargo(&["run", "--release", "--package", "liquid-bench", "--", what]);
    run(bench.args(rest))
}
