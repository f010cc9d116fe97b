//! What is measured in Python, in a process of its own: `attention/peers/attention.py`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use burn::tensor::DType;
use serde::Deserialize;

use super::{Benchmark, Outcome, Row};

const SCRIPT: &str = include_str!("../../peers/attention.py");

/// A line that the script prints.
#[derive(Deserialize)]
struct Line {
    name: String,
    tokens: usize,
    ms: Option<f64>,
    waited_ms: Option<f64>,
    extra_gib: Option<f64>,
    skipped: Option<String>,
}

/// What the script says of itself.
#[derive(Deserialize)]
struct Note {
    note: String,
}

/// Rows of the peers, one row that says why if there are none; and notes on their versions.
pub(super) fn run(benchmark: &Benchmark, python: &Path) -> (Vec<Row>, Vec<String>) {
    match output(benchmark, python) {
        Ok(text) => {
            let notes = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            (
                lines.map(row).collect(),
                notes.map(|note: Note| note.note).collect(),
            )
        }
        Err(reason) => {
            let missing = Row {
                name: "PyTorch, flash-linear-attention".to_owned(),
                tokens: 0,
                outcome: Outcome::Skipped(reason),
            };
            (vec![missing], Vec::new())
        }
    }
}

fn row(line: Line) -> Row {
    let outcome = match (line.ms, line.skipped) {
        (Some(ms), _) => Outcome::Measured {
            ms,
            waited_ms: line.waited_ms,
            extra_gib: line.extra_gib,
            first_ms: None,
        },
        (None, reason) => Outcome::Skipped(reason.unwrap_or_else(|| "no figure".to_owned())),
    };
    Row {
        name: line.name,
        tokens: line.tokens,
        outcome,
    }
}

fn output(benchmark: &Benchmark, python: &Path) -> Result<String, String> {
    let lengths: Vec<String> = benchmark.seq_lengths.iter().map(usize::to_string).collect();
    let device = match format!("{:?}", benchmark.device).to_lowercase().contains("cuda") {
        true => "cuda",
        false => "cpu",
    };
    let mut child = Command::new(python)
        .arg("-")
        .args(["--embed-dim", &benchmark.embed_dim.to_string()])
        .args(["--num-heads", &benchmark.num_heads.to_string()])
        .args(["--batch-size", &benchmark.batch_size.to_string()])
        .args(["--seq-lengths", &lengths.join(",")])
        .args(["--dtype", dtype_name(benchmark.dtype)])
        .args(["--runs", &benchmark.runs.to_string()])
        .args(["--device", device])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", python.display()))?;
    if let Some(mut input) = child.stdin.take() {
        input
            .write_all(SCRIPT.as_bytes())
            .map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(errors
        .lines()
        .last()
        .unwrap_or("Python ended with an error")
        .to_owned())
}

/// The name of a type in PyTorch and in reports.
pub(super) fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        _ => "float32",
    }
}
