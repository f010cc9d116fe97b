//! The peers in Python, measured in a process of their own by `attention/peers/attention.py`.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use burn::tensor::DType;
use serde::Deserialize;

use super::benchmark::{Benchmark, Entry};
use super::report::{Outcome, Row};

const SCRIPT: &str = include_str!("../../../attention/peers/attention.py");

/// A line of figures that the script prints.
#[derive(Deserialize)]
struct Line {
    name: String,
    tokens: usize,
    ms: Option<f64>,
    waited_ms: Option<f64>,
    sustained_ms: Option<f64>,
    extra_gib: Option<f64>,
    skipped: Option<String>,
}

/// A line of versions that the script prints.
#[derive(Deserialize)]
struct Note {
    note: String,
}

/// Adds the peers' rows and notes on their versions as they come, and a row that says why where they end
/// early.
pub(super) fn run(benchmark: &Benchmark, python: &Path, add: &mut dyn FnMut(Entry)) {
    if let Err(reason) = read(benchmark, python, add) {
        add(Entry::Row(Row {
            name: "PyTorch, flash-linear-attention".to_owned(),
            tokens: 0,
            outcome: Outcome::Skipped(reason),
        }));
    }
}

fn row(line: Line) -> Row {
    let outcome = match (line.ms, line.skipped) {
        (Some(ms), _) => Outcome::Measured {
            ms,
            waited_ms: line.waited_ms,
            sustained_ms: line.sustained_ms,
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

/// Runs the script and adds what it prints; the error is its last line on standard error.
fn read(benchmark: &Benchmark, python: &Path, add: &mut dyn FnMut(Entry)) -> Result<(), String> {
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
    // Read beside the output, as a pipe that is full would stop the child.
    let errors = child.stderr.take().map(|mut errors| {
        std::thread::spawn(move || {
            let mut text = String::new();
            // Whatever could be read explains more than that the rest could not.
            let _ = errors.read_to_string(&mut text);
            text
        })
    });
    let lines = child.stdout.take().map(|output| BufReader::new(output).lines());
    for line in lines.into_iter().flatten().map_while(Result::ok) {
        if let Ok(figures) = serde_json::from_str(&line) {
            add(Entry::Row(row(figures)));
        } else if let Ok(Note { note }) = serde_json::from_str(&line) {
            add(Entry::Note(note));
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    let errors = errors.and_then(|errors| errors.join().ok()).unwrap_or_default();
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
