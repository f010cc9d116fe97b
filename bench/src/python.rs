//! A script in Python as a child process, which reads a task from its standard input and prints what it finds, a line each.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

/// Runs a script, hands on its lines as they come, and returns how it ended.
pub(crate) fn run(
    python: &Path,
    script: &str,
    task: &Value,
    mut take: impl FnMut(&str),
) -> Result<ExitStatus> {
    let mut process = Command::new(python)
        .args(["-c", script])
        .env("PYTHONUNBUFFERED", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", python.display()))?;
    let mut input = process.stdin.take().context("no input")?;
    writeln!(input, "{task}")?;
    drop(input);
    for line in BufReader::new(process.stdout.take().context("no output")?).lines() {
        take(&line?);
    }
    Ok(process.wait()?)
}
