//! RMS norm of the residual stream, with what is added to it before and FP8 after.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `transformer`")]

use std::ffi::c_int;

use super::activation::QuantisedRows;
use super::program::{Kernel, TransformerKernels, Variant};
use crate::device::{Address, Launch, Parameter, Stream};
use crate::error::Error;
use crate::rows::Rows;

pub(super) static NORM: Kernel = Kernel {
    file: "transformer/norm.cu",
    text: include_str!("../../kernels/transformer/norm.cu"),
    entry: c"rms_norm",
};

/// Threads of a block, which works on one row.
const THREADS: usize = 256;
/// Numbers that a thread takes at once.
const COLUMNS: usize = 8;
/// Pieces of [`COLUMNS`] numbers that a thread may hold.
pub(super) const PIECES: [usize; 4] = [1, 2, 4, 8];

/// Where normed rows go.
#[derive(Clone, Copy, Debug)]
pub enum NormedRows {
    /// As bf16 `[rows, width]`.
    Bf16(Rows),
    /// As FP8 with a scale a row.
    Fp8(QuantisedRows),
}

/// Rows to be normed.
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm {
    /// Residual stream `[rows, width]`, bf16, its rows at addresses of 16 bytes.
    pub x: Rows,
    /// What is added to `x` first, `[rows, width]`; then `x` is written too. [`Rows::NONE`] without.
    pub delta: Rows,
    /// Address of the weights `[width]`, bf16.
    pub weight: Address,
    /// Whether the factor is `1 + weight` (Qwen3.5, Gemma) and not `weight`.
    pub zero_centred: bool,
    /// Number added to the mean of the squares.
    pub epsilon: f32,
    /// Number of rows.
    pub rows: usize,
    /// Numbers of a row, a multiple of 8, at most 16,384.
    pub width: usize,
    /// The result, written.
    pub to: NormedRows,
    /// Whether the kernel may be placed while the kernel before runs.
    pub early: bool,
}

/// An error unless a width is one that kernels of whole rows take.
pub(super) fn check_width(what: &str, width: usize) -> Result<(), Error> {
    if width > 0 && width.is_multiple_of(COLUMNS) {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "{what} of rows of {width} numbers; widths are multiples of {COLUMNS}"
    )))
}

/// The variant that holds rows of this width in registers.
pub(super) fn variant(width: usize, fp8: bool) -> Result<Variant, Error> {
    check_width("a norm", width)?;
    let pieces = PIECES
        .into_iter()
        .find(|pieces| pieces * THREADS * COLUMNS >= width);
    let pieces = pieces
        .ok_or_else(|| Error::Unsupported(format!("a norm of rows of {width} numbers; at most 16,384")))?;
    Ok(variant_of(pieces, fp8))
}

pub(super) fn variant_of(pieces: usize, fp8: bool) -> Variant {
    Variant::new(&[
        ("PIECES", pieces),
        ("FP8", usize::from(fp8)),
        ("RUST_THREADS", THREADS),
    ])
}

impl TransformerKernels {
    /// Enqueues `x += delta` and the RMS norm of `x`, a row after the other: a row does not depend on its
    /// neighbours.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: a width that no kernel has; [`Error::Compile`] at the first call;
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::transformer`]. Written are `to` and, with a `delta`, `x`.
    pub unsafe fn rms_norm(&mut self, stream: &Stream, norm: &RmsNorm) -> Result<(), Error> {
        let RmsNorm {
            x,
            delta,
            weight,
            epsilon,
            rows,
            width,
            ..
        } = *norm;
        let (to, scales, fp8) = match norm.to {
            NormedRows::Bf16(to) => (to, Address::NULL, false),
            NormedRows::Fp8(to) => (to.codes, to.scales, true),
        };
        let variant = variant(width, fp8)?;
        if rows == 0 {
            return Ok(());
        }
        let [x_stride, delta_stride, to_stride] = [x, delta, to].map(|rows| rows.stride as i64);
        let (width, bias) = (width as c_int, f32::from(u8::from(norm.zero_centred)));
        let parameters = [
            Parameter::new(&x.address),
            Parameter::new(&x_stride),
            Parameter::new(&delta.address),
            Parameter::new(&delta_stride),
            Parameter::new(&weight),
            Parameter::new(&bias),
            Parameter::new(&to.address),
            Parameter::new(&to_stride),
            Parameter::new(&scales),
            Parameter::new(&width),
            Parameter::new(&epsilon),
        ];
        let launch = Launch {
            early: norm.early,
            ..Launch::new(self.get(&NORM, variant)?, [rows, 1, 1], THREADS as u32)
        };
        // SAFETY: the parameters are those of `rms_norm`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters) }
    }
}
