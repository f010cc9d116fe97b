//! Rows of a table by their numbers: embeddings of tokens, the last rows of sequences.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `transformer`")]

use std::ffi::c_int;

use super::program::{Kernel, TransformerKernels, Variant};
use crate::device::{Address, Launch, Parameter, Stream};
use crate::error::Error;
use crate::rows::Rows;

pub(super) static GATHER: Kernel = Kernel {
    file: "transformer/gather.cu",
    text: include_str!("../../kernels/transformer/gather.cu"),
    entry: c"gather_rows",
};

/// Threads of a block, which copies one row.
const THREADS: u32 = 128;

/// Rows of a table to be copied.
#[derive(Clone, Copy, Debug)]
pub struct GatherRows {
    /// Table `[limit, width]`, bf16, its rows at addresses of 16 bytes.
    pub from: Rows,
    /// Rows of the table. A number that is not below it gives a row of zeros.
    pub limit: usize,
    /// Address of the numbers `[rows]`, u32.
    pub numbers: Address,
    /// Numbers of a row, a multiple of 8.
    pub width: usize,
    /// Rows to be copied.
    pub rows: usize,
    /// The copies `[rows, width]`, written.
    pub to: Rows,
}

pub(super) fn variant() -> Variant {
    Variant::new(&[("RUST_THREADS", THREADS as usize)])
}

impl TransformerKernels {
    /// Enqueues the copy of rows by their numbers.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: a width that is no multiple of 8; [`Error::Compile`] at the first call;
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::transformer`]. Written is `to`.
    pub unsafe fn gather_rows(&mut self, stream: &Stream, gather: &GatherRows) -> Result<(), Error> {
        let GatherRows {
            from,
            limit,
            numbers,
            width,
            rows,
            to,
        } = *gather;
        super::norm::check_width("a gather", width)?;
        if rows == 0 {
            return Ok(());
        }
        let (from_stride, to_stride) = (from.stride as i64, to.stride as i64);
        let (limit, width) = (limit as u32, width as c_int);
        let parameters = [
            Parameter::new(&from.address),
            Parameter::new(&from_stride),
            Parameter::new(&limit),
            Parameter::new(&numbers),
            Parameter::new(&to.address),
            Parameter::new(&to_stride),
            Parameter::new(&width),
        ];
        let launch = Launch::new(self.get(&GATHER, variant())?, [rows, 1, 1], THREADS);
        // SAFETY: the parameters are those of `gather_rows`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters) }
    }
}
