//! Launches of the kernels of the backward pass. The figures mirror the constants of `attention/kernels`, whose
//! `Shared` and `Arguments` the comments name.

use std::ffi::c_int;

use crate::core::{CHUNK, DeltaRule};
use crate::cuda::error::CudaError;
use crate::cuda::gpu::Gpu;
use crate::cuda::launch::{KEY_EPSILON, RECORD, Rows, Span, parameter, tensor_map};
use crate::cuda::program::Kernel;
use crate::portable::SEGMENT;

/// `HALF` in common.cuh in bytes: 64 tokens, 64 columns.
const TILE: usize = 8_192;
/// `sizeof(ForState)` in common.cuh.
const FOR_STATE: usize = 6_144 + 3 * 4 * CHUNK;
/// `STAGES` in states_backward.cu and gradients_backward.cu, and two barriers for each.
const STAGES: usize = 3;
const BARRIERS: usize = 16 * STAGES;

/// A group's inputs and work space.
#[derive(Clone, Copy, Debug)]
pub(in crate::cuda) struct Chunks {
    pub(in crate::cuda) span: Span,
    /// The state before the first segment, f32, and elements from there to the next segment's.
    pub(in crate::cuda) saved: u64,
    pub(in crate::cuda) between_segments: u64,
    /// `[batch, heads, chunks, D, D]`, bf16 in blocks: states before the chunks, gradients by those after them.
    pub(in crate::cuda) before: u64,
    pub(in crate::cuda) after: u64,
    /// `[batch, heads, chunks, 64, D]`, bf16 in blocks: what each token writes.
    pub(in crate::cuda) news: u64,
}

/// Gradients from a group's first token on. `output` and `state` (by the state after the group; afterwards by that
/// before it) are given, the rest is to be written.
#[derive(Clone, Copy, Debug)]
pub(in crate::cuda) struct Gradients {
    pub(in crate::cuda) output: Rows,
    pub(in crate::cuda) q: Rows,
    pub(in crate::cuda) k: Rows,
    pub(in crate::cuda) v: Rows,
    pub(in crate::cuda) gates: u64,
    pub(in crate::cuda) strengths: u64,
    pub(in crate::cuda) state: u64,
}

/// `Arguments` in states_backward.cu.
#[repr(C)]
struct StatesArguments {
    records: u64,
    saved: u64,
    states: u64,
    news: u64,
    segment_stride: i64,
    chunks: c_int,
    segment: c_int,
}

/// `Arguments` in gradients_backward.cu.
#[repr(C)]
struct GradientsArguments {
    records: u64,
    d_state: u64,
    after: u64,
    chunks: c_int,
}

/// `Arguments` in rows_backward.cu.
#[repr(C)]
struct RowsArguments {
    records: u64,
    before: u64,
    after: u64,
    news: u64,
    log_gate: u64,
    beta: u64,
    d_gate: u64,
    d_beta: u64,
    tokens: c_int,
    chunks: c_int,
    scale: f32,
    epsilon: f32,
    normalise: c_int,
    erase: c_int,
}

fn states_shared(width: usize) -> u32 {
    (STAGES * (2 * width / 64 * TILE + FOR_STATE) + BARRIERS) as u32
}

fn gradients_shared(width: usize) -> u32 {
    (STAGES * ((2 * width / 64 + 1) * TILE + RECORD) + TILE + BARRIERS) as u32
}

/// Four tiles of rows, two states, `Vn`, both matrices of scores, coefficients and sums.
fn rows_shared(width: usize) -> u32 {
    let numbers = 5 * CHUNK + 8 * CHUNK + 8;
    (4 * width / 64 * TILE + 4 * width * width + 2 * CHUNK * width + 2 * TILE + FOR_STATE + 4 * numbers + 8)
        as u32
}

/// Blocks that walk a norm's rows, each with its part of the gradient by the weights: four for a multiprocessor.
pub(in crate::cuda) const PARTS: usize = 528;

/// Addresses of a norm's inputs, the gradient by its result and those to be written, and its sizes. `rows` are of
/// `width` numbers behind each other; `gate` and `by_gate` are 0 without an output gate.
#[derive(Clone, Copy, Debug)]
pub(in crate::cuda) struct Norm {
    pub(in crate::cuda) output: u64,
    /// `[width]`, f32, as `by_gamma`.
    pub(in crate::cuda) gamma: u64,
    pub(in crate::cuda) gate: u64,
    pub(in crate::cuda) gradient: u64,
    pub(in crate::cuda) by_output: u64,
    pub(in crate::cuda) by_gamma: u64,
    pub(in crate::cuda) by_gate: u64,
    /// `[PARTS, width]`, f32.
    pub(in crate::cuda) parts: u64,
    pub(in crate::cuda) rows: usize,
    pub(in crate::cuda) width: usize,
    pub(in crate::cuda) epsilon: f32,
}

impl Gpu {
    /// States before every chunk, and what each token writes, again.
    pub(in crate::cuda) fn states(&mut self, chunks: &Chunks) -> Result<(), CudaError> {
        let span = &chunks.span;
        let (k, v) = (tensor_map(span.k, span)?, tensor_map(span.v, span)?);
        let arguments = StatesArguments {
            records: span.records,
            saved: chunks.saved,
            states: chunks.before,
            news: chunks.news,
            segment_stride: chunks.between_segments as i64,
            chunks: span.chunks() as c_int,
            segment: (SEGMENT / CHUNK) as c_int,
        };
        let mut parameters = [parameter(&k), parameter(&v), parameter(&arguments)];
        let what = (Kernel::States, span.width, false, states_shared(span.width));
        let grid = [span.tokens.div_ceil(SEGMENT), span.heads, span.batch];
        let stream = self.stream.cu_stream();
        self.launch(
            what,
            grid,
            (span.width / 16 * 32 + 32) as u32,
            stream,
            &mut parameters,
        )
    }

    /// The gradient by the state, from the last chunk to the first, and with it that by v.
    pub(in crate::cuda) fn gradients(&mut self, chunks: &Chunks, by: &Gradients) -> Result<(), CudaError> {
        let span = &chunks.span;
        let maps = [
            tensor_map(span.q, span)?,
            tensor_map(span.k, span)?,
            tensor_map(by.output, span)?,
            tensor_map(by.v, span)?,
        ];
        let arguments = GradientsArguments {
            records: span.records,
            d_state: by.state,
            after: chunks.after,
            chunks: span.chunks() as c_int,
        };
        let [q, k, output, v] = maps.each_ref().map(parameter);
        let mut parameters = [q, k, output, v, parameter(&arguments)];
        let what = (Kernel::Gradients, span.width, false, gradients_shared(span.width));
        let (grid, stream) = ([span.width / 64, span.heads, span.batch], self.stream.cu_stream());
        self.launch(what, grid, 160, stream, &mut parameters)
    }

    /// Everything else, all chunks at once.
    pub(in crate::cuda) fn rows(
        &mut self,
        chunks: &Chunks,
        by: &Gradients,
        rule: DeltaRule,
    ) -> Result<(), CudaError> {
        let span = &chunks.span;
        let maps = [
            tensor_map(span.q, span)?,
            tensor_map(span.k, span)?,
            tensor_map(by.output, span)?,
            tensor_map(by.v, span)?,
            tensor_map(by.q, span)?,
            tensor_map(by.k, span)?,
        ];
        let arguments = RowsArguments {
            records: span.records,
            before: chunks.before,
            after: chunks.after,
            news: chunks.news,
            log_gate: span.gates.log_gate,
            beta: span.gates.beta,
            d_gate: by.gates,
            d_beta: by.strengths,
            tokens: span.tokens as c_int,
            chunks: span.chunks() as c_int,
            scale: rule.scale,
            epsilon: KEY_EPSILON,
            normalise: c_int::from(rule.normalise),
            erase: c_int::from(rule.erase),
        };
        let [q, k, output, v, by_q, by_k] = maps.each_ref().map(parameter);
        let mut parameters = [q, k, output, v, by_q, by_k, parameter(&arguments)];
        let what = (Kernel::Rows, span.width, false, rows_shared(span.width));
        let (grid, stream) = ([span.heads, span.chunks(), span.batch], self.stream.cu_stream());
        self.launch(what, grid, 256, stream, &mut parameters)
    }

    /// Gradients of a norm, and the sum of the blocks' parts.
    pub(in crate::cuda) fn norm_backward(&mut self, norm: &Norm) -> Result<(), CudaError> {
        let (rows, parts, stream) = (norm.rows as i64, PARTS as c_int, self.stream.cu_stream());
        let mut parameters = [
            parameter(&norm.output),
            parameter(&norm.gamma),
            parameter(&norm.gate),
            parameter(&norm.gradient),
            parameter(&norm.by_output),
            parameter(&norm.by_gate),
            parameter(&norm.parts),
            parameter(&rows),
            parameter(&norm.epsilon),
        ];
        let what = (Kernel::NormBackward, norm.width, false, 0);
        self.launch(what, [PARTS, 1, 1], 256, stream, &mut parameters)?;
        let mut parameters = [
            parameter(&norm.parts),
            parameter(&norm.by_gamma),
            parameter(&parts),
        ];
        let what = (Kernel::SumParts, norm.width, false, 0);
        self.launch(what, [norm.width, 1, 1], 256, stream, &mut parameters)
    }

    /// Writing strengths that the backward pass can divide by.
    pub(in crate::cuda) fn raise_strengths(
        &mut self,
        from: u64,
        to: u64,
        count: usize,
    ) -> Result<(), CudaError> {
        let number = count as i64;
        let mut parameters = [parameter(&from), parameter(&to), parameter(&number)];
        let (stream, blocks) = (self.stream.cu_stream(), count.div_ceil(256));
        self.launch(
            (Kernel::RaiseStrengths, 128, false, 0),
            [blocks, 1, 1],
            256,
            stream,
            &mut parameters,
        )
    }
}
