//! Times of a decoder's launches alone and of its whole decoding step, in the sizes of Mistral-7B.

#![allow(unsafe_code, reason = "launches kernels; see SAFETY at each")]

mod attention;
mod products;
mod rows;

use anyhow::Result;
use liquid_cuda::device::Precision;

use super::clock::Clock;
use crate::suite::decoder::{Decoder, Numbers, Sizes};
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
    let fp8 = Numbers {
        projections: Precision::Fp8,
        ..Numbers::BF16
    };
    let all = Numbers {
        keys_values: Precision::Fp8,
        ..fp8
    };
    for (sequences, tokens) in [(1, 2048), (16, 4096), (64, 4096)] {
        for (name, numbers) in [
            ("bf16", Numbers::BF16),
            ("FP8", fp8),
            ("FP8, keys and values too", all),
        ] {
            let decoder = Decoder::new(&mut clock.0, SIZES, sequences, tokens, numbers)?;
            let name = format!("{sequences:>3} sequences of {tokens}, {name}");
            print_step(&mut clock, &name, sequences, &decoder)?;
        }
    }
    Ok(())
}

/// A step as a graph; the weights are those of every layer, so no cache holds them.
fn print_step(clock: &mut Clock, name: &str, sequences: usize, decoder: &Decoder) -> Result<()> {
    let graph = decoder.capture(&mut clock.0)?;
    // SAFETY: the decoder lives until the clock has waited for the stream.
    let ms = clock.time(|_| Ok(unsafe { graph.launch() }?))?;
    println!(
        "  {name}: {ms:.3} ms, {:.0} tokens/s",
        sequences as f64 * 1e3 / ms
    );
    Ok(())
}
