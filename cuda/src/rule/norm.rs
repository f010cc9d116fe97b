//! Norm and output gate of the heads' output, where the scan does not do them.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `rule`")]

use std::ffi::c_int;

use super::program::{Kernel, Kernels, Variant};
use super::tensors::{HeadNorm, Rows};
use crate::device::{Address, Launch, Parameter, Stream};
use crate::error::Error;

pub(super) static NORM: Kernel = Kernel {
    file: "norm.cu",
    text: include_str!("../../kernels/norm.cu"),
    entry: c"rms_norm",
    sizes: |_| vec![("RUST_THREADS", THREADS as usize), ("RUST_COLUMNS", COLUMNS)],
    shared: |_| 0,
};

/// Threads of a block.
const THREADS: u32 = 256;
/// Columns of a thread.
const COLUMNS: usize = 8;

/// Rows of the heads' output to be normed.
#[derive(Clone, Copy, Debug)]
pub struct NormRows {
    /// Output of the heads, `[tokens, heads, width]`.
    pub from: Rows,
    /// Address of the result, which has the stride of `from` and may lie where `from` does.
    pub to: Address,
    /// Number of tokens.
    pub tokens: usize,
    /// Heads of a token.
    pub heads: usize,
    /// Numbers of a head: 64, 128 or 256.
    pub width: usize,
    /// The norm.
    pub norm: HeadNorm,
    /// The output gate before its `silu`, `[tokens, heads, width]`; none without.
    pub gate: Rows,
}

impl Kernels {
    /// Enqueues the norm of every head's output, times `silu(gate)` where there is a gate.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: sizes that no kernel has; [`Error::Compile`] at the first call;
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::rule`]. Written is `to`; everything else is read.
    pub unsafe fn norm(&mut self, stream: &Stream, rows: &NormRows) -> Result<(), Error> {
        let NormRows { heads, width, .. } = *rows;
        if !super::serves(heads, width, width) {
            return Err(Error::Unsupported(format!(
                "a norm of {heads} heads of {width} numbers; the kernels take heads of 64, 128 or 256"
            )));
        }
        let (count, number_of_heads) = ((rows.tokens * heads) as i64, heads as c_int);
        let (stride, gate_stride) = (rows.from.stride as i64, rows.gate.stride as i64);
        let HeadNorm { gamma, epsilon } = rows.norm;
        let narrow = c_int::from(gamma.narrow);
        let blocks = (rows.tokens * heads * (width / COLUMNS)).div_ceil(THREADS as usize);
        if blocks == 0 {
            return Ok(());
        }
        let parameters = [
            Parameter::new(&rows.from.address),
            Parameter::new(&rows.to),
            Parameter::new(&stride),
            Parameter::new(&gamma.address),
            Parameter::new(&narrow),
            Parameter::new(&rows.gate.address),
            Parameter::new(&gate_stride),
            Parameter::new(&count),
            Parameter::new(&number_of_heads),
            Parameter::new(&epsilon),
        ];
        let launch = Launch::new(self.get(&NORM, Variant::of(width))?, [blocks, 1, 1], THREADS);
        // SAFETY: the parameters are those of `rms_norm`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters) }
    }
}
