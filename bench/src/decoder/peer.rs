//! The peer in Python, measured in a process of its own by `bench/decoder/peer.py`.

use std::path::Path;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::report::{DECODES, PREFILLS};
use crate::python;

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
pub(super) fn measure(program: &Path, config: &serde_json::Value) -> Result<Peer> {
    let task = serde_json::json!({ "config": config, "prefill": PREFILLS, "decode": DECODES });
    let mut peer = Peer::default();
    let status = python::run(program, SCRIPT, &task, |line| {
        println!("peer: {line}");
        match serde_json::from_str(line) {
            Ok(Line::Versions(versions)) => peer.versions = versions,
            Ok(Line::Prefill(rate)) => peer.prefill.push(rate),
            Ok(Line::Decode(rate)) => peer.decode.push(rate),
            // What libraries print beside it.
            Err(_) => {}
        }
    })?;
    ensure!(status.success(), "the peer ended with {status}");
    Ok(peer)
}
