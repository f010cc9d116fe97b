//! The kernels of the backward pass, one group of tokens.

use super::{Bench, KernelTime, Memory, RULE, Sizes, time};
use crate::core::CHUNK;
use crate::cuda::backward::{Chunks, Gradients, Norm, PARTS};
use crate::cuda::error::CudaError;
use crate::cuda::gpu::Gpu;
use crate::cuda::launch::{Gates, Rows, Span};
use crate::portable::SEGMENT;

/// Times the kernels, for heads of 64 or 128 numbers; of others, nothing.
pub(super) fn times(gpu: &mut Gpu, bench: &Bench) -> Result<Vec<KernelTime>, CudaError> {
    let Sizes { embed, heads, tokens } = bench.sizes;
    let width = embed / heads;
    if !matches!(width, 64 | 128) {
        return Ok(Vec::new());
    }
    let chunks = heads * tokens.div_ceil(CHUNK);
    let states = || Memory::new(chunks * width * width, 0.1);
    let (before, after) = (states()?, states()?);
    let news = Memory::new(chunks * CHUNK * width, 0.1)?;
    let saved = Memory::zeroed(4 * tokens.div_ceil(SEGMENT) * heads * width * width)?;
    let by: Vec<Memory> = (0..4)
        .map(|_| Memory::new(tokens * embed, 1.0))
        .collect::<Result<_, _>>()?;
    let numbers = Memory::zeroed(8 * tokens * heads)?;
    let parts = Memory::zeroed(4 * (PARTS + 1) * width)?;
    let rows = |memory: &Memory| Rows {
        address: memory.0,
        stride: embed,
    };
    let given = Memory::zeroed(8 * tokens * heads)?;
    let group = Chunks {
        span: Span {
            gates: Gates::given(given.0, given.0 + 4 * (tokens * heads) as u64),
            ..bench.span()
        },
        saved: saved.0,
        between_segments: (heads * width * width) as u64,
        before: before.0,
        after: after.0,
        news: news.0,
    };
    let gradients = Gradients {
        output: rows(&by[0]),
        q: rows(&by[1]),
        k: rows(&by[2]),
        v: rows(&by[3]),
        gates: numbers.0,
        strengths: numbers.0 + 4 * (tokens * heads) as u64,
        state: bench.state.0,
    };
    let gamma = Memory::zeroed(4 * width)?;
    let norm = Norm {
        output: by[0].0,
        gamma: gamma.0,
        gate: 0,
        gradient: by[1].0,
        by_output: by[2].0,
        by_gamma: parts.0 + 4 * (PARTS * width) as u64,
        by_gate: 0,
        parts: parts.0,
        rows: tokens * heads,
        width,
        epsilon: 1e-6,
    };
    gpu.prepare(&group.span, RULE)?;
    Ok(vec![
        (
            "backward: states".to_owned(),
            time(gpu, |gpu| gpu.states(&group))?,
        ),
        (
            "backward: gradients".to_owned(),
            time(gpu, |gpu| gpu.gradients(&group, &gradients))?,
        ),
        (
            "backward: rows".to_owned(),
            time(gpu, |gpu| gpu.rows(&group, &gradients, RULE))?,
        ),
        (
            "backward: norm".to_owned(),
            time(gpu, |gpu| gpu.norm_backward(&norm))?,
        ),
    ])
}
