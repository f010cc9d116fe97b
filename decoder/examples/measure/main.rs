//! Measures a model on the processor: how fast it reads a prompt and writes tokens, how fast the cores read memory, which
//! bounds the writing, and what an engine makes of several answers at once and of a prefix that it knows.
//!
//!     cargo run --release -p liquid-decoder --example measure -- .cache/models/smollm2-135m-instruct

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use liquid_decoder::{CacheSize, KvCache, Model, Segment, Sequence, Tokenizer, Wanted};
use rayon::prelude::*;

mod engine;

/// Tokens of a prompt that is read at once.
const PIECE: usize = 256;
/// Prompts, in tokens.
const PROMPTS: [usize; 2] = [512, 2048];
/// Tokens that are written after a prompt.
const STEPS: usize = 32;
/// Repetitions. Of all pieces and steps the quickest one counts, as other programs disturb the others.
const TRIES: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("give the folder of a model")?;
    let folder = Path::new(&folder);
    let start = Instant::now();
    let model = Model::load(folder, &Device::flex())?;
    println!("loaded in {:.2} s", start.elapsed().as_secs_f64());
    let bytes = weight_bytes(folder)?;
    let bandwidth = bandwidth();
    let roofline = bandwidth / bytes as f64;
    println!(
        "weights {:.0} MB, memory {:.1} GB/s: at most {roofline:.0} tokens/s",
        bytes as f64 / 1e6,
        bandwidth / 1e9
    );
    for tokens in PROMPTS {
        let most = model.architecture().vocab_size as u32;
        let prompt: Vec<u32> = (0..tokens as u32).map(|i| (i * 7919 + 17) % most).collect();
        let mut best = [Duration::MAX; 2];
        for _ in 0..TRIES {
            let times = run(&model, &prompt)?;
            best = [best[0].min(times[0]), best[1].min(times[1])];
        }
        let [read, step] = best.map(|time| time.as_secs_f64());
        println!(
            "at {tokens} tokens: reads {:.0} tokens/s, writes {:.1} tokens/s ({:.0} % of the roofline)",
            PIECE as f64 / read,
            1.0 / step,
            100.0 / step / roofline
        );
    }
    engine::measure(model, Tokenizer::read(folder)?)
}

/// Returns the time of a prompt's last piece, which attends to all others, and the shortest to write a token after it.
fn run(model: &Model, prompt: &[u32]) -> Result<[Duration; 2], Box<dyn Error>> {
    let limit = prompt.len() + STEPS;
    let mut cache = KvCache::new(model, CacheSize::of_one(limit))?;
    let mut sequence = cache.sequence(&[], limit)?;
    let mut start = Instant::now();
    let mut next = 0;
    for piece in prompt.chunks(PIECE) {
        start = Instant::now();
        next = pass(model, &mut cache, &mut sequence, piece)?;
    }
    let read = start.elapsed();
    let mut step = Duration::MAX;
    for _ in 0..STEPS {
        let start = Instant::now();
        next = pass(model, &mut cache, &mut sequence, &[next])?;
        step = step.min(start.elapsed());
    }
    Ok([read, step])
}

/// Reads tokens and returns the likeliest next one.
fn pass(
    model: &Model,
    cache: &mut KvCache,
    sequence: &mut Sequence,
    tokens: &[u32],
) -> Result<u32, Box<dyn Error>> {
    let mut segments = [Segment {
        sequence,
        tokens,
        wanted: Wanted::Last,
    }];
    let logits = model.pass(cache, &mut segments)?;
    let row = logits
        .first()
        .and_then(|logits| logits.last())
        .ok_or("no logits")?;
    let best = row
        .iter()
        .enumerate()
        .max_by(|(_, left), (_, right)| left.total_cmp(right));
    Ok(best.map_or(0, |(token, _)| token as u32))
}

fn weight_bytes(folder: &Path) -> Result<u64, Box<dyn Error>> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|end| end == "safetensors") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// Measures how many bytes a second all cores together read from memory.
fn bandwidth() -> f64 {
    let data = vec![1_u64; 64 << 20];
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        let start = Instant::now();
        let sum: u64 = data
            .par_chunks(1 << 17)
            .map(|part| part.iter().fold(0, |sum, x| sum ^ x))
            .sum();
        black_box(sum);
        best = best.min(start.elapsed().as_secs_f64());
    }
    (data.len() * size_of::<u64>()) as f64 / best
}
