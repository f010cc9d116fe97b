//! Gradients of the rule.
//!
//! The forward pass keeps the state before every segment and nothing else. The backward pass walks the groups of
//! [`groups`] from the last to the first: the states of all chunks of a group are made again, every segment of it
//! at once, then the gradient with respect to the state is carried back chunk by chunk, then the rest is done for all
//! chunks together. Only one group exists at a time, so the work space does not grow with the sequence: per head and
//! chunk two states in bf16, what each token writes and a record, 93 KiB for heads of 128.

#![allow(unsafe_code, reason = "enqueues launches; see Safety in `pass`")]

use super::group::{Group, groups};
use super::rule::{RulePass, RuleSizes, SEGMENT};
use crate::device::{Address, Stream};
use crate::error::Error;
use crate::rule::backward::{BackwardGroup, GroupGradients, RaisedStrengths};
use crate::rule::{CHUNK, Gates, Kernels, Rows, Sequences, Span, record_bytes};

const BF16: usize = size_of::<u16>();
const F32: usize = size_of::<f32>();

/// Bytes of each part of a backward pass's work space, in the order in which they lie in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WorkParts {
    records: usize,
    states: usize,
    news: usize,
    strengths: usize,
}

impl WorkParts {
    fn new(sizes: &RuleSizes) -> Self {
        let RuleSizes {
            batch,
            tokens,
            heads,
            width,
        } = *sizes;
        let chunks = groups(batch, tokens)
            .iter()
            .map(|group| group.sequences * group.tokens.div_ceil(CHUNK) * heads)
            .max()
            .unwrap_or_default();
        Self {
            records: record_bytes(1, chunks * CHUNK, 1).next_multiple_of(256),
            states: BF16 * chunks * width * width,
            news: BF16 * chunks * CHUNK * width,
            strengths: (F32 * batch * tokens * heads).next_multiple_of(256),
        }
    }

    fn bytes(&self) -> usize {
        self.records + 2 * self.states + self.news + self.strengths
    }
}

/// Bytes of work space of a backward pass.
pub fn gradient_work(sizes: &RuleSizes) -> usize {
    WorkParts::new(sizes).bytes()
}

/// A backward pass: the forward pass that it belongs to, whose `output`, `initial` and `last` are not read, and the
/// gradients.
#[derive(Clone, Copy, Debug)]
pub struct RuleGradients {
    /// The forward pass, with the states that it saved and [`gradient_work`] bytes of work space.
    pub forward: RulePass,
    /// Gradient with respect to the output, as the output, given.
    pub by_output: Rows,
    /// Gradient with respect to the last states, `[B, H, D, D]`, f32, given.
    pub by_last: Address,
    /// Gradient with respect to the queries, as these, written.
    pub by_q: Rows,
    /// Gradient with respect to the keys, as these, written.
    pub by_k: Rows,
    /// Gradient with respect to the values, as these, written.
    pub by_v: Rows,
    /// Gradient with respect to the log-gates `[B, N, H]`, f32, written.
    pub by_gates: Address,
    /// Gradient with respect to the strengths, as the log-gates, written.
    pub by_strengths: Address,
    /// Gradient with respect to the states before the first token, as `by_last`, written.
    pub by_initial: Address,
}

/// Addresses of the parts of the work space.
#[derive(Clone, Copy, Debug)]
struct Work {
    records: Address,
    before: Address,
    after: Address,
    news: Address,
    strengths: Address,
}

impl Work {
    fn new(sizes: &RuleSizes, address: Address) -> Self {
        let parts = WorkParts::new(sizes);
        let before = address.offset(parts.records);
        let after = before.offset(parts.states);
        let news = after.offset(parts.states);
        Self {
            records: address,
            before,
            after,
            news,
            strengths: news.offset(parts.news),
        }
    }
}

impl RuleGradients {
    /// Enqueues the pass.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: sizes that no kernel has; [`Error::Compile`] at the first call; [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::pass`].
    pub unsafe fn run(&self, kernels: &mut Kernels, stream: &Stream) -> Result<(), Error> {
        let RuleSizes {
            batch, tokens, heads, ..
        } = self.forward.sizes;
        let work = Work::new(&self.forward.sizes, self.forward.work);
        let strengths = RaisedStrengths {
            from: self.forward.strengths,
            to: work.strengths,
            count: batch * tokens * heads,
        };
        // SAFETY: the caller's promise; the parts of the work space are those of the largest group.
        unsafe {
            kernels.raise_strengths(stream, &strengths)?;
            stream.copy(self.by_initial, self.by_last, self.forward.sizes.state_bytes())?;
            for group in groups(batch, tokens) {
                let (given, gradients) = (self.group(group, &work), self.gradients(group));
                kernels.prepare(stream, &given.span, self.forward.options)?;
                kernels.states(stream, &given)?;
                kernels.state_gradients(stream, &given, &gradients)?;
                kernels.row_gradients(stream, &given, &gradients, self.forward.options)?;
            }
        }
        Ok(())
    }

    fn first_row(&self, group: Group) -> usize {
        group.sequence * self.forward.sizes.tokens + group.token
    }

    /// Numbers shaped as the gates, from the group's first token on.
    fn numbers(&self, address: Address, group: Group) -> Address {
        address.offset(self.first_row(group) * self.forward.sizes.heads * F32)
    }

    /// Bytes from the states of all sequences to that of the group's first.
    fn skipped_states(&self, group: Group) -> usize {
        group.sequence * (self.forward.sizes.state_bytes() / self.forward.sizes.batch)
    }

    fn group(&self, group: Group, work: &Work) -> BackwardGroup {
        let (forward, row) = (&self.forward, self.first_row(group));
        let states = forward.sizes.state_bytes();
        BackwardGroup {
            span: Span {
                sequences: Sequences::Equal {
                    count: group.sequences,
                    tokens: group.tokens,
                },
                gates: Gates::numbers(
                    self.numbers(forward.gates, group),
                    self.numbers(work.strengths, group),
                ),
                records: work.records,
                ..forward.span().rows_from(row)
            },
            segment: SEGMENT,
            saved: forward
                .saved
                .offset(group.token / SEGMENT * states + self.skipped_states(group)),
            between_segments: states / F32,
            before: work.before,
            after: work.after,
            news: work.news,
        }
    }

    fn gradients(&self, group: Group) -> GroupGradients {
        let row = self.first_row(group);
        GroupGradients {
            output: self.by_output.rows_from(row),
            q: self.by_q.rows_from(row),
            k: self.by_k.rows_from(row),
            v: self.by_v.rows_from(row),
            gates: self.numbers(self.by_gates, group),
            strengths: self.numbers(self.by_strengths, group),
            state: self.by_initial.offset(self.skipped_states(group)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_work_space_lie_behind_each_other() {
        let sizes = RuleSizes {
            batch: 2,
            tokens: 300,
            heads: 3,
            width: 64,
        };
        let (parts, work) = (WorkParts::new(&sizes), Work::new(&sizes, Address::new(4_096)));
        assert_eq!(
            work.strengths.get() + parts.strengths as u64,
            4_096 + parts.bytes() as u64
        );
        assert_eq!(work.after.get() - work.before.get(), parts.states as u64);
        assert_eq!(parts.states, 2 * 2 * 5 * 3 * 64 * 64);
        let aligned = [work.before, work.after, work.news, work.strengths];
        assert!(aligned.iter().all(|address| address.is_aligned(256)));
        assert_eq!(gradient_work(&sizes), parts.bytes());
    }
}
