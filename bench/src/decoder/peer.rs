//! The peer in Python, measured in a process of its own by `bench/decoder/peer.py`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::report::{DECODES, PREFILLS};

const SCRIPT: &str = include_str!("../../decoder/peer.py");

/// Figures of the peer, tokens a second.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Peer {
    pub(super) versions: String,
    pub(super) prefill: Vec<f64>,
    pub(super) decode: Vec<f64>,
}

/// A line that the script prints.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Versions(String),
    Prefill(f64),
    Decode(f64),
}

/// Runs the script for a model's configuration.
pub(super) fn measure(python: &Path, config: &serde_json::Value) -> Result<Peer> {
    let task = serde_json::json!({ "config": config, "prefill": PREFILLS, "decode": DECODES });
    let mut process = Command::new(python)
        .args(["-c", SCRIPT])
        .env("PYTHONUNBUFFERED", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", python.display()))?;
    let mut input = process.stdin.take().context("no input")?;
    writeln!(input, "{task}")?;
    drop(input);
    let mut peer = Peer::default();
    for line in BufReader::new(process.stdout.take().context("no output")?).lines() {
        let line = line?;
        println!("peer: {line}");
        match serde_json::from_str(&line) {
            Ok(Line::Versions(versions)) => peer.versions = versions,
            Ok(Line::Prefill(rate)) => peer.prefill.push(rate),
            Ok(Line::Decode(rate)) => peer.decode.push(rate),
            // What libraries print beside it.
            Err(_) => {}
        }
    }
    let status = process.wait()?;
    ensure!(status.success(), "the peer ended with {status}");
    Ok(peer)
}
