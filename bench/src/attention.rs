//! `liquid-bench attention`: the headline table of `liquid-attention`, printed, written as JSON and drawn.

mod benchmark;
mod meter;
mod peers;
mod report;
mod subjects;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use burn::tensor::{DType, Device};
use clap::{Args, ValueEnum};

pub(crate) use self::benchmark::Benchmark;
pub(crate) use self::report::Report;
#[cfg(feature = "cuda")]
pub(crate) use self::subjects::Cast;
use crate::chart::{self, Labels, Series};
use crate::results;

/// Measures attention by length. What is not given depends on the device: on a GPU the headline table, on a CPU a
/// layer of 512 with 8 heads at lengths that take seconds.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Width of the layer.
    #[arg(long)]
    embed_dim: Option<usize>,
    /// Heads.
    #[arg(long)]
    num_heads: Option<usize>,
    /// Sequences at once.
    #[arg(long, default_value_t = 1)]
    batch_size: usize,
    /// Tokens of a sequence.
    #[arg(long, value_delimiter = ',')]
    seq_lengths: Vec<usize>,
    /// Number type of weights and input.
    #[arg(long, value_enum)]
    dtype: Option<Type>,
    /// Device to run on.
    #[arg(long, value_enum, default_value_t = Place::Cpu)]
    device: Place,
    /// Timed passes a figure.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Skip what needs more memory than this, in GiB.
    #[arg(long)]
    memory_limit: Option<f64>,
    /// The Python in which torch and flash-linear-attention may be.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Measure without the peers in Python.
    #[arg(long)]
    no_python: bool,
    /// File for the figures as JSON.
    #[arg(long, default_value = "target/bench/attention.json")]
    json: PathBuf,
    /// File for the drawing, a PNG.
    #[arg(long, default_value = "target/bench/attention.png")]
    png: PathBuf,
}

/// A number type on the command line.
#[derive(Clone, Copy, ValueEnum)]
enum Type {
    Float32,
    Float16,
    Bfloat16,
}

/// A device on the command line.
#[derive(Clone, Copy, ValueEnum)]
enum Place {
    Cpu,
    Cuda,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let benchmark = benchmark(arguments)?;
    let report = benchmark.run(|report| {
        if let Some(row) = report.rows.last() {
            println!("{row}");
        }
        // After every row: whoever ends the command early keeps what was measured.
        if let Err(error) = write(arguments, report) {
            eprintln!("{error:#}");
        }
    })?;
    write(arguments, &report)?;
    println!("\n{report}");
    println!(
        "written: {}, {}",
        arguments.json.display(),
        arguments.png.display()
    );
    Ok(())
}

fn write(arguments: &Arguments, report: &Report) -> Result<()> {
    results::write_json(&arguments.json, report)?;
    draw(&arguments.png, report)
}

fn benchmark(arguments: &Arguments) -> Result<Benchmark> {
    let (device, small) = match arguments.device {
        Place::Cpu => (Device::flex(), true),
        #[cfg(feature = "cuda")]
        Place::Cuda => (Device::cuda(0), false),
        #[cfg(not(feature = "cuda"))]
        Place::Cuda => {
            bail!("--device cuda: this build has no kernels; build liquid-bench with --features cuda")
        }
    };
    let whole = Benchmark::default();
    let or = |cpu: usize, gpu: usize| if small { cpu } else { gpu };
    let embed_dim = arguments.embed_dim.unwrap_or(or(512, whole.embed_dim));
    let num_heads = arguments.num_heads.unwrap_or(or(8, whole.num_heads));
    if num_heads == 0 || !embed_dim.is_multiple_of(num_heads) {
        bail!("--num-heads {num_heads} does not divide --embed-dim {embed_dim}");
    }
    let dtype = arguments
        .dtype
        .unwrap_or(if small { Type::Float32 } else { Type::Bfloat16 });
    let lengths = match (arguments.seq_lengths.is_empty(), small) {
        (false, _) => arguments.seq_lengths.clone(),
        (true, true) => vec![512, 1024, 2048, 4096],
        (true, false) => whole.seq_lengths,
    };
    Ok(Benchmark {
        embed_dim,
        num_heads,
        batch_size: arguments.batch_size,
        seq_lengths: lengths,
        dtype: match dtype {
            Type::Float32 => DType::F32,
            Type::Float16 => DType::F16,
            Type::Bfloat16 => DType::BF16,
        },
        device,
        runs: arguments.runs,
        memory_limit_gib: arguments
            .memory_limit
            .unwrap_or(if small { 3.0 } else { whole.memory_limit_gib }),
        python: (!arguments.no_python).then(|| arguments.python.clone()),
    })
}

/// Milliseconds by tokens, a line a subject.
fn draw(path: &Path, report: &Report) -> Result<()> {
    let mut series: Vec<Series> = Vec::new();
    for row in &report.rows {
        let Some(ms) = row.outcome.ms() else {
            continue;
        };
        let point = (row.tokens as f64, ms);
        match series.iter_mut().find(|series| series.name == row.name) {
            Some(series) => series.points.push(point),
            None => series.push(Series {
                name: row.name.clone(),
                points: vec![point],
            }),
        }
    }
    let title = format!(
        "Attention, embed {}, {} heads, {}",
        report.embed_dim, report.num_heads, report.dtype
    );
    chart::lines(
        path,
        &Labels {
            title: &title,
            x: "tokens",
            y: "milliseconds",
            scale: chart::Scale::Logarithmic,
        },
        &series,
    )
}
