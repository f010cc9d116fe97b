//! A chain of launches as a decoding step has it: placed early or not, captured or not, the same bits.

use anyhow::Result;
use liquid_cuda::device::Graph;

use crate::suite::checks::Report;
use crate::suite::decoder::{Decoder, Numbers, Sizes};
use crate::suite::gpu::Gpu;

/// A model small enough that launches are short, so that one which comes too early meets the one before.
const SIZES: Sizes = Sizes {
    layers: 6,
    width: 1024,
    query: 8,
    kv: 2,
    head: 128,
    ffn: 2816,
    vocabulary: 4096,
};

/// Checks steps of one sequence and of several.
pub(super) fn check(gpu: &mut Gpu, report: &mut Report) -> Result<()> {
    for sequences in [1, 3, 8] {
        let decoder = Decoder::new(gpu, SIZES, sequences, 700, Numbers::BF16)?;
        let mut step = |early: bool| -> Result<Vec<f32>> {
            decoder.start(gpu)?;
            decoder.step(gpu, early)?;
            decoder.logits(gpu)
        };
        let plain = step(false)?;
        let finite = plain.iter().all(|x| x.is_finite()) && plain.iter().any(|x| *x != 0.0);
        report.holds(&format!("step of {sequences}: logits are numbers"), finite);
        let same = (0..20)
            .map(|_| step(true))
            .collect::<Result<Vec<_>>>()?
            .iter()
            .all(|early| *early == plain);
        report.holds(
            &format!("step of {sequences}: the same bits with early launches"),
            same,
        );
        let graph = decoder.capture(gpu)?;
        let mut captured = true;
        for _ in 0..20 {
            decoder.start(gpu)?;
            replay(&graph)?;
            captured &= decoder.logits(gpu)? == plain;
        }
        report.holds(
            &format!("step of {sequences}: the same bits as a graph"),
            captured,
        );
    }
    Ok(())
}

fn replay(graph: &Graph) -> Result<()> {
    // SAFETY: the decoder and its tables live until the logits were read.
    Ok(unsafe { graph.launch() }?)
}
