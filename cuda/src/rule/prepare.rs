//! Everything of a span that does not depend on the state: gates, norms, both triangular factors of every
//! chunk.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `rule`")]

use std::ffi::c_int;

use super::options::{CHUNK, KEY_EPSILON, RuleOptions};
use super::program::{Kernel, Kernels, Variant};
use super::span::{FACTOR, Sequences, Span};
use crate::device::{Launch, Parameter, Stream};
use crate::error::Error;

pub(super) static PREPARE: Kernel = Kernel {
    file: "prepare.cu",
    text: include_str!("../../kernels/prepare.cu"),
    entry: c"prepare",
    sizes: |_| Vec::new(),
    shared,
};

/// Threads of a block.
const THREADS: u32 = 128;

/// The tiles (later M and the factors in their place), `ForState`, four numbers a token and a barrier.
fn shared(width: usize) -> u32 {
    let area = if width == 64 {
        24_576 + FACTOR + 4 * CHUNK
    } else {
        width / 64 * 16_384
    };
    (area + FACTOR + 12 * CHUNK + 16 * CHUNK + 16) as u32
}

impl Kernels {
    /// Enqueues writing the records of a span, which [`Self::scan`] and the backward pass read.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: sizes that no kernel has; [`Error::Compile`] at the first call;
    /// [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::rule`]. Written are `records`; read are `q`, `k`, the gates and ragged tables.
    pub unsafe fn prepare(
        &mut self,
        stream: &Stream,
        span: &Span,
        options: RuleOptions,
    ) -> Result<(), Error> {
        span.check()?;
        let variant = Variant {
            ragged: matches!(span.sequences, Sequences::Ragged(_)),
            ..Variant::of(span.width)
        };
        let (q, k) = (span.shared_map(span.q)?, span.shared_map(span.k)?);
        let (group, normalise, erase) = (
            span.group as c_int,
            c_int::from(options.normalise),
            c_int::from(options.erase),
        );
        let (grid, tokens, tables) = match span.sequences {
            Sequences::Equal { count, tokens } => {
                ([span.heads, tokens.div_ceil(CHUNK), count], tokens as c_int, None)
            }
            Sequences::Ragged(tables) => {
                let tokens = tables.tokens as c_int;
                ([span.heads, tables.chunks, 1], tokens, Some(tables.arguments()))
            }
        };
        if grid.contains(&0) {
            return Ok(());
        }
        let mut parameters = vec![
            Parameter::new(&q),
            Parameter::new(&k),
            Parameter::new(&span.gates),
            Parameter::new(&span.records),
            Parameter::new(&tokens),
            Parameter::new(&group),
            Parameter::new(&options.scale),
            Parameter::new(&KEY_EPSILON),
            Parameter::new(&normalise),
            Parameter::new(&erase),
        ];
        parameters.extend(tables.as_ref().map(Parameter::new));
        let launch = Launch {
            shared: shared(span.width),
            ..Launch::new(self.get(&PREPARE, variant)?, grid, THREADS)
        };
        // SAFETY: the parameters are those of `prepare`; addresses are the caller's promise.
        unsafe { launch.enqueue(stream, &parameters) }
    }
}
