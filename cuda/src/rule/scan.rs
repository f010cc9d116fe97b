//! The recurrence over the chunks of a prepared span.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `rule`")]

use std::ffi::c_int;

use super::options::CHUNK;
use super::program::{Kernel, Kernels, Variant};
use super::ragged::RaggedArguments;
use super::span::{RECORD, Sequences, Span};
use super::tensors::SmallParameter;
use crate::device::{Address, Launch, Parameter, Stream};
use crate::error::Error;

pub(super) static SCAN: Kernel = Kernel {
    file: "scan.cu",
    text: include_str!("../../kernels/scan.cu"),
    entry: c"scan",
    sizes: |ragged| {
        let arguments = if ragged {
            size_of::<RaggedScanArguments>()
        } else {
            size_of::<ScanArguments>()
        };
        vec![
            ("SIZEOF_ARGUMENTS", arguments),
            ("RUST_THREADS", THREADS as usize),
        ]
    },
    shared,
};

/// Threads of a block.
const THREADS: u32 = 384;

/// `Arguments` in scan.cu.
#[repr(C)]
struct ScanArguments {
    output: Address,
    records: Address,
    initial: Address,
    last: Address,
    gamma: Address,
    stride: i64,
    tokens: c_int,
    chunks: c_int,
    epsilon: f32,
    narrow: c_int,
    group: c_int,
}

/// `Arguments` in scan.cu, with RAGGED.
#[repr(C)]
struct RaggedScanArguments {
    scan: ScanArguments,
    ragged: RaggedArguments,
}

/// `Shared` in scan.cu.
fn shared(width: usize) -> u32 {
    let (tiles, stages, buffers) = (
        width / 64,
        if width <= 128 { 3 } else { 2 },
        if width <= 128 { 2 } else { 1 },
    );
    let tiles_bytes = (2 * tiles + 1) * 8192 + RECORD;
    (stages * tiles_bytes + buffers * (width / 16 + 4) * 2048 + 8192 + 2048 * tiles + 8 * (4 * stages + 2))
        as u32
}

impl Kernels {
    /// Enqueues the recurrence over the chunks of a prepared span, and the norm of its output if the span has
    /// one. An output gate is left out. Of ragged sequences it also writes the snapshots.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: sizes that no kernel has; [`Error::Compile`] at the first call;
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::rule`]. Written are `output` and `last`; read are `q`, `k`, `v`, `records`, `initial`,
    /// the norm's weights and ragged tables. `records` were written by [`Self::prepare`] for this span.
    pub unsafe fn scan(&mut self, stream: &Stream, span: &Span, precise: bool) -> Result<(), Error> {
        span.check()?;
        let maps = [
            span.shared_map(span.q)?,
            span.shared_map(span.k)?,
            span.map(span.v)?,
        ];
        let (gamma, epsilon) = span
            .norm
            .map_or((SmallParameter::NONE, 0.0), |norm| (norm.gamma, norm.epsilon));
        let mut arguments = ScanArguments {
            output: span.output.address,
            records: span.records,
            initial: span.initial,
            last: span.last,
            gamma: gamma.address,
            stride: span.output.stride as i64,
            tokens: 0,
            chunks: 0,
            epsilon,
            narrow: c_int::from(gamma.narrow),
            group: span.group as c_int,
        };
        let count = span.sequences.count();
        if count == 0 {
            return Ok(());
        }
        let function = self.get(
            &SCAN,
            Variant {
                precise,
                ragged: matches!(span.sequences, Sequences::Ragged(_)),
                ..Variant::of(span.width)
            },
        )?;
        let launch = Launch {
            shared: shared(span.width),
            ..Launch::new(function, [span.width / 64, span.heads, count], THREADS)
        };
        let [q, k, v] = maps.each_ref().map(Parameter::new);
        match span.sequences {
            Sequences::Equal { tokens, .. } => {
                arguments.tokens = tokens as c_int;
                arguments.chunks = tokens.div_ceil(CHUNK) as c_int;
                // SAFETY: the parameters are those of `scan`; addresses are the caller's promise.
                unsafe { launch.enqueue(stream, &[q, k, v, Parameter::new(&arguments)]) }
            }
            Sequences::Ragged(tables) => {
                let arguments = RaggedScanArguments {
                    scan: arguments,
                    ragged: tables.arguments(),
                };
                // SAFETY: as above, of the variant with RAGGED.
                unsafe { launch.enqueue(stream, &[q, k, v, Parameter::new(&arguments)]) }
            }
        }
    }
}
