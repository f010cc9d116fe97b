//! The gradient with respect to the state, from the last chunk to the first, and with it that with respect to
//! the values.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `rule`")]

use std::ffi::c_int;

use super::{BARRIERS, BackwardGroup, GroupGradients, STAGES, TILE, check, text};
use crate::device::{Address, Launch, Parameter, Stream};
use crate::error::Error;
use crate::rule::program::{Kernel, Kernels, Variant};
use crate::rule::span::RECORD;

pub(in crate::rule) static GRADIENTS: Kernel = Kernel {
    file: "gradients_backward.cu",
    text: text!("gradients_backward.cu"),
    entry: c"gradients",
    sizes: |_| vec![("SIZEOF_ARGUMENTS", size_of::<GradientsArguments>())],
    shared,
};

/// Threads of a block.
const THREADS: u32 = 160;

/// `Arguments` in gradients_backward.cu.
#[repr(C)]
struct GradientsArguments {
    records: Address,
    d_state: Address,
    after: Address,
    chunks: c_int,
}

/// `Shared` in gradients_backward.cu.
fn shared(width: usize) -> u32 {
    (STAGES * ((2 * width / 64 + 1) * TILE + RECORD) + TILE + BARRIERS) as u32
}

impl Kernels {
    /// Enqueues carrying the gradient with respect to the state back through a prepared group, and with it
    /// the gradient with respect to the values.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: sizes that no kernel has; [`Error::Compile`] at the first call;
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::rule`]. Written are `after`, and of the gradients `state` and `v`; read are `q`, `k`,
    /// `records` and the gradients `output` and `state`.
    pub unsafe fn state_gradients(
        &mut self,
        stream: &Stream,
        group: &BackwardGroup,
        gradients: &GroupGradients,
    ) -> Result<(), Error> {
        let span = &group.span;
        let sequences = check(span, "gradients of the state")?;
        let maps = [
            span.map(span.q)?,
            span.map(span.k)?,
            span.map(gradients.output)?,
            span.map(gradients.v)?,
        ];
        let arguments = GradientsArguments {
            records: span.records,
            d_state: gradients.state,
            after: group.after,
            chunks: sequences.chunks() as c_int,
        };
        let launch = Launch {
            shared: shared(span.width),
            ..Launch::new(
                self.get(&GRADIENTS, Variant::of(span.width))?,
                [span.width / 64, span.heads, sequences.count],
                THREADS,
            )
        };
        // SAFETY: the maps and arguments are those of `gradients`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &Parameter::list(&maps, &arguments)) }
    }
}
