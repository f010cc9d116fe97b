//! Measures what the scan for ASCII words gains over plain `tokenizers` on a text, on one thread, and checks
//! that both cut it alike:
//!
//! `cargo run --release -p liquid-worker --example tokenizer -- .cache/models/all-minilm-l6-v2 TEXT`

use std::path::Path;
use std::time::{Duration, Instant};

use liquid_worker::model::WordPiece;
use tokenizers::Tokenizer;

/// Bytes that are cut at a time: below what the worker starts a second thread for.
const PART_BYTES: usize = 60_000;

/// Passes over the text, of which the quickest counts.
const PASSES: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("two arguments: the model's folder and a text file".into());
    };
    let path = Path::new(&folder).join("tokenizer.json");
    let bytes = std::fs::read(&path)?;
    let ours = WordPiece::from_bytes(&bytes, path)?;
    let mut plain = Tokenizer::from_bytes(&bytes)?;
    plain.with_padding(None);
    plain.with_truncation(None)?;
    let text = std::fs::read_to_string(file)?;
    let parts = cut(&text);
    for part in &parts {
        let plain = plain.encode(*part, false)?;
        if ours.encode(part).ids != plain.get_ids() {
            return Err("the two cut a part of the text differently".into());
        }
    }
    let scan = quickest(|| parts.iter().map(|part| ours.encode(part).len()).sum());
    let reference = quickest(|| {
        let encoded = parts.iter().filter_map(|part| plain.encode(*part, false).ok());
        encoded.map(|encoding| encoding.len()).sum()
    });
    println!(
        "{} bytes: scan {:.1} ms, plain tokenizers {:.1} ms, {:.1} times as long",
        text.len(),
        ms(scan),
        ms(reference),
        reference.as_secs_f64() / scan.as_secs_f64()
    );
    Ok(())
}

/// Cuts a text at line ends into parts of at most [`PART_BYTES`], or one line.
fn cut(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut end) = (0, 0);
    for line in text.split_inclusive('\n') {
        if end + line.len() - start > PART_BYTES && end > start {
            parts.push(&text[start..end]);
            start = end;
        }
        end += line.len();
    }
    parts.push(&text[start..]);
    parts
}

fn quickest(mut pass: impl FnMut() -> usize) -> Duration {
    let times = (0..PASSES).map(|_| {
        let started = Instant::now();
        std::hint::black_box(pass());
        started.elapsed()
    });
    times.min().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
