//! The rule over sequences of one length.

#![allow(unsafe_code, reason = "enqueues launches; see Safety in `pass`")]

use crate::device::{Address, Stream};
use crate::error::Error;
use crate::rule::{CHUNK, Gates, Kernels, Rows, RuleOptions, Sequences, Span, record_bytes};

/// Tokens between the states that a forward pass saves for its gradients.
pub const SEGMENT: usize = 32 * CHUNK;

/// Bytes of a number of a state, a gate or a strength.
const F32: usize = size_of::<f32>();

/// How many segments so many tokens make.
pub fn segments(tokens: usize) -> usize {
    tokens.div_ceil(SEGMENT)
}

/// Sizes of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleSizes {
    /// Number of sequences.
    pub batch: usize,
    /// Tokens of each.
    pub tokens: usize,
    /// Heads of the state.
    pub heads: usize,
    /// Numbers of a head's keys and values.
    pub width: usize,
}

impl RuleSizes {
    /// Bytes of the states of all sequences.
    pub(super) fn state_bytes(&self) -> usize {
        self.batch * self.heads * self.width * self.width * F32
    }
}

/// Bytes of work space of a forward pass; with `saved`, of one that saves states for gradients.
pub fn rule_work(sizes: &RuleSizes, saved: bool) -> usize {
    match (sizes.tokens, saved) {
        (1, false) => 0,
        (tokens, true) => record_bytes(1, tokens.min(SEGMENT), sizes.heads),
        (tokens, false) => record_bytes(sizes.batch, tokens, sizes.heads),
    }
}

/// What the rule reads and writes. Rows of all sequences lie behind each other.
#[derive(Clone, Copy, Debug)]
pub struct RulePass {
    /// How many sequences, tokens and heads there are.
    pub sizes: RuleSizes,
    /// Queries `[B, N, H, D]`, bf16.
    pub q: Rows,
    /// Keys, as the queries.
    pub k: Rows,
    /// Values, as the queries.
    pub v: Rows,
    /// Log-gates `[B, N, H]`, f32.
    pub gates: Address,
    /// Strengths, as the log-gates.
    pub strengths: Address,
    /// States before the first token `[B, H, D, D]`, f32.
    pub initial: Address,
    /// Output, as the queries, written.
    pub output: Rows,
    /// States after the last token, as `initial`, written.
    pub last: Address,
    /// States before every segment, `[segments, B, H, D, D]`, f32, written; null if no gradients are wanted.
    pub saved: Address,
    /// Work space of [`rule_work`] bytes.
    pub work: Address,
    /// How the rule is applied.
    pub options: RuleOptions,
}

impl RulePass {
    /// Enqueues the pass.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: sizes that no kernel has; [`Error::Compile`] at the first call; [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::pass`].
    pub unsafe fn run(&self, kernels: &mut Kernels, stream: &Stream) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe {
            if !self.saved.is_null() {
                return self.run_saving(kernels, stream);
            }
            if self.sizes.tokens == 1 {
                return kernels.step(stream, &self.span(), None, self.options, false);
            }
            self.chunks(kernels, stream, &self.span())
        }
    }

    /// # Safety
    /// As [`Self::run`].
    unsafe fn chunks(&self, kernels: &mut Kernels, stream: &Stream, span: &Span) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe {
            kernels.prepare(stream, span, self.options)?;
            kernels.scan(stream, span, self.options.precise)
        }
    }

    /// Sequence by sequence, since a segment of several is not one span of rows, and segment by segment.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn run_saving(&self, kernels: &mut Kernels, stream: &Stream) -> Result<(), Error> {
        let RuleSizes { batch, tokens, .. } = self.sizes;
        let all = self.sizes.state_bytes();
        // SAFETY: both hold the states of all sequences.
        unsafe { stream.copy(self.saved, self.initial, all)? };
        for sequence in 0..batch {
            let skipped = sequence * (all / batch);
            let whole = self.span().rows_from(sequence * tokens);
            for (number, first) in (0..tokens).step_by(SEGMENT).enumerate() {
                let initial = self.saved.offset(number * all + skipped);
                let is_last = first + SEGMENT >= tokens;
                let span = Span {
                    sequences: Sequences::Equal {
                        count: 1,
                        tokens: SEGMENT.min(tokens - first),
                    },
                    initial,
                    last: if is_last {
                        self.last.offset(skipped)
                    } else {
                        initial.offset(all)
                    },
                    ..whole.rows_from(first)
                };
                // SAFETY: the caller's promise; the work space is that of the longest segment.
                unsafe { self.chunks(kernels, stream, &span)? };
            }
        }
        Ok(())
    }

    /// All sequences.
    pub(super) fn span(&self) -> Span {
        Span {
            sequences: Sequences::Equal {
                count: self.sizes.batch,
                tokens: self.sizes.tokens,
            },
            heads: self.sizes.heads,
            width: self.sizes.width,
            group: 1,
            q: self.q,
            k: self.k,
            v: self.v,
            output: self.output,
            gates: Gates::numbers(self.gates, self.strengths),
            records: self.work,
            initial: self.initial,
            last: self.last,
            norm: None,
            gate: Rows::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_that_saves_states_works_on_one_segment_of_one_sequence() {
        let sizes = |batch, tokens| RuleSizes {
            batch,
            tokens,
            heads: 3,
            width: 64,
        };
        assert_eq!(rule_work(&sizes(2, 1), false), 0);
        assert_eq!(rule_work(&sizes(2, 65), false), record_bytes(2, 65, 3));
        assert_eq!(rule_work(&sizes(2, 5_000), true), record_bytes(1, SEGMENT, 3));
        assert_eq!(rule_work(&sizes(2, 1), true), record_bytes(1, 1, 3));
        assert_eq!((segments(1), segments(SEGMENT), segments(SEGMENT + 1)), (1, 1, 2));
    }
}
