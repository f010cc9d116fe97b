//! Transformers in Python, in a process of its own that runs `bench/vram/peer.py`.

use anyhow::{Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Arguments;
use super::report::{Point, Subject};
use crate::python;

const SCRIPT: &str = include_str!("../../vram/peer.py");

/// What the script found.
pub(super) struct Peer {
    pub(super) versions: String,
    pub(super) subject: Subject,
}

/// A line that the script prints.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Versions(String),
    Point(Point),
}

/// Measures forward passes that compute the logits of every token, as a plain call does, or of the last one.
pub(super) fn measure(arguments: &Arguments, config: &Value, lengths: &[usize], every: bool) -> Result<Peer> {
    let task = json!({
        "config": config, "folder": arguments.model, "lengths": lengths, "every": every,
        "device": arguments.device,
    });
    let mut peer = Peer {
        versions: String::new(),
        subject: Subject {
            name: match every {
                true => "transformers, logits of all tokens".to_owned(),
                false => "transformers, logits of the last token".to_owned(),
            },
            points: Vec::new(),
        },
    };
    let status = python::run(&arguments.python, SCRIPT, &task, |line| {
        match serde_json::from_str(line) {
            Ok(Line::Versions(versions)) => peer.versions = versions,
            Ok(Line::Point(point)) => peer.subject.points.push(point),
            // What libraries print beside it.
            Err(_) => {}
        }
    })?;
    ensure!(
        status.success() && peer.subject.points.len() == lengths.len(),
        "{} with torch and transformers ended with {status} after {} of {} lengths",
        arguments.python.display(),
        peer.subject.points.len(),
        lengths.len()
    );
    Ok(peer)
}
