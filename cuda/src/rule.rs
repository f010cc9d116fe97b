//! The gated delta rule on one GPU of the Hopper generation (H100, H200): launches of the kernels in
//! `cuda/kernels`.
//!
//! For every sequence and head, with row vectors `q_t, k_t, v_t` of `D` numbers, a log-gate `g_t <= 0`, a
//! strength `b_t` in `[0, 1]` and a state `S` of `D x D`:
//!
//! ```text
//! S_t = exp(g_t) S_(t-1) + b_t k_t^T (v_t - k_t exp(g_t) S_(t-1))
//! o_t = scale * q_t S_t
//! ```
//!
//! | launch | what |
//! |---|---|
//! | [`Kernels::convolve`] | the short convolution before queries, keys and values |
//! | [`Kernels::prepare`] | everything of a span that does not depend on the state |
//! | [`Kernels::scan`] | the recurrence over a prepared span, and the norm of its output |
//! | [`Kernels::step`] | one token of every sequence, all of the above at once |
//! | [`Kernels::norm`] | norm and output gate, where the scan does not do it |
//! | [`Kernels::project`] | products of few rows: the projections of a step |
//! | [`backward`] | gradients |
//!
//! # Sequences and states
//!
//! Sequences of a [`Span`] are either all of one length, with their states behind each other, or [`ragged`]: of
//! any lengths, with their rows behind each other, each with the slot of a pool in which its state lies, the
//! slot to which the new state goes (the same or another), and, if wanted, a slot for the state in the middle of
//! the pass. Kernels of ragged sequences are variants compiled apart; those of one length do not pay for them.
//!
//! # Safety
//! Every launch is `unsafe`. Who enqueues it promises what [`crate::device`] says: every address of the span,
//! the convolution, the matrices and the tables is null where that is allowed, or device memory of the
//! stream's context with the extent that its field says, which stays allocated until the stream has passed;
//! what is written overlaps nothing else that is read or written, except where a field says that it may; and
//! the content of ragged tables is what [`ragged::RaggedPlan`] wrote.

pub mod backward;
mod columns;
mod convolve;
mod map;
mod norm;
mod options;
mod prepare;
mod program;
mod project;
pub mod ragged;
mod scan;
mod sources;
mod span;
mod step;
mod tensors;

pub use columns::Columns;
pub use convolve::{CONVOLUTION_WIDTHS, Convolution, ConvolvedRows};
pub use norm::NormRows;
pub use options::{CHUNK, RuleOptions, serves};
pub use program::Kernels;
pub use project::{SKINNY_MATRICES, SKINNY_ROWS, SkinnyInput, SkinnyProduct};
pub use sources::kernel_sources;
pub use span::{Sequences, Span, record_bytes};
pub use step::MOST_SHARERS;
pub use tensors::{GateProducts, Gates, HeadNorm, Rows, SmallParameter};
