//! `liquid-bench extract`: how long an extraction takes, and how much memory, by tier and document length.
//!
//! Each case runs in a process of its own, so that its peak memory is its own: load the tier's model, build the
//! document, note the memory, extract several times, give the median. The documents are the DEV sets' contracts
//! and meetings one after the other, cut at the wanted length; the question is a lawyer's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use liquid_worker::engine::Tier;
use liquid_worker::model::Device;
use serde::{Deserialize, Serialize};

use crate::chart::{self, Scale, Series};
use crate::results;

mod case;
pub(crate) mod document;
mod memory;

/// Measures extraction by tier and document length.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Document lengths in tokens (words * 1.33).
    #[arg(long, value_delimiter = ',', default_values_t = [2_000, 8_000, 32_000, 128_000, 1_000_000])]
    tokens: Vec<usize>,
    /// Tiers to measure.
    #[arg(long, value_delimiter = ',', default_values_t = [Tier::Lexical, Tier::Static, Tier::Encoder])]
    tier: Vec<Tier>,
    /// Device of encoder and ranker: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Folder of the model.
    #[arg(long, default_value = ".cache/models/all-minilm-l6-v2")]
    model: PathBuf,
    /// Folder of the ranker, for that tier.
    #[arg(long, default_value = ".cache/models/liquid-ranker")]
    ranker: PathBuf,
    /// Most tokens that the encoder reads for an answer [default: 8000 on a processor, all on a GPU]
    #[arg(long)]
    encode_tokens: Option<usize>,
    /// Most tokens that the ranker tier reads for an answer [default: 8000 on a processor, all on a GPU]
    #[arg(long)]
    ranker_tokens: Option<usize>,
    /// Folder of the DEV sets.
    #[arg(long, default_value = "eval")]
    sets: PathBuf,
    /// File for the figures as JSON.
    #[arg(long, default_value = "target/bench/extract.json")]
    json: PathBuf,
    /// File for the drawing, a PNG.
    #[arg(long, default_value = "target/bench/extract.png")]
    png: PathBuf,
    /// Runs one case and prints its JSON: how this command calls itself.
    #[arg(long, hide = true)]
    case: bool,
}

/// Figures of one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The tier asked for.
    pub(crate) tier: String,
    /// Tokens of the document, as the tier counts them.
    pub(crate) tokens: u64,
    /// Bytes of the document.
    pub(crate) bytes: usize,
    /// Median milliseconds of an extraction that remembers nothing.
    pub(crate) cold_ms: f64,
    /// Median milliseconds of the same request again, hidden states remembered.
    pub(crate) warm_ms: f64,
    /// Tokens that the forward pass read in a cold extraction.
    pub(crate) encoded_tokens: u64,
    /// Median milliseconds that a cold extraction spends with encoder and ranker.
    pub(crate) encode_ms: f64,
    /// Milliseconds of the device's warm-up, before the first extraction.
    pub(crate) warm_up_ms: f64,
    /// The device in words; empty where no model runs.
    pub(crate) device: String,
    /// Most memory while extracting, in MiB: the whole process.
    pub(crate) peak_mib: f64,
    /// That beyond what model and document took before.
    pub(crate) extra_mib: f64,
}

impl Row {
    fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.cold_ms * 1000.0
    }

    /// Tokens that the forward pass reads in a second; 0 where there is none.
    fn encoded_per_second(&self) -> f64 {
        if self.encode_ms > 0.0 {
            self.encoded_tokens as f64 / self.encode_ms * 1000.0
        } else {
            0.0
        }
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.case {
        let row = case::run(arguments)?;
        println!("{}", serde_json::to_string(&row)?);
        return Ok(());
    }
    println!("{}", HEAD);
    let mut rows = Vec::new();
    for tier in &arguments.tier {
        for tokens in &arguments.tokens {
            let row = in_own_process(arguments, *tier, *tokens)?;
            println!("{}", line(&row));
            rows.push(row);
        }
    }
    if let Some(last) = rows.iter().rfind(|row| row.warm_up_ms > 0.0) {
        println!(
            "\nmodels on {}, warm after {:.0} ms",
            last.device, last.warm_up_ms
        );
    }
    results::write_json(&arguments.json, &rows)?;
    let labels = chart::Labels {
        title: "Extraction by document length",
        x: "tokens of the document",
        y: "milliseconds",
        scale: Scale::Logarithmic,
    };
    chart::lines(&arguments.png, &labels, &series(&rows))?;
    println!(
        "\nwritten: {}, {}",
        arguments.json.display(),
        arguments.png.display()
    );
    Ok(())
}

/// One line a tier; the encoder's second line is the same question again.
fn series(rows: &[Row]) -> Vec<Series> {
    let of = |tier: Tier, name: &str, time: fn(&Row) -> f64| Series {
        name: name.to_owned(),
        points: rows
            .iter()
            .filter(|row| row.tier == tier.name())
            .map(|row| (row.tokens as f64, time(row)))
            .collect(),
    };
    let cold = Tier::ALL.map(|tier| of(tier, tier.name(), |row| row.cold_ms));
    let again = of(Tier::Encoder, "encoder, again", |row| row.warm_ms);
    let all = cold.into_iter().chain([again]);
    all.filter(|series| !series.points.is_empty()).collect()
}

const HEAD: &str =
    "tier         tokens   cold ms   warm ms   tokens/s  encoded  encoded/s  peak MiB  extra MiB";

fn line(row: &Row) -> String {
    format!(
        "{:8} {:>10} {:>9.1} {:>9.1} {:>10.0} {:>8} {:>10.0} {:>9.0} {:>10.1}",
        row.tier,
        row.tokens,
        row.cold_ms,
        row.warm_ms,
        row.tokens_per_second(),
        row.encoded_tokens,
        row.encoded_per_second(),
        row.peak_mib,
        row.extra_mib,
    )
}

/// This program, to measure one case in a process of its own.
pub(crate) fn case_command(
    device: Device,
    model: &Path,
    sets: &Path,
    tier: Tier,
    tokens: usize,
) -> Result<Command> {
    let program = std::env::current_exe().context("the path of this program")?;
    let mut command = Command::new(program);
    command
        .args(["extract", "--case", "--tier", tier.name(), "--tokens"])
        .arg(tokens.to_string())
        .arg("--device")
        .arg(String::from(device))
        .arg("--model")
        .arg(model)
        .arg("--sets")
        .arg(sets);
    Ok(command)
}

fn in_own_process(arguments: &Arguments, tier: Tier, tokens: usize) -> Result<Row> {
    let output = case_command(arguments.device, &arguments.model, &arguments.sets, tier, tokens)?
        .args(
            arguments
                .encode_tokens
                .map(|most| format!("--encode-tokens={most}")),
        )
        .args(
            arguments
                .ranker_tokens
                .map(|most| format!("--ranker-tokens={most}")),
        )
        .arg("--ranker")
        .arg(&arguments.ranker)
        .output()
        .context("running a case in a process of its own")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{} with {tokens} tokens: {errors}",
        tier.name()
    );
    serde_json::from_slice(&output.stdout).context("reading a case's answer")
}
