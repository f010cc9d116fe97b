//! States before every chunk of a group, and what each token writes, again.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `rule`")]

use std::ffi::c_int;

use super::{BARRIERS, BackwardGroup, FOR_STATE, STAGES, TILE, check, text};
use crate::device::{Address, Launch, Parameter, Stream};
use crate::error::Error;
use crate::rule::CHUNK;
use crate::rule::program::{Kernel, Kernels, Variant};

pub(in crate::rule) static STATES: Kernel = Kernel {
    file: "states_backward.cu",
    text: text!("states_backward.cu"),
    entry: c"states",
    sizes: |_| vec![("SIZEOF_ARGUMENTS", size_of::<StatesArguments>())],
    shared,
};

/// `Arguments` in states_backward.cu.
#[repr(C)]
struct StatesArguments {
    records: Address,
    saved: Address,
    states: Address,
    news: Address,
    segment_stride: i64,
    chunks: c_int,
    segment: c_int,
}

/// `Shared` in states_backward.cu.
fn shared(width: usize) -> u32 {
    (STAGES * (2 * width / 64 * TILE + FOR_STATE) + BARRIERS) as u32
}

impl Kernels {
    /// Enqueues making the states before every chunk of a prepared group, and what each token writes, again.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: sizes that no kernel has; [`Error::Compile`] at the first call;
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::rule`]. Written are `before` and `news`; read are `k`, `v`, `records` and `saved`.
    pub unsafe fn states(&mut self, stream: &Stream, group: &BackwardGroup) -> Result<(), Error> {
        let span = &group.span;
        let sequences = check(span, "states")?;
        let (k, v) = (span.map(span.k)?, span.map(span.v)?);
        let arguments = StatesArguments {
            records: span.records,
            saved: group.saved,
            states: group.before,
            news: group.news,
            segment_stride: group.between_segments as i64,
            chunks: sequences.chunks() as c_int,
            segment: (group.segment / CHUNK) as c_int,
        };
        let segments = sequences.tokens.div_ceil(group.segment.max(CHUNK));
        // A warp for 16 columns of the state, and one that loads.
        let threads = (span.width / 16 * 32 + 32) as u32;
        let launch = Launch {
            shared: shared(span.width),
            ..Launch::new(
                self.get(&STATES, Variant::of(span.width))?,
                [segments, span.heads, sequences.count],
                threads,
            )
        };
        let parameters = [Parameter::new(&k), Parameter::new(&v), Parameter::new(&arguments)];
        // SAFETY: the parameters are those of `states`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters) }
    }
}
