//! The launches of a layer of the gated delta rule: all heads of all rows, each after the earlier rows of its sequence.

use liquid_cuda::Error;
use liquid_cuda::Rows;
use liquid_cuda::device::Address;
use liquid_cuda::rule::ragged::RaggedTables;
use liquid_cuda::rule::{
    Convolution, ConvolvedRows, GateProducts, Gates, HeadNorm, NormRows, RuleOptions, Sequences,
    SmallParameter, Span,
};

use super::layers::{Launcher, Pass};
use super::space::DeltaSpace;
use super::weights::DeltaWeights;
use crate::config::GatedDelta;
use crate::ops::cuda::{LayerStates, Recurrence, RecurrentRows};

/// A layer of a pass.
struct DeltaLayer<'a> {
    delta: GatedDelta,
    weights: &'a DeltaWeights,
    states: LayerStates,
    /// Packed rows: queries, keys, values, gates of the output, strengths, forgetting numbers.
    packed: Rows,
    /// Outputs of the heads.
    mixed: Rows,
    norm: HeadNorm,
}

/// The rule as the models have it. Over long sequences what meets the state is kept as two bf16 numbers.
fn options(delta: GatedDelta) -> RuleOptions {
    RuleOptions {
        erase: true,
        normalise: true,
        scale: (delta.key_width as f32).powf(-0.5),
        precise: true,
    }
}

impl DeltaLayer<'_> {
    fn convolution(&self) -> Convolution {
        Convolution {
            weight: self.weights.taps,
            tail: self.states.tails,
            last: self.states.tails,
            width: self.delta.kernel,
            channels: self.delta.channels(),
        }
    }

    /// Returns the gates of the output, of the packed rows.
    fn gate(&self) -> Rows {
        self.packed.columns_from(self.delta.channels())
    }

    /// Returns the span of some sequences, whose queries, keys and values are side by side.
    fn span(&self, tables: RaggedTables, mixing: Rows, records: Address) -> Span {
        let delta = self.delta;
        let strengths = self.packed.columns_from(delta.channels() + delta.values());
        let number = |address| SmallParameter {
            address,
            narrow: false,
        };
        Span {
            sequences: Sequences::Ragged(tables),
            heads: delta.value_heads,
            width: delta.value_width,
            group: delta.group(),
            q: mixing,
            k: mixing.columns_from(delta.keys()),
            v: mixing.columns_from(2 * delta.keys()),
            output: self.mixed,
            gates: Gates::products(GateProducts {
                a: strengths.columns_from(delta.value_heads),
                b: strengths,
                a_log: number(self.weights.decay),
                dt_bias: number(self.weights.decay_bias),
            }),
            records,
            initial: self.states.heads,
            last: self.states.heads,
            norm: None,
            gate: Rows::NONE,
        }
    }
}

impl Launcher {
    /// Enqueues the mixing of tokens of a layer, whose outcome is added to the residual stream; `index` is that among the
    /// layers of the gated delta rule.
    pub(super) fn delta(
        &mut self,
        pass: &Pass<'_>,
        weights: &DeltaWeights,
        index: usize,
    ) -> Result<(), Error> {
        let space = pass.space;
        let (Some(recurrence), Some(buffers)) = (pass.recurrence, space.delta()) else {
            return Err(Error::Unsupported("a pass without states".to_owned()));
        };
        let Recurrence { delta, place, .. } = recurrence;
        let layer = DeltaLayer {
            delta: *delta,
            weights,
            states: place.layer(index),
            packed: space.packed(delta.packed()),
            mixed: space.mixed(delta.values()),
            norm: HeadNorm {
                gamma: SmallParameter {
                    address: weights.norm,
                    narrow: false,
                },
                epsilon: pass.architecture.norm_epsilon as f32,
            },
        };
        self.project_input(pass, weights.input_norm, &weights.packed, layer.packed)?;
        match &recurrence.rows {
            RecurrentRows::Single(tables) => self.single(&layer, *tables)?,
            RecurrentRows::Parts(tables) => self.parts(&layer, tables, buffers, pass.rows)?,
        }
        self.project_output(pass, &weights.output, layer.mixed, delta.values())
    }

    /// Enqueues one row of every sequence: all of it is one kernel.
    fn single(&mut self, layer: &DeltaLayer<'_>, tables: RaggedTables) -> Result<(), Error> {
        let span = Span {
            norm: Some(layer.norm),
            gate: layer.gate(),
            ..layer.span(tables, layer.packed, Address::NULL)
        };
        let convolution = layer.convolution();
        // SAFETY: see Safety in `cuda`. States and tables were there before the pass began.
        unsafe {
            let stream = &self.stream;
            self.rule
                .step(stream, &span, Some(&convolution), options(layer.delta), true)
        }
    }

    /// Enqueues rows in parts, each from the states that the one before it has left, then norm and gate of all of them.
    fn parts(
        &mut self,
        layer: &DeltaLayer<'_>,
        tables: &[RaggedTables],
        buffers: &DeltaSpace,
        rows: usize,
    ) -> Result<(), Error> {
        let (delta, stream) = (layer.delta, &self.stream);
        let convolved = Rows {
            address: buffers.convolved.address(),
            stride: delta.channels(),
        };
        for tables in tables {
            let span = layer.span(*tables, convolved, buffers.records.address());
            let convolution = ConvolvedRows {
                sequences: span.sequences,
                from: layer.packed,
                to: convolved.address,
                lengths: Address::NULL,
                first: 0,
            };
            // SAFETY: see Safety in `cuda`.
            unsafe {
                self.rule.convolve(stream, &convolution, &layer.convolution())?;
                self.rule.prepare(stream, &span, options(delta))?;
                self.rule.scan(stream, &span, options(delta).precise)?;
            }
        }
        let norm = NormRows {
            from: layer.mixed,
            to: layer.mixed.address,
            tokens: rows,
            heads: delta.value_heads,
            width: delta.value_width,
            norm: layer.norm,
            gate: layer.gate(),
        };
        // SAFETY: as above.
        unsafe { self.rule.norm(stream, &norm) }
    }
}
