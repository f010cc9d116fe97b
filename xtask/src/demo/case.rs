//! What the demo asks: a contract of the evaluation set with its lawyers' question, or the user's own file.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use serde_json::Value;

use crate::command::root;

/// Answers without any model: the best evidence, quoted.
pub(super) const SYNTHESIS: &str = "local/extractive";
const FILE: &str = "eval/cuad.jsonl.gz";
const ITEM: &str = "cuad-dev-0004";

/// A document and a question about it.
pub(super) struct Case {
    pub(super) source: String,
    pub(super) document: String,
    pub(super) question: String,
}

pub(super) fn load(document: Option<&Path>, question: Option<&str>) -> Result<Case> {
    let mut case = match document {
        Some(path) => Case {
            source: path.display().to_string(),
            document: fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
            question: String::new(),
        },
        None => contract()?,
    };
    if let Some(question) = question {
        question.clone_into(&mut case.question);
    }
    Ok(case)
}

fn contract() -> Result<Case> {
    let file = File::open(root().join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let item = serde_json::from_str::<Value>(&line?)?;
        let text = |name: &str| {
            item.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        if text("id") == ITEM {
            return Ok(Case {
                source: format!("{ITEM} of {FILE}: a contract filed with the SEC, from CUAD (CC BY 4.0)"),
                document: text("document"),
                question: text("question"),
            });
        }
    }
    anyhow::bail!("{FILE} has no item {ITEM}")
}
