//! Gradients of the rule and of the norm, for sequences of one length.
//!
//! The forward pass keeps the state before every segment of a sequence and nothing else. The backward pass
//! takes groups of segments from the last to the first: [`Kernels::prepare`](super::Kernels::prepare) and
//! [`Kernels::states`](super::Kernels::states) make the records and the states of all its chunks again, every
//! segment at once; [`Kernels::state_gradients`](super::Kernels::state_gradients) carries the gradient with
//! respect to the state back chunk by chunk; [`Kernels::row_gradients`](super::Kernels::row_gradients) does
//! the rest for all chunks together.

mod gradients;
mod norm;
mod rows;
mod states;

pub use norm::{NORM_PARTS, NormGradients, RaisedStrengths};

use super::options::CHUNK;
use super::program::Kernel;
use super::span::Span;
use super::tensors::Rows;
use crate::device::Address;
use crate::error::Error;

pub(super) use norm::NORM_BACKWARD;

/// Heads that there are kernels for; a state of 256 x 256 and its gradient do not fit into shared memory.
pub(super) const WIDTHS: &[usize] = &[64, 128];

/// The kernels but for the norm's.
pub(super) static KERNELS: [&Kernel; 3] = [&states::STATES, &gradients::GRADIENTS, &rows::ROWS];

/// `HALF` in common.cuh in bytes: 64 tokens, 64 columns.
const TILE: usize = 8_192;
/// `sizeof(ForState)` in common.cuh.
const FOR_STATE: usize = 6_144 + 3 * 4 * CHUNK;
/// `STAGES` in states_backward.cu and gradients_backward.cu, and two barriers for each.
const STAGES: usize = 3;
const BARRIERS: usize = 16 * STAGES;

/// Text of a kernel's file behind what those of the backward pass share.
macro_rules! text {
    ($file:literal) => {
        concat!(
            include_str!("../../../kernels/backward.cuh"),
            "\n",
            include_str!(concat!("../../../kernels/", $file))
        )
    };
}
use text;

/// A group's inputs and work space.
#[derive(Clone, Copy, Debug)]
pub struct BackwardGroup {
    /// The group's tokens, of sequences of one length; gates are numbers. Output, states and norm are not used.
    pub span: Span,
    /// Tokens of a segment, a multiple of [`CHUNK`].
    pub segment: usize,
    /// State before the group's first segment, f32.
    pub saved: Address,
    /// Elements from the states before a segment to those before the next one.
    pub between_segments: usize,
    /// Work space `[count, heads, chunks, D, D]`, bf16 in blocks: states before the chunks.
    pub before: Address,
    /// Work space as `before`: gradients with respect to the states after the chunks.
    pub after: Address,
    /// Work space `[count, heads, chunks, 64, D]`, bf16 in blocks: what each token writes.
    pub news: Address,
}

/// Gradients from a group's first token on.
#[derive(Clone, Copy, Debug)]
pub struct GroupGradients {
    /// Gradient with respect to the output, given.
    pub output: Rows,
    /// Gradient with respect to the queries, written.
    pub q: Rows,
    /// Gradient with respect to the keys, written.
    pub k: Rows,
    /// Gradient with respect to the values, written.
    pub v: Rows,
    /// Gradient with respect to the log-gates `[rows, heads]`, f32, written.
    pub gates: Address,
    /// Gradient with respect to the strengths, as the gates, written.
    pub strengths: Address,
    /// Gradient with respect to the state after the group, given; afterwards that with respect to the state
    /// before it.
    pub state: Address,
}

/// Whether there are kernels for gradients of heads of this width.
pub fn serves_gradients(width: usize) -> bool {
    WIDTHS.contains(&width)
}

/// An error unless the kernels serve a span; its sequences otherwise.
fn check(span: &Span, launch: &'static str) -> Result<super::span::Equal, Error> {
    span.check()?;
    if !serves_gradients(span.width) || span.group != 1 {
        return Err(Error::Unsupported(format!(
            "{launch} of heads of {} numbers, {} to a head of queries and keys; the kernels take 64 or 128 numbers and one head",
            span.width, span.group
        )));
    }
    span.equal(launch)
}

#[cfg(test)]
mod tests {
    use super::super::span::Sequences;
    use super::super::span::tests::span;
    use super::*;

    #[test]
    fn heads_of_256_and_shared_heads_have_no_gradients() {
        let mut span = span(Sequences::Equal {
            count: 2,
            tokens: 100,
        });
        assert!(check(&span, "states").is_ok_and(|equal| equal.chunks() == 2));
        span.width = 256;
        assert!(check(&span, "states").is_err_and(|error| error.to_string().contains("64 or 128")));
        (span.width, span.group) = (64, 3);
        assert!(check(&span, "states").is_err_and(|error| error.to_string().contains("one head")));
    }
}
