//! The ranker on a GPU: its logits against the processor's, and how many tokens it reads in a second.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use liquid_worker::model::Ranker;

use super::{RUNS, ms};

/// Largest difference of a logit from the processor's.
const LARGEST_DIFFERENCE: f32 = 1e-2;

/// Tokens of the questions that windows are read with; the longest is shortened by the ranker.
const QUESTIONS: [usize; 5] = [1, 12, 33, 64, 100];

/// Tokens that `[CLS]`, and `[SEP]` behind question and window, add to a pair.
const ADDED_TOKENS: usize = 3;

/// Checks the logits of windows that both devices read, then measures the GPU.
pub(super) fn check(cpu: &mut dyn Ranker, gpu: &mut dyn Ranker, windows: &[Vec<u32>]) -> Result<()> {
    let started = Instant::now();
    let speed = gpu.warm_up()?.context("this device does not warm up")?;
    println!(
        "ranker: warm-up of all sizes: {:.0} ms, at best {speed:.0} tokens/s",
        ms(started.elapsed())
    );
    agreement(cpu, gpu, windows)?;
    rates(gpu)
}

fn agreement(cpu: &mut dyn Ranker, gpu: &mut dyn Ranker, windows: &[Vec<u32>]) -> Result<()> {
    let fit = windows.iter().filter(|ids| ids.len() <= gpu.max_tokens());
    let fit: Vec<&[u32]> = fit.map(Vec::as_slice).collect();
    let (mut worst_window, mut worst_token, mut largest) = (0.0_f32, 0.0_f32, 0.0_f32);
    let mut logits = 0;
    for length in QUESTIONS {
        let words = windows.iter().flatten().copied();
        let question: Vec<u32> = words.skip(500).take(length).collect();
        let (theirs, ours) = (cpu.rank(&question, &fit)?, gpu.rank(&question, &fit)?);
        ensure!(ours.len() == theirs.len(), "windows are missing");
        for (a, b) in theirs.iter().zip(&ours) {
            ensure!(
                a.tokens.len() == b.tokens.len(),
                "a window has another number of logits"
            );
            worst_window = worse(worst_window, a.window - b.window);
            for (a, b) in a.tokens.iter().zip(&b.tokens) {
                worst_token = worse(worst_token, a - b);
                largest = largest.max(a.abs());
            }
            largest = largest.max(a.window.abs());
            logits += 1 + a.tokens.len();
        }
    }
    println!(
        "ranker: {} windows with {} questions, {logits} logits up to {largest:.1}: largest difference from the processor \
         {worst_window:.1e} of a window, {worst_token:.1e} of a token",
        fit.len(),
        QUESTIONS.len(),
    );
    ensure!(
        worst_window < LARGEST_DIFFERENCE && worst_token < LARGEST_DIFFERENCE,
        "the devices disagree"
    );
    Ok(())
}

/// Returns the larger size of a difference; NaN is the worst of all.
fn worse(worst: f32, difference: f32) -> f32 {
    let size = difference.abs();
    if size <= worst { worst } else { size }
}

/// Tokens a second by batch and by pair, those of the question counted with each window.
fn rates(gpu: &mut dyn Ranker) -> Result<()> {
    println!("{:>8} {:>8} {:>9} {:>12}", "tokens", "pair", "ms", "tokens/s");
    let question: Vec<u32> = (1000..1012).collect();
    for (tokens, pair) in [
        (512, 128),
        (4096, 128),
        (32_768, 128),
        (131_072, 128),
        (32_768, 200),
    ] {
        let pieces = pair - question.len() - ADDED_TOKENS;
        let window = |number: usize| -> Vec<u32> {
            let ids = (0..pieces).map(|i| 1000 + (number * 977 + i * 31) % 29_000);
            ids.map(|id| id as u32).collect()
        };
        let windows: Vec<Vec<u32>> = (0..tokens / pair).map(window).collect();
        let windows: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let started = Instant::now();
            gpu.rank(&question, &windows)?;
            times.push(started.elapsed());
        }
        times.sort_unstable();
        let median = times[RUNS / 2];
        println!(
            "{tokens:>8} {pair:>8} {:>9.2} {:>12.0}",
            ms(median),
            tokens as f64 / median.as_secs_f64()
        );
    }
    Ok(())
}
