//! Times of the kernels and products alone, by the GPU's own clock. Without burn, on memory of its own.

#![allow(unsafe_code, reason = "launches kernels; see SAFETY at each")]

mod backward;
mod forward;
mod ragged;

use anyhow::Result;

use self::forward::{Forward, StepParts};
use super::clock::Clock;
use crate::suite::gpu::Gpu;

/// Sizes of a layer, and tokens of one sequence.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Width of the layer.
    embed: usize,
    heads: usize,
    tokens: usize,
}

impl Sizes {
    /// Numbers of a head.
    fn width(self) -> usize {
        self.embed / self.heads
    }
}

/// Measures and prints the kernels of a layer of 4096 with 32 heads at several lengths.
pub(in crate::suite) fn print() -> Result<()> {
    let mut clock = Clock(Gpu::open()?);
    for tokens in [2_048, 8_192, 16_384, 32_768] {
        let sizes = Sizes {
            embed: 4096,
            heads: 32,
            tokens,
        };
        println!(
            "kernels alone, {tokens} tokens, embed {}, {} heads:",
            sizes.embed, sizes.heads
        );
        let forward = Forward::new(&clock.0, sizes)?;
        print_passes(&mut clock, &forward)?;
        print_products(&mut clock, &forward)?;
        print_steps(&mut clock, &forward)?;
        ragged::print(&mut clock, &forward)?;
        backward::print(&mut clock, &forward)?;
    }
    Ok(())
}

fn print_passes(clock: &mut Clock, forward: &Forward) -> Result<()> {
    clock.print("prepare", |gpu| forward.prepare(gpu))?;
    clock.print("scan with norm", |gpu| forward.scan(gpu, false))?;
    clock.print("scan with norm, precise", |gpu| forward.scan(gpu, true))
}

fn print_products(clock: &mut Clock, forward: &Forward) -> Result<()> {
    let Sizes { embed, heads, .. } = forward.sizes;
    let (gates, used) = (forward.columns.starts[3], forward.columns.used);
    for (name, columns) in [
        ("product, one of q, k, v", 0..embed),
        ("product, both gates", gates..gates + 2 * heads),
        ("product, q, k, v side by side", 0..3 * embed),
        ("product, all five side by side", 0..used),
    ] {
        clock.print(name, |gpu| forward.multiply(gpu, columns.clone()))?;
    }
    clock.print("product, output", |gpu| forward.multiply_output(gpu))
}

fn print_steps(clock: &mut Clock, forward: &Forward) -> Result<()> {
    const NONE: StepParts = StepParts {
        projections: false,
        state: false,
        output: false,
        early: false,
    };
    const ALL: StepParts = StepParts {
        projections: true,
        state: true,
        output: true,
        early: false,
    };
    for (name, parts) in [
        (
            "step: projections",
            StepParts {
                projections: true,
                ..NONE
            },
        ),
        ("step: state", StepParts { state: true, ..NONE }),
        ("step: output projection", StepParts { output: true, ..NONE }),
        ("step, one after the other", ALL),
        ("step, placed early", StepParts { early: true, ..ALL }),
    ] {
        clock.print(name, |gpu| forward.step(gpu, parts))?;
    }
    Ok(())
}
