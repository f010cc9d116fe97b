//! `silu(gate) * up`, and rows as FP8.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `transformer`")]

use std::ffi::c_int;

use super::norm::{NormedRows, check_width};
use super::program::{Kernel, TransformerKernels, Variant};
use crate::device::{Address, Launch, Parameter, Stream};
use crate::error::Error;
use crate::rows::Rows;

pub(super) static SWIGLU: Kernel = Kernel {
    file: "transformer/activation.cu",
    text: include_str!("../../kernels/transformer/activation.cu"),
    entry: c"swiglu",
};
pub(super) static QUANTISE: Kernel = Kernel {
    entry: c"quantise_rows",
    ..SWIGLU
};

/// Threads of a block, which works on one row or a part of it.
const THREADS: u32 = 256;
/// Numbers that a thread takes at once.
const COLUMNS: usize = 8;

/// Rows of FP8 (E4M3), each with a scale: a number is its code times the scale of its row.
#[derive(Clone, Copy, Debug)]
pub struct QuantisedRows {
    /// Codes `[rows, width]`, a byte each; the stride counts bytes and is a multiple of 16.
    pub codes: Rows,
    /// Address of the scales `[rows]`, f32.
    pub scales: Address,
}

/// Products of a gated feed-forward layer.
#[derive(Clone, Copy, Debug)]
pub struct SwiGlu {
    /// Products `[rows, 2 * width]` of bf16: gates first, then what they scale.
    pub gate_up: Rows,
    /// Number of rows.
    pub rows: usize,
    /// Numbers of a gate, a multiple of 8.
    pub width: usize,
    /// `silu(gate) * up`, `[rows, width]`, written.
    pub to: NormedRows,
    /// Whether the kernel may be placed while the kernel before runs.
    pub early: bool,
}

/// Rows to be written as FP8.
#[derive(Clone, Copy, Debug)]
pub struct Quantise {
    /// Rows `[rows, width]` of bf16.
    pub x: Rows,
    /// Number of rows.
    pub rows: usize,
    /// Numbers of a row, a multiple of 8.
    pub width: usize,
    /// The rows as FP8, written.
    pub to: QuantisedRows,
    /// Whether the kernel may be placed while the kernel before runs.
    pub early: bool,
}

pub(super) fn variant(fp8: bool) -> Variant {
    Variant::new(&[("FP8", usize::from(fp8)), ("RUST_THREADS", THREADS as usize)])
}

impl TransformerKernels {
    /// Enqueues `silu(gate) * up`.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: a width that is no multiple of 8; [`Error::Compile`] at the first call;
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::transformer`]. Written is `to`.
    pub unsafe fn swiglu(&mut self, stream: &Stream, swiglu: &SwiGlu) -> Result<(), Error> {
        let SwiGlu {
            gate_up, rows, width, ..
        } = *swiglu;
        check_width("SwiGLU", width)?;
        if rows == 0 {
            return Ok(());
        }
        let (to, scales, fp8) = match swiglu.to {
            NormedRows::Bf16(to) => (to, Address::NULL, false),
            NormedRows::Fp8(to) => (to.codes, to.scales, true),
        };
        // A row of FP8 has one scale, so one block.
        let parts = if fp8 {
            1
        } else {
            width.div_ceil(THREADS as usize * COLUMNS)
        };
        let (stride, to_stride, width) = (gate_up.stride as i64, to.stride as i64, width as c_int);
        let parameters = [
            Parameter::new(&gate_up.address),
            Parameter::new(&stride),
            Parameter::new(&to.address),
            Parameter::new(&to_stride),
            Parameter::new(&scales),
            Parameter::new(&width),
        ];
        let launch = Launch {
            early: swiglu.early,
            ..Launch::new(self.get(&SWIGLU, variant(fp8))?, [rows, parts, 1], THREADS)
        };
        // SAFETY: the parameters are those of `swiglu`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters) }
    }

    /// Enqueues the rounding of rows to FP8: weights `[out, in]` while they are loaded, and activations.
    ///
    /// # Errors
    /// As [`Self::swiglu`].
    ///
    /// # Safety
    /// As in [`crate::transformer`]. Written is `to`.
    pub unsafe fn quantise_rows(&mut self, stream: &Stream, quantise: &Quantise) -> Result<(), Error> {
        let Quantise {
            x,
            rows,
            width,
            to,
            early,
        } = *quantise;
        check_width("FP8", width)?;
        if rows == 0 {
            return Ok(());
        }
        let (stride, to_stride, width) = (x.stride as i64, to.codes.stride as i64, width as c_int);
        let parameters = [
            Parameter::new(&x.address),
            Parameter::new(&stride),
            Parameter::new(&to.codes.address),
            Parameter::new(&to_stride),
            Parameter::new(&to.scales),
            Parameter::new(&width),
        ];
        let launch = Launch {
            early,
            ..Launch::new(self.get(&QUANTISE, variant(true))?, [rows, 1, 1], THREADS)
        };
        // SAFETY: the parameters are those of `quantise_rows`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters) }
    }
}
