//! Gradients with respect to queries, keys, gates and strengths, all chunks of a group at once.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `rule`")]

use std::ffi::c_int;

use super::{BackwardGroup, FOR_STATE, GroupGradients, TILE, check, text};
use crate::device::{Address, Launch, Parameter, Stream};
use crate::error::Error;
use crate::rule::options::{CHUNK, KEY_EPSILON, RuleOptions};
use crate::rule::program::{Kernel, Kernels, Variant};

pub(in crate::rule) static ROWS: Kernel = Kernel {
    file: "rows_backward.cu",
    text: text!("rows_backward.cu"),
    entry: c"rows",
    sizes: |_| vec![("SIZEOF_ARGUMENTS", size_of::<RowsArguments>())],
    shared,
};

/// Threads of a block.
const THREADS: u32 = 256;

/// `Arguments` in rows_backward.cu.
#[repr(C)]
struct RowsArguments {
    records: Address,
    before: Address,
    after: Address,
    news: Address,
    log_gate: Address,
    beta: Address,
    d_gate: Address,
    d_beta: Address,
    tokens: c_int,
    chunks: c_int,
    scale: f32,
    epsilon: f32,
    normalise: c_int,
    erase: c_int,
}

/// `Shared` in rows_backward.cu: four tiles of rows, two states, `Vn`, both matrices of scores, coefficients
/// and sums.
fn shared(width: usize) -> u32 {
    let numbers = 5 * CHUNK + 8 * CHUNK + 8;
    (4 * width / 64 * TILE + 4 * width * width + 2 * CHUNK * width + 2 * TILE + FOR_STATE + 4 * numbers + 8)
        as u32
}

impl Kernels {
    /// Enqueues the gradients of a group with respect to queries, keys, gates and strengths.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: sizes that no kernel has; [`Error::Compile`] at the first call;
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::rule`]. Written are the gradients `q`, `k`, `gates` and `strengths`; read are what
    /// [`Self::prepare`], [`Self::states`] and [`Self::state_gradients`] read and wrote for this group.
    pub unsafe fn row_gradients(
        &mut self,
        stream: &Stream,
        group: &BackwardGroup,
        gradients: &GroupGradients,
        options: RuleOptions,
    ) -> Result<(), Error> {
        let span = &group.span;
        let sequences = check(span, "gradients of the rows")?;
        let maps = [
            span.map(span.q)?,
            span.map(span.k)?,
            span.map(gradients.output)?,
            span.map(gradients.v)?,
            span.map(gradients.q)?,
            span.map(gradients.k)?,
        ];
        let arguments = RowsArguments {
            records: span.records,
            before: group.before,
            after: group.after,
            news: group.news,
            log_gate: span.gates.log_gate,
            beta: span.gates.beta,
            d_gate: gradients.gates,
            d_beta: gradients.strengths,
            tokens: sequences.tokens as c_int,
            chunks: sequences.chunks() as c_int,
            scale: options.scale,
            epsilon: KEY_EPSILON,
            normalise: c_int::from(options.normalise),
            erase: c_int::from(options.erase),
        };
        let launch = Launch {
            shared: shared(span.width),
            ..Launch::new(
                self.get(&ROWS, Variant::of(span.width))?,
                [span.heads, sequences.chunks(), sequences.count],
                THREADS,
            )
        };
        // SAFETY: the maps and arguments are those of `rows`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &Parameter::list(&maps, &arguments)) }
    }
}
