//! Long documents of any length from the DEV sets: real contracts, then real meetings, then annual reports.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use serde::Deserialize;

/// Contracts first; the others only once they run out.
const SETS: [&str; 3] = ["cuad", "qmsum", "tatqa"];

/// Tokens of a word, on average over the sets.
const TOKENS_PER_WORD: f64 = 1.33;

/// A document and a question about its first part.
pub(crate) struct Document {
    pub(crate) text: String,
    pub(crate) question: String,
}

#[derive(Deserialize)]
struct Item {
    document: String,
    question: String,
}

/// A document of about `tokens` tokens.
pub(crate) fn build(sets: &Path, tokens: usize) -> Result<Document> {
    let mut left = (tokens as f64 / TOKENS_PER_WORD) as usize;
    let mut seen = HashSet::new();
    let mut document = Document {
        text: String::new(),
        question: String::new(),
    };
    for set in SETS {
        for item in items(&sets.join(format!("{set}.jsonl.gz")))? {
            let item = item?;
            if left == 0 {
                return Ok(document);
            }
            if document.question.is_empty() {
                document.question.clone_from(&item.question);
            }
            if seen.contains(&item.document) {
                continue;
            }
            let heading = format!("=== Document {} ===\n", seen.len() + 1);
            document.text.push_str(&heading);
            left -= append_words(&mut document.text, &item.document, left);
            document.text.push_str("\n\n");
            seen.insert(item.document);
        }
    }
    ensure!(
        left == 0,
        "the sets hold {left} words less than {tokens} tokens need"
    );
    Ok(document)
}

/// Appends at most `most` words with what stands between them, and says how many.
fn append_words(text: &mut String, from: &str, most: usize) -> usize {
    let starts: Vec<usize> = from
        .split_whitespace()
        .map(|word| word.as_ptr() as usize - from.as_ptr() as usize)
        .collect();
    let end = starts.get(most).copied().unwrap_or(from.len());
    text.push_str(from[..end].trim_end());
    starts.len().min(most)
}

fn items(path: &Path) -> Result<impl Iterator<Item = Result<Item>>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let name = path.display().to_string();
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    Ok(lines.map(move |line| serde_json::from_str(&line?).with_context(|| name.clone())))
}
