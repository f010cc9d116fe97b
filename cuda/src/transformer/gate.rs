//! Outputs of attention through their gates.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `transformer`")]

use std::ffi::c_int;

use super::norm::check_width;
use super::program::{Kernel, TransformerKernels, Variant};
use crate::device::{Launch, Parameter, Stream};
use crate::error::Error;
use crate::rows::Rows;

pub(super) static GATE: Kernel = Kernel {
    file: "transformer/gate.cu",
    text: include_str!("../../kernels/transformer/gate.cu"),
    entry: c"gate_rows",
};

/// Threads of a block, which works on a part of a row.
const THREADS: usize = 256;
/// Numbers of a thread.
const COLUMNS: usize = 8;

/// Rows that are multiplied by the sigmoids of others.
#[derive(Clone, Copy, Debug)]
pub struct GateRows {
    /// Rows `[rows, width]` of bf16 at addresses of 16 bytes, read and written.
    pub x: Rows,
    /// Gates before their sigmoid, as `x`.
    pub gates: Rows,
    /// Number of rows.
    pub rows: usize,
    /// Numbers of a row, a multiple of 8.
    pub width: usize,
    /// Whether the kernel may be placed while the kernel before runs.
    pub early: bool,
}

pub(super) fn variant() -> Variant {
    Variant::new(&[("RUST_THREADS", THREADS)])
}

impl TransformerKernels {
    /// Enqueues `x *= sigmoid(gates)`.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: a width that is no multiple of 8; [`Error::Compile`] at the first call;
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::transformer`]. Written is `x`.
    pub unsafe fn gate_rows(&mut self, stream: &Stream, gate: &GateRows) -> Result<(), Error> {
        let GateRows {
            x,
            gates,
            rows,
            width,
            ..
        } = *gate;
        check_width("gates", width)?;
        if rows == 0 {
            return Ok(());
        }
        let (stride, gate_stride) = (x.stride as i64, gates.stride as i64);
        let (parts, width) = (width.div_ceil(THREADS * COLUMNS), width as c_int);
        let parameters = [
            Parameter::new(&x.address),
            Parameter::new(&stride),
            Parameter::new(&gates.address),
            Parameter::new(&gate_stride),
            Parameter::new(&width),
        ];
        let launch = Launch {
            early: gate.early,
            ..Launch::new(self.get(&GATE, variant())?, [rows, parts, 1], THREADS as u32)
        };
        // SAFETY: the parameters are those of `gate_rows`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters) }
    }
}
