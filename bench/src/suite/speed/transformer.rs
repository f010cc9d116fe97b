//! Times of a decoder's launches alone and of its whole decoding step, in the sizes of Mistral-7B.

#![allow(unsafe_code, reason = "launches kernels; see SAFETY at each")]

mod attention;
mod products;
mod rows;

use anyhow::Result;

use super::clock::Clock;
use crate::suite::decoder::{Decoder, Sizes};
use crate::suite::gpu::Gpu;

/// Mistral-7B.
const SIZES: Sizes = Sizes {
    layers: 32,
    width: 4096,
    query: 32,
    kv: 8,
    head: 128,
    ffn: 14_336,
    vocabulary: 32_768,
};

/// Measures and prints everything.
pub(in crate::suite) fn print() -> Result<()> {
    let mut clock = Clock(Gpu::open()?);
    products::print_skinny(&mut clock)?;
    attention::print_decode(&mut clock)?;
    attention::print_prefill(&mut clock)?;
    products::print_linear(&mut clock)?;
    rows::print(&mut clock)?;
    println!("decoding steps, captured, random weights of Mistral-7B's shape:");
    for (sequences, tokens, fp8) in [
        (1, 2048, false),
        (1, 2048, true),
        (16, 4096, false),
        (16, 4096, true),
        (64, 4096, false),
        (64, 4096, true),
    ] {
        print_step(&mut clock, sequences, tokens, fp8)?;
    }
    Ok(())
}

/// A step as a graph; the weights are those of every layer, so no cache holds them.
fn print_step(clock: &mut Clock, sequences: usize, tokens: usize, fp8: bool) -> Result<()> {
    let decoder = Decoder::new(&mut clock.0, SIZES, sequences, tokens, fp8)?;
    let graph = decoder.capture(&mut clock.0)?;
    // SAFETY: the decoder lives until the clock has waited for the stream.
    let ms = clock.time(|_| Ok(unsafe { graph.launch() }?))?;
    println!(
        "  {sequences:>3} sequences of {tokens}, {}: {ms:.3} ms, {:.0} tokens/s",
        if fp8 { "FP8 " } else { "bf16" },
        sequences as f64 * 1e3 / ms
    );
    Ok(())
}
