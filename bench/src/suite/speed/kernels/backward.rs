//! The kernels of the backward pass, one group of tokens.

use anyhow::Result;
use liquid_attention::portable::SEGMENT;
use liquid_cuda::device::{Address, Buffer};
use liquid_cuda::rule::backward::{
    BackwardGroup, GroupGradients, NORM_PARTS, NormGradients, serves_gradients,
};
use liquid_cuda::rule::{CHUNK, Gates, Rows, Span};

use super::forward::{Forward, OPTIONS};
use super::{Clock, Sizes};
use crate::suite::gpu::Gpu;

/// Device memory of a group.
struct Memory {
    sizes: Sizes,
    /// States before the chunks, `[heads, chunks, width, width]`.
    before: Buffer,
    /// Gradients with respect to the states after the chunks.
    after: Buffer,
    /// What each token writes, `[heads, chunks, 64, width]`.
    news: Buffer,
    /// States before the segments.
    saved: Buffer,
    /// Log-gates and strengths.
    gates: Buffer,
    /// Gradients with respect to output, queries, keys and values, `[tokens, embed]` each.
    by_rows: [Buffer; 4],
    /// Gradients with respect to log-gates and strengths.
    by_gates: Buffer,
    /// Work space of the norm, and the gradient with respect to its weights behind it.
    parts: Buffer,
    gamma: Buffer,
}

impl Memory {
    fn new(gpu: &Gpu, sizes: Sizes) -> Result<Self> {
        let Sizes { embed, heads, tokens } = sizes;
        let width = sizes.width();
        let chunks = heads * tokens.div_ceil(CHUNK);
        let states = || gpu.normals(chunks * width * width, 0.1);
        let rows = || gpu.normals(tokens * embed, 1.0);
        let segments = tokens.div_ceil(SEGMENT);
        Ok(Self {
            sizes,
            before: states()?,
            after: states()?,
            news: gpu.normals(chunks * CHUNK * width, 0.1)?,
            saved: gpu.zeroed(size_of::<f32>() * segments * heads * width * width)?,
            gates: gpu.zeroed(2 * size_of::<f32>() * tokens * heads)?,
            by_rows: [rows()?, rows()?, rows()?, rows()?],
            by_gates: gpu.zeroed(2 * size_of::<f32>() * tokens * heads)?,
            parts: gpu.zeroed(size_of::<f32>() * (NORM_PARTS + 1) * width)?,
            gamma: gpu.zeroed(size_of::<f32>() * width)?,
        })
    }

    /// Bytes of one number for every token and head.
    fn numbers(&self) -> usize {
        size_of::<f32>() * self.sizes.tokens * self.sizes.heads
    }

    fn group(&self, forward: &Forward) -> BackwardGroup {
        let (heads, width) = (self.sizes.heads, self.sizes.width());
        let gates = self.gates.address();
        BackwardGroup {
            span: Span {
                gates: Gates::numbers(gates, gates.offset(self.numbers())),
                ..forward.span()
            },
            segment: SEGMENT,
            saved: self.saved.address(),
            between_segments: heads * width * width,
            before: self.before.address(),
            after: self.after.address(),
            news: self.news.address(),
        }
    }

    fn gradients(&self, forward: &Forward) -> GroupGradients {
        let rows = |number: usize| Rows {
            address: self.by_rows[number].address(),
            stride: self.sizes.embed,
        };
        let gates = self.by_gates.address();
        GroupGradients {
            output: rows(0),
            q: rows(1),
            k: rows(2),
            v: rows(3),
            gates,
            strengths: gates.offset(self.numbers()),
            state: forward.state.address(),
        }
    }

    fn norm(&self) -> NormGradients {
        let width = self.sizes.width();
        let parts = self.parts.address();
        NormGradients {
            output: self.by_rows[0].address(),
            gamma: self.gamma.address(),
            gate: Address::NULL,
            gradient: self.by_rows[1].address(),
            by_output: self.by_rows[2].address(),
            by_gamma: parts.offset(size_of::<f32>() * NORM_PARTS * width),
            by_gate: Address::NULL,
            parts,
            rows: self.sizes.tokens * self.sizes.heads,
            width,
            epsilon: 1e-6,
        }
    }
}

/// Measures and prints the kernels, if there are any for heads of this width.
pub(super) fn print(clock: &mut Clock, forward: &Forward) -> Result<()> {
    if !serves_gradients(forward.sizes.width()) {
        return Ok(());
    }
    let memory = Memory::new(&clock.0, forward.sizes)?;
    let (group, gradients, norm) = (memory.group(forward), memory.gradients(forward), memory.norm());
    // SAFETY, here and below: `Memory::new` and `Forward::new` made everything in the sizes of the group; it
    // lives until the clock has waited for the stream.
    let Gpu { kernels, stream, .. } = &mut clock.0;
    unsafe { kernels.prepare(stream, &group.span, OPTIONS) }?;
    clock.print("backward: states", |gpu| {
        // SAFETY: as above.
        Ok(unsafe { gpu.kernels.states(&gpu.stream, &group) }?)
    })?;
    clock.print("backward: gradients", |gpu| {
        // SAFETY: as above.
        Ok(unsafe { gpu.kernels.state_gradients(&gpu.stream, &group, &gradients) }?)
    })?;
    clock.print("backward: rows", |gpu| {
        // SAFETY: as above.
        Ok(unsafe {
            gpu.kernels
                .row_gradients(&gpu.stream, &group, &gradients, OPTIONS)
        }?)
    })?;
    clock.print("backward: norm", |gpu| {
        // SAFETY: as above.
        Ok(unsafe { gpu.kernels.norm_gradients(&gpu.stream, &norm) }?)
    })
}
