//! One token of every sequence: everything between the projections in one kernel.

#![allow(unsafe_code, reason = "launches kernels; see Safety in `rule`")]

use std::ffi::c_int;

use super::convolve::{Convolution, ConvolutionArguments, WIDEST};
use super::options::{KEY_EPSILON, RuleOptions};
use super::program::{Kernel, Kernels, Variant};
use super::ragged::RaggedArguments;
use super::span::{Sequences, Span};
use super::tensors::{Gates, SmallParameter};
use crate::device::{Address, Launch, Parameter, Stream};
use crate::error::Error;

pub(super) static STEP: Kernel = Kernel {
    file: "step.cu",
    text: include_str!("../../kernels/step.cu"),
    entry: c"step",
    sizes: |ragged| {
        let arguments = if ragged {
            size_of::<RaggedStepArguments>()
        } else {
            size_of::<StepArguments>()
        };
        vec![
            ("SIZEOF_ARGUMENTS", arguments),
            ("SIZEOF_CONVOLUTION", size_of::<ConvolutionArguments>()),
            ("RUST_THREADS", THREADS as usize),
            ("RUST_WIDEST", WIDEST),
        ]
    },
    shared: |_| 0,
};

/// Threads of a block.
const THREADS: u32 = 512;
/// Heads that may share convolved queries in a step of ragged sequences: blocks of a cluster that every GPU takes.
pub const MOST_SHARERS: usize = 8;

/// `Arguments` in step.cu.
#[repr(C)]
struct StepArguments {
    rows: [Address; 5],
    strides: [i64; 5],
    gates: Gates,
    convolution: ConvolutionArguments,
    gamma: Address,
    initial: Address,
    last: Address,
    scale: f32,
    epsilon: f32,
    norm_epsilon: f32,
    normalise: c_int,
    erase: c_int,
    narrow: c_int,
    group: c_int,
}

/// `Arguments` in step.cu, with RAGGED.
#[repr(C)]
struct RaggedStepArguments {
    step: StepArguments,
    ragged: RaggedArguments,
}

impl Kernels {
    /// Enqueues one token of every sequence of a span: convolution, gates, recurrence, norm and output gate,
    /// as far as there are any. With `early` the launch may be placed while the kernel before runs.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: sizes that no kernel has, or ragged sequences of another length than one token;
    /// [`Error::Compile`] at the first call; [`Error::Driver`].
    ///
    /// # Safety
    /// As in [`crate::rule`]. Written are `output`, `last`, and `last` of the convolution; everything else is
    /// read. If `early`, states and ragged tables must have been there before the kernel before.
    pub unsafe fn step(
        &mut self,
        stream: &Stream,
        span: &Span,
        convolution: Option<&Convolution>,
        options: RuleOptions,
        early: bool,
    ) -> Result<(), Error> {
        check(span, convolution)?;
        let count = span.sequences.count();
        if count == 0 {
            return Ok(());
        }
        let ragged = matches!(span.sequences, Sequences::Ragged(_));
        let variant = Variant {
            ragged,
            convolved: convolution.is_some(),
            ..Variant::of(span.width)
        };
        // Heads that share a query write what the convolution keeps of it when all have read.
        let sharers = if ragged && convolution.is_some() {
            span.group
        } else {
            1
        };
        let launch = Launch {
            cluster: Some([sharers as u32, 1, 1]),
            early,
            ..Launch::new(self.get(&STEP, variant)?, [span.heads, count, 1], THREADS)
        };
        let step = StepArguments::new(span, convolution, options);
        match span.sequences {
            // SAFETY: the parameter is that of `step`; addresses, and what was there early enough, are the
            // caller's promise.
            Sequences::Equal { .. } => unsafe { launch.enqueue(stream, &[Parameter::new(&step)]) },
            Sequences::Ragged(tables) => {
                let arguments = RaggedStepArguments {
                    step,
                    ragged: tables.arguments(),
                };
                // SAFETY: as above, of the variant with RAGGED.
                unsafe { launch.enqueue(stream, &[Parameter::new(&arguments)]) }
            }
        }
    }
}

impl StepArguments {
    fn new(span: &Span, convolution: Option<&Convolution>, options: RuleOptions) -> Self {
        let rows = [span.q, span.k, span.v, span.output, span.gate];
        let (gamma, norm_epsilon) = span
            .norm
            .map_or((SmallParameter::NONE, 0.0), |norm| (norm.gamma, norm.epsilon));
        Self {
            rows: rows.map(|rows| rows.address),
            strides: rows.map(|rows| rows.stride as i64),
            gates: span.gates,
            convolution: ConvolutionArguments::of(convolution),
            gamma: gamma.address,
            initial: span.initial,
            last: span.last,
            scale: options.scale,
            epsilon: KEY_EPSILON,
            norm_epsilon,
            normalise: c_int::from(options.normalise),
            erase: c_int::from(options.erase),
            narrow: c_int::from(gamma.narrow),
            group: span.group as c_int,
        }
    }
}

/// An error unless the kernel serves a step of this span.
fn check(span: &Span, convolution: Option<&Convolution>) -> Result<(), Error> {
    span.check()?;
    if let Some(convolution) = convolution {
        convolution.check(&span.sequences)?;
    }
    let refuse = |text: &str| Err(Error::Unsupported(text.to_owned()));
    match span.sequences {
        Sequences::Equal { tokens: 1, .. } => Ok(()),
        Sequences::Ragged(tables) if tables.single => {
            if convolution.is_some() && span.group > MOST_SHARERS {
                return refuse(
                    "a step of ragged sequences whose convolved queries serve more than 8 heads; scan them instead",
                );
            }
            Ok(())
        }
        _ => refuse("a step of sequences of another length than one token; scan them instead"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ragged::RaggedTables;
    use super::super::span::tests::span;
    use super::*;

    #[test]
    fn a_step_is_of_one_token_a_sequence() {
        let of = |sequences| check(&span(sequences), None);
        assert!(of(Sequences::Equal { count: 3, tokens: 1 }).is_ok());
        let single = RaggedTables::of_slots(3 * 64 * 64);
        assert!(of(Sequences::Ragged(single)).is_ok());
        let longer = RaggedTables {
            single: false,
            ..single
        };
        for sequences in [
            Sequences::Equal { count: 3, tokens: 2 },
            Sequences::Ragged(longer),
        ] {
            assert!(of(sequences).is_err_and(|error| error.to_string().contains("scan them")));
        }
    }

    #[test]
    fn convolved_queries_serve_as_many_heads_as_a_cluster_has_blocks() {
        let single = RaggedTables::of_slots(18 * 64 * 64);
        let convolution = Convolution {
            weight: Address::new(16),
            tail: Address::new(32),
            last: Address::new(32),
            width: 4,
            channels: 64,
        };
        let of = |group| {
            let mut span = span(Sequences::Ragged(single));
            (span.heads, span.group) = (2 * group, group);
            check(&span, Some(&convolution))
        };
        assert!(of(1).is_ok() && of(8).is_ok());
        assert!(of(9).is_err_and(|error| error.to_string().contains("more than 8 heads")));
    }
}
