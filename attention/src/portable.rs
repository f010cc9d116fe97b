//! The gated delta rule in burn's own tensor operations: the path of every device without kernels of ours, and
//! what those kernels are compared with.
//!
//! A sequence is cut into segments of [`SEGMENT`] tokens, which are worked off one after the other, so that the
//! memory beyond inputs and output does not grow with the sequence. Within a segment every chunk of
//! [`CHUNK`] tokens is prepared at once (`chunk`); only the pass of the state from chunk to chunk is a loop
//! (`scan`). One token takes the recurrence as it is written (`step`).
//!
//! All arithmetic is f32, also for bf16 inputs.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;

use crate::core::{CHUNK, DeltaGradients, DeltaInputs, DeltaOutput, DeltaRule, DeltaTraining};
use tensor::T;

mod backward;
mod chunk;
mod norm;
mod scan;
mod solve;
mod step;
mod tensor;
#[cfg(test)]
mod tests;

pub(crate) use norm::{gated_head_norm_backward, head_norm, head_norm_backward};

/// Number of tokens in a segment: a compromise between memory (some 60 KiB a token and head of 128) and the number of
/// operations.
pub const SEGMENT: usize = 32 * CHUNK;

/// Returns how many segments `tokens` make.
pub fn segments(tokens: usize) -> usize {
    tokens.div_ceil(SEGMENT)
}

/// Implements [`crate::core::LiquidBackend::gated_delta`] for any backend.
pub fn forward<B: Backend>(inputs: DeltaInputs<B>, rule: DeltaRule) -> DeltaOutput<B> {
    let (output, state, _) = run(inputs, rule, false);
    DeltaOutput { output, state }
}

/// Implements [`crate::core::LiquidBackend::gated_delta_training`] for any backend.
pub fn forward_saving<B: Backend>(inputs: DeltaInputs<B>, rule: DeltaRule) -> DeltaTraining<B> {
    let [batch, heads, dk, dv] = T::<B>(inputs.state.clone()).dims();
    let (output, state, before) = run(inputs, rule, true);
    let before = before
        .into_iter()
        .map(|state| state.reshape([1, batch, heads, dk, dv]))
        .collect();
    DeltaTraining {
        output,
        state,
        saved: T::cat(before, 0).0,
    }
}

/// Implements [`crate::core::LiquidBackend::gated_delta_backward`] for any backend; `saved` is that of
/// [`forward_saving`].
pub fn backward<B: Backend>(
    inputs: DeltaInputs<B>,
    saved: FloatTensor<B>,
    d_output: FloatTensor<B>,
    d_state: FloatTensor<B>,
    rule: DeltaRule,
) -> DeltaGradients<B> {
    backward::run(
        &CallInputs::new(inputs),
        T(saved),
        T(d_output),
        T::wide(d_state),
        rule,
    )
}

/// Computes the output, the last state, and the state before each segment if that is wanted.
fn run<B: Backend>(
    inputs: DeltaInputs<B>,
    rule: DeltaRule,
    keep: bool,
) -> (FloatTensor<B>, FloatTensor<B>, Vec<T<B>>) {
    let whole = CallInputs::new(inputs);
    let [batch, heads, dk, dv] = whole.state.dims();
    let mut state = whole.state.clone().reshape([batch * heads, dk, dv]);
    let mut before = Vec::new();
    let mut outputs = Vec::new();
    for index in 0..segments(whole.tokens()) {
        if keep {
            before.push(state.clone());
        }
        let segment = whole.segment(index);
        let length = segment.tokens;
        let output = match length {
            1 => {
                let (output, next) = step::run(segment, state, rule);
                state = next;
                output
            }
            _ => {
                let chunks = chunk::prepare(segment, rule);
                let (passed, next) = scan::run(&chunks, state);
                state = next;
                scan::output(&chunks, &passed)
            }
        };
        outputs.push(whole.to_tokens(output, length).cast(whole.dtype));
    }
    let state = state.reshape([batch, heads, dk, dv]);
    (T::cat(outputs, 1).0, state.0, before)
}

/// The inputs of a call, in f32 but for the rows.
struct CallInputs<B: Backend> {
    q: T<B>,
    k: T<B>,
    v: T<B>,
    g: T<B>,
    beta: T<B>,
    state: T<B>,
    dtype: DType,
}

/// Consecutive tokens, with one row of the first dimension a sequence and head: `[G, n, ..]`, f32.
struct Segment<B: Backend> {
    q: T<B>,
    k: T<B>,
    v: T<B>,
    /// `[G, n]`.
    g: T<B>,
    /// `[G, n]`.
    beta: T<B>,
    tokens: usize,
}

impl<B: Backend> CallInputs<B> {
    fn new(inputs: DeltaInputs<B>) -> Self {
        let v = T(inputs.v);
        Self {
            q: T(inputs.q),
            k: T(inputs.k),
            dtype: v.dtype(),
            v,
            g: T::wide(inputs.g),
            beta: T::wide(inputs.beta),
            state: T::wide(inputs.state),
        }
    }

    fn tokens(&self) -> usize {
        self.q.dims::<4>()[1]
    }

    /// Returns the first token and the length of a segment.
    fn range(&self, index: usize) -> (usize, usize) {
        let start = index * SEGMENT;
        (start, SEGMENT.min(self.tokens() - start))
    }

    fn segment(&self, index: usize) -> Segment<B> {
        let (start, tokens) = self.range(index);
        let rows = |t: &T<B>| to_rows(t.clone().narrow(1, start, tokens));
        let numbers = |t: &T<B>| {
            let [batch, _, heads] = t.dims();
            t.clone()
                .narrow(1, start, tokens)
                .permute(&[0, 2, 1])
                .reshape([batch * heads, tokens])
        };
        Segment {
            q: rows(&self.q),
            k: rows(&self.k),
            v: rows(&self.v),
            g: numbers(&self.g),
            beta: numbers(&self.beta),
            tokens,
        }
    }

    /// Reshapes `[G, .., D]` back to `[B, tokens, H, D]`, without what was added to fill the last chunk.
    fn to_tokens(&self, rows: T<B>, tokens: usize) -> T<B> {
        let [batch, heads, ..] = self.state.dims::<4>();
        let shape = rows.shape();
        let width = shape[shape.len() - 1];
        let padded = shape.iter().product::<usize>() / (batch * heads * width);
        rows.reshape([batch, heads, padded, width])
            .narrow(2, 0, tokens)
            .permute(&[0, 2, 1, 3])
    }
}

/// Reshapes `[B, n, H, D]` to `[B * H, n, D]`, in f32.
fn to_rows<B: Backend>(tensor: T<B>) -> T<B> {
    let [batch, tokens, heads, width] = tensor.dims();
    tensor
        .cast(DType::F32)
        .permute(&[0, 2, 1, 3])
        .reshape([batch * heads, tokens, width])
}
