//! The next token of every row, drawn on the device, and what the host wants to know about it.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `transformer`")]

use std::ffi::c_int;

use super::program::{Kernel, TransformerKernels, Variant};
use crate::device::memory_seal::Sealed;
use crate::device::{Address, Launch, Number, Parameter, Stream};
use crate::error::Error;

pub(super) static SAMPLE: Kernel = Kernel {
    file: "transformer/sample.cu",
    text: include_str!("../../kernels/transformer/sample.cu"),
    entry: c"sample",
};

/// Most candidates of a row.
pub const CANDIDATES: usize = 64;

/// Threads of a block.
const THREADS: usize = 1024;
/// Blocks of a cluster, which share a row.
const CLUSTER: usize = 8;
/// Logits that a block keeps in shared memory; a row of more than eight times as many is refused.
const SLICE: usize = 40 << 10;

/// How a row's next token is drawn. `Draw` in sample.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Draw {
    /// Temperature; 0 takes the largest logit, of equal ones the first.
    pub temperature: f32,
    /// Share of the probability that the most likely tokens must have together, the rest is not drawn; 1 for all.
    pub top_p: f32,
    /// Least probability of a token as a share of the largest; 0 for all.
    pub min_p: f32,
    /// Most likely tokens that may be drawn; 0 for all.
    pub top_k: u32,
    /// Seed of the random numbers, low word.
    pub seed_low: u32,
    /// Seed of the random numbers, high word.
    pub seed_high: u32,
    /// Number of the draw under its seed: the place of the token in its answer.
    pub counter: u32,
    /// Row of the masks that says which tokens are allowed; below 0: all.
    pub mask: i32,
    /// First of the row's penalties.
    pub first_penalty: u32,
    /// Number of the row's penalties.
    pub penalties: u32,
}

/// A change of a token's logit before it is drawn: `(logit > 0 ? logit / divide : logit * divide) - subtract`.
/// `Penalty` in sample.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Penalty {
    /// The token, at most once a row.
    pub token: u32,
    /// Repetition penalty; 1 for none.
    pub divide: f32,
    /// Presence and frequency penalties, and the negative of a bias.
    pub subtract: f32,
}

/// What was drawn for a row. `Sample` in sample.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// The token. `u32::MAX` if no token was allowed.
    pub token: u32,
    /// Logarithm of its probability by the logits as they were given: without mask, penalties, temperature.
    pub log_probability: f32,
    /// Tokens whose logits as given are larger.
    pub rank: u32,
    /// Logarithm of the sum of the exponentials of the logits as given.
    pub log_sum: f32,
}

/// One of the most likely tokens by the logits as given. `Candidate` in sample.cu.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// Logarithm of its probability.
    pub log_probability: f32,
}

macro_rules! records {
    ($($record:ty)*) => {
        $(
            // Words of 32 bits each, without gaps.
            impl Sealed for $record {}
            impl Number for $record {}
        )*
    };
}

records! { Draw Penalty Sample Candidate }

/// Rows of logits to be drawn from.
#[derive(Clone, Copy, Debug)]
pub struct SampleRows {
    /// Address of the logits `[rows, stride]`, f32.
    pub logits: Address,
    /// Elements between rows of the logits, a multiple of 4.
    pub stride: usize,
    /// Tokens of the vocabulary, at most 327,680.
    pub vocabulary: usize,
    /// Number of rows.
    pub rows: usize,
    /// Address of the rows' [`Draw`]s.
    pub draws: Address,
    /// Address of masks, `vocabulary / 32` words each, rounded up: bit `t % 32` of word `t / 32` allows token `t`. Null
    /// if no row has one.
    pub masks: Address,
    /// Address of the [`Penalty`]s of all rows; null if there are none.
    pub penalties: Address,
    /// Candidates of a row, at most [`CANDIDATES`]; 0 for none.
    pub candidates: usize,
    /// Address of the tokens `[rows]`, u32, written: what the next step embeds.
    pub tokens: Address,
    /// Address of the rows' [`Sample`]s, written.
    pub samples: Address,
    /// Address of the [`Candidate`]s `[rows, candidates]`, the most likely first, written; null for none.
    pub best: Address,
}

pub(super) fn variant() -> Variant {
    Variant::new(&[
        ("RUST_THREADS", THREADS),
        ("RUST_CLUSTER", CLUSTER),
        ("RUST_CANDIDATES", CANDIDATES),
        ("RUST_SLICE", SLICE),
        ("SIZEOF_DRAW", size_of::<Draw>()),
        ("SIZEOF_PENALTY", size_of::<Penalty>()),
        ("SIZEOF_SAMPLE", size_of::<Sample>()),
        ("SIZEOF_CANDIDATE", size_of::<Candidate>()),
        ("SIZEOF_ARGUMENTS", size_of::<Arguments>()),
    ])
    .with_shared(size_of::<f32>() * SLICE)
}

/// `Arguments` in sample.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    logits: Address,
    stride: i64,
    draws: Address,
    masks: Address,
    penalties: Address,
    tokens: Address,
    samples: Address,
    best: Address,
    vocabulary: c_int,
    candidates: c_int,
}

impl TransformerKernels {
    /// Enqueues drawing a token for every row: mask, penalties, temperature, `top_k`, `min_p`, then `top_p` of what is
    /// left. The same seed, counter and logits give the same token, whatever the other rows.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: sizes that no kernel has; [`Error::Compile`] at the first call; [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::transformer`]; tokens and masks of the records are those of the vocabulary and of `masks`.
    /// Written are `tokens`, `samples` and `best`.
    pub unsafe fn sample(&mut self, stream: &Stream, rows: &SampleRows) -> Result<(), Error> {
        let SampleRows {
            vocabulary,
            stride,
            candidates,
            ..
        } = *rows;
        if vocabulary == 0
            || vocabulary > CLUSTER * SLICE
            || candidates > CANDIDATES
            || !stride.is_multiple_of(4)
        {
            return Err(Error::Unsupported(format!(
                "{candidates} candidates of {vocabulary} tokens, rows {stride} apart; it takes at most {CANDIDATES} of \
                 {}, rows a multiple of 4 apart",
                CLUSTER * SLICE
            )));
        }
        if rows.rows == 0 {
            return Ok(());
        }
        let arguments = Arguments {
            logits: rows.logits,
            stride: stride as i64,
            draws: rows.draws,
            masks: rows.masks,
            penalties: rows.penalties,
            tokens: rows.tokens,
            samples: rows.samples,
            best: rows.best,
            vocabulary: vocabulary as c_int,
            candidates: candidates as c_int,
        };
        let variant = variant();
        let launch = Launch {
            // As many logits as a block of this vocabulary has.
            shared: (size_of::<f32>() * vocabulary.div_ceil(CLUSTER)) as u32,
            ..Launch::new(
                self.get(&SAMPLE, variant)?,
                [CLUSTER, rows.rows, 1],
                THREADS as u32,
            )
        };
        // SAFETY: the parameter is that of `sample`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &[Parameter::new(&arguments)]) }
    }
}
