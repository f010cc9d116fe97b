//! The short convolution of queries, keys and values: over the tokens of a span in kernels of its own, over a
//! single token inside the step.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `rule`")]

use std::ffi::c_int;
use std::ops::RangeInclusive;

use super::options::CHUNK;
use super::program::{Kernel, Kernels, Variant};
use super::span::Sequences;
use super::tensors::Rows;
use crate::device::{Address, Launch, Parameter, Stream};
use crate::error::Error;

/// Widths of convolutions that there are kernels for.
pub const CONVOLUTION_WIDTHS: RangeInclusive<usize> = 2..=WIDEST;
/// `WIDEST` in step.cu.
pub(super) const WIDEST: usize = 8;

/// Threads of a block.
const THREADS: u32 = 128;
/// Channels of a block: eight of each thread.
const CHANNELS: usize = 1_024;
/// Tokens of a thread.
const RUN: usize = 16;

pub(super) static CONVOLVE: Kernel = Kernel {
    file: "convolve.cu",
    text: include_str!("../../kernels/convolve.cu"),
    entry: c"convolve",
    sizes,
    shared: |_| 0,
};

pub(super) static KEEP_TAIL: Kernel = Kernel {
    file: "convolve.cu",
    text: include_str!("../../kernels/convolve.cu"),
    entry: c"keep_tail",
    sizes,
    shared: |_| 0,
};

fn sizes(_ragged: bool) -> Vec<(&'static str, usize)> {
    vec![
        ("RUST_THREADS", THREADS as usize),
        ("RUST_CHANNELS", CHANNELS),
        ("RUST_RUN", RUN),
    ]
}

/// A short convolution over the channels of queries, keys and values, which lie side by side in this order.
/// Numbers are bf16.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    /// Weights `[channels, width]`.
    pub weight: Address,
    /// The tokens before the first, `[count, width - 1, channels]`, or a pool of slots of ragged sequences.
    pub tail: Address,
    /// The tokens before the next one, written, as `tail`. It may be `tail` but for a step of sequences of
    /// one length.
    pub last: Address,
    /// Tokens that the convolution sees: one of [`CONVOLUTION_WIDTHS`].
    pub width: usize,
    /// Channels, a multiple of 8.
    pub channels: usize,
}

/// `Convolution` in step.cu.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct ConvolutionArguments {
    weight: Address,
    tail: Address,
    last: Address,
    width: c_int,
    channels: c_int,
}

impl ConvolutionArguments {
    /// The convolution as the step takes it; all nothing without one.
    pub(super) fn of(convolution: Option<&Convolution>) -> Self {
        convolution.map_or(
            Self {
                weight: Address::NULL,
                tail: Address::NULL,
                last: Address::NULL,
                width: 0,
                channels: 0,
            },
            |convolution| Self {
                weight: convolution.weight,
                tail: convolution.tail,
                last: convolution.last,
                width: convolution.width as c_int,
                channels: convolution.channels as c_int,
            },
        )
    }
}

impl Convolution {
    /// An error unless there are kernels for the convolution, and room for what it keeps of these sequences.
    pub(super) fn check(&self, sequences: &Sequences) -> Result<(), Error> {
        if CONVOLUTION_WIDTHS.contains(&self.width) && self.channels.is_multiple_of(8) {
            return match sequences {
                Sequences::Equal { .. } => Ok(()),
                Sequences::Ragged(tables) => tables.check_tails((self.width - 1) * self.channels),
            };
        }
        Err(Error::Unsupported(format!(
            "a convolution of {} tokens over {} channels; the kernels take 2 to {WIDEST} tokens and a multiple of 8 channels",
            self.width, self.channels
        )))
    }
}

/// Rows to be convolved.
#[derive(Clone, Copy, Debug)]
pub struct ConvolvedRows {
    /// How many sequences and tokens there are.
    pub sequences: Sequences,
    /// Rows `[rows, channels]` to read.
    pub from: Rows,
    /// Rows `[rows, channels]` to write, one directly behind the other.
    pub to: Address,
    /// Tokens of each sequence before its padding, `[count]`, f32; null without padding, and of ragged
    /// sequences.
    pub lengths: Address,
    /// Number of the span's first token in its sequence, where there is padding.
    pub first: usize,
}

impl ConvolvedRows {
    /// Tokens of a sequence, or of all ragged ones.
    fn tokens(&self) -> usize {
        match self.sequences {
            Sequences::Equal { tokens, .. } => tokens,
            Sequences::Ragged(tables) => tables.tokens,
        }
    }

    fn variant(&self, convolution: &Convolution) -> Variant {
        Variant {
            ragged: matches!(self.sequences, Sequences::Ragged(_)),
            ..Variant::of(convolution.width)
        }
    }
}

impl Kernels {
    /// Enqueues the convolution of a span, and then keeping its last tokens, those before the padding, for
    /// the next one.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: sizes that no kernel has; [`Error::Compile`] at the first call;
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::rule`]. Written are `to` and `last`; read are `from`, `weight`, `tail`, `lengths` and
    /// ragged tables.
    pub unsafe fn convolve(
        &mut self,
        stream: &Stream,
        rows: &ConvolvedRows,
        convolution: &Convolution,
    ) -> Result<(), Error> {
        convolution.check(&rows.sequences)?;
        if rows.sequences.count() == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise; the tail is kept when all rows were read, in the order of the stream.
        unsafe {
            self.convolve_rows(stream, rows, convolution)?;
            self.keep_tail(stream, rows, convolution)
        }
    }

    /// # Safety
    /// As [`Self::convolve`].
    unsafe fn convolve_rows(
        &mut self,
        stream: &Stream,
        rows: &ConvolvedRows,
        convolution: &Convolution,
    ) -> Result<(), Error> {
        let blocks = convolution.channels.div_ceil(CHANNELS);
        let (stride, channels) = (rows.from.stride as i64, convolution.channels as c_int);
        let tokens = rows.tokens() as c_int;
        let (grid, tables) = match rows.sequences {
            Sequences::Equal { count, tokens } => ([blocks, tokens.div_ceil(RUN), count], None),
            Sequences::Ragged(tables) => {
                let runs = tables.chunks * (CHUNK / RUN);
                ([blocks, runs, 1], Some(tables.arguments()))
            }
        };
        if grid.contains(&0) {
            return Ok(());
        }
        let mut parameters = vec![
            Parameter::new(&rows.from.address),
            Parameter::new(&stride),
            Parameter::new(&rows.to),
            Parameter::new(&convolution.weight),
            Parameter::new(&convolution.tail),
            Parameter::new(&tokens),
            Parameter::new(&channels),
        ];
        parameters.extend(tables.as_ref().map(Parameter::new));
        let function = self.get(&CONVOLVE, rows.variant(convolution))?;
        // SAFETY: the parameters are those of `convolve` in this variant; addresses are the caller's promise.
        unsafe { Launch::new(function, grid, THREADS).enqueue(stream, &parameters) }
    }

    /// # Safety
    /// As [`Self::convolve`].
    unsafe fn keep_tail(
        &mut self,
        stream: &Stream,
        rows: &ConvolvedRows,
        convolution: &Convolution,
    ) -> Result<(), Error> {
        let (stride, channels) = (rows.from.stride as i64, convolution.channels as c_int);
        let (tokens, first) = (rows.tokens() as c_int, rows.first as c_int);
        let tables = match rows.sequences {
            Sequences::Equal { .. } => None,
            Sequences::Ragged(tables) => Some(tables.arguments()),
        };
        let mut parameters = vec![
            Parameter::new(&rows.from.address),
            Parameter::new(&stride),
            Parameter::new(&convolution.tail),
            Parameter::new(&convolution.last),
        ];
        match &tables {
            Some(tables) => parameters.extend([Parameter::new(&channels), Parameter::new(tables)]),
            None => parameters.extend([
                Parameter::new(&rows.lengths),
                Parameter::new(&first),
                Parameter::new(&tokens),
                Parameter::new(&channels),
            ]),
        }
        let blocks = convolution.channels.div_ceil(CHANNELS);
        let function = self.get(&KEEP_TAIL, rows.variant(convolution))?;
        let launch = Launch::new(function, [blocks, rows.sequences.count(), 1], THREADS);
        // SAFETY: the parameters are those of `keep_tail` in this variant; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolutions_that_no_kernel_has_are_refused() {
        let sequences = Sequences::Equal { count: 1, tokens: 1 };
        let convolution = |width, channels| {
            Convolution {
                weight: Address::new(16),
                tail: Address::new(32),
                last: Address::new(48),
                width,
                channels,
            }
            .check(&sequences)
        };
        assert!(convolution(2, 8).is_ok() && convolution(4, 8_192).is_ok() && convolution(8, 24).is_ok());
        for (width, channels) in [(1, 8), (9, 8), (4, 12)] {
            let text = convolution(width, channels).map_err(|error| error.to_string());
            assert!(
                text.as_ref().is_err_and(|text| text.contains("2 to 8 tokens")),
                "{text:?}"
            );
        }
    }
}
