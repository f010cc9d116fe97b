//! The layer: projections, gates, the rule, norm, output.

use burn::module::Module;
use burn::module::Param;
use burn::nn::{Linear, RmsNorm};
use burn::tensor::{Bool, DType, Device, Tensor};

use crate::conv::ShortConvolution;
use crate::core::project;
use crate::error::{AttentionError, shaped};
use crate::input::{LiquidInput, LiquidOutput};
use crate::precision::Precision;
use crate::state::{State, StateShape};

mod full;
#[cfg(feature = "cuda")]
mod fused;
mod heads;
mod recurrent;
#[cfg(any(feature = "cuda", test))]
mod remembered;
#[cfg(test)]
mod tests;
mod warm_up;

/// Widths and switches of a layer: everything but its weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Width of input and output.
    pub d_model: usize,
    /// Number of heads of the state.
    pub n_heads: usize,
    /// Number of heads of queries and keys.
    pub key_heads: usize,
    /// Width of a head's queries and keys.
    pub d_key: usize,
    /// Width of a head's values.
    pub d_value: usize,
    /// Whether the delta rule is applied, rather than plain addition.
    pub erase: bool,
    /// Whether a call without a causal mask takes two scans rather than one sum.
    pub bidirectional: bool,
    /// When kernels keep more digits.
    pub precision: Precision,
    /// Whether the projections are those of a softmax attention that were not trained since: set by
    /// [`crate::patch_self_attention`], cleared by [`LiquidAttention::mark_distilled`].
    pub needs_distillation: bool,
}

/// Attention in linear time and constant memory, in the place of `burn::nn::attention::MultiHeadAttention`.
///
/// [`crate::LiquidAttentionConfig`] creates it. `query`, `key`, `value` and `output` have the names and shapes
/// of burn's layer. The crate's documentation has the equations, and says what they are not.
///
/// On a GPU whose kernels serve the layer, it keeps the addresses of its weights from call to call. Parameters may be
/// replaced at any time: the next call notices, and frees the old ones.
#[derive(Module, Debug)]
pub struct LiquidAttention {
    /// Query projection, `[d_model, key_heads * d_key]`.
    pub query: Linear,
    /// Key projection, `[d_model, key_heads * d_key]`.
    pub key: Linear,
    /// Value projection, `[d_model, n_heads * d_value]`.
    pub value: Linear,
    /// Output projection, `[n_heads * d_value, d_model]`.
    pub output: Linear,
    /// Projection to the log-gates, `[d_model, n_heads]`: how much is forgotten.
    pub gate_a: Linear,
    /// Projection to the writing strengths, `[d_model, n_heads]`.
    pub gate_b: Linear,
    /// Logarithm of each head's fastest forgetting, `[n_heads]`.
    pub a_log: Param<Tensor<1>>,
    /// Bias under the softplus of the log-gates, `[n_heads]`: forgetting of a token whose gate input is 0.
    pub dt_bias: Param<Tensor<1>>,
    /// Norm over each head's output, `gamma [d_value]`.
    pub norm: RmsNorm,
    /// Output gate, `[d_model, n_heads * d_value]`.
    pub output_gate: Option<Linear>,
    /// Short convolution over queries, keys and values side by side.
    pub conv: Option<ShortConvolution>,
    /// Widths and switches.
    #[module(skip)]
    pub settings: Settings,
    /// The weights as the kernels take them, where they serve the layer.
    #[cfg(feature = "cuda")]
    #[module(skip)]
    pub(crate) prepared: remembered::Remembered<Option<crate::cuda::PreparedLayer>>,
}

impl LiquidAttention {
    /// Computes attention over whole sequences.
    ///
    /// # Errors
    /// What linear attention cannot do ([`AttentionError`]), shapes and types that do not fit, and a layer that
    /// still [needs distillation](Self::needs_distillation).
    pub fn forward(&self, input: LiquidInput) -> Result<LiquidOutput, AttentionError> {
        input.check(self.settings.d_model)?;
        let LiquidInput {
            source,
            mask_pad,
            causal,
            ..
        } = input;
        self.ready(&source.query)?;
        if let Some((key, value)) = &source.others {
            self.ready(key)?;
            self.ready(value)?;
        }
        if !causal {
            let context = self.whole(source, mask_pad)?;
            return Ok(LiquidOutput { context });
        }
        if self.settings.bidirectional {
            return Err(AttentionError::Bidirectional(
                "is_causal(true) asks for one direction",
            ));
        }
        let mut state = self.fresh_state(source.query.dims()[0]);
        let context = self.recurrent(source.query, mask_pad, &mut state);
        Ok(LiquidOutput { context })
    }

    /// Reads `x [B, N, d_model]` causally after what `state` remembers, and updates it. Returns the output of
    /// every token, `[B, N, d_model]`. Two calls return what one call with both inputs returns, up to rounding.
    ///
    /// # Errors
    /// As [`Self::forward`], and a state of another layer or batch. Then the state is unchanged.
    pub fn prefill(&self, x: Tensor<3>, state: &mut State) -> Result<Tensor<3>, AttentionError> {
        self.prefill_padded(x, None, state)
    }

    /// Does what [`Self::prefill`] does for sequences of different lengths; `mask_pad [B, N]` is true where there is
    /// padding.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn prefill_padded(
        &self,
        x: Tensor<3>,
        mask_pad: Option<Tensor<2, Bool>>,
        state: &mut State,
    ) -> Result<Tensor<3>, AttentionError> {
        let [batch, tokens, _] = x.dims();
        shaped("x", &x.dims(), &[None, None, Some(self.settings.d_model)])?;
        if let Some(mask) = &mask_pad {
            shaped("mask_pad", &mask.dims(), &[Some(batch), Some(tokens)])?;
        }
        self.ready(&x)?;
        if self.settings.bidirectional {
            return Err(AttentionError::Bidirectional("a state is of one direction"));
        }
        state.check(&self.state_shape(), batch)?;
        Ok(self.recurrent(x, mask_pad, state))
    }

    /// Reads one token, `x [B, 1, d_model]`, at the same cost after ten tokens and after ten million.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn step(&self, x: Tensor<3>, state: &mut State) -> Result<Tensor<3>, AttentionError> {
        shaped("x", &x.dims(), &[None, Some(1), Some(self.settings.d_model)])?;
        self.prefill(x, state)
    }

    /// Returns a state for `batch` sequences that have not begun.
    pub fn fresh_state(&self, batch: usize) -> State {
        State::new(&self.state_shape(), batch)
    }

    /// Returns the shape of the layer's states.
    pub fn state_shape(&self) -> StateShape {
        StateShape {
            heads: self.settings.n_heads,
            d_key: self.settings.d_key,
            d_value: self.settings.d_value,
            conv: self.conv.as_ref().map(|conv| {
                let [channels, kernel] = conv.weight.shape().dims();
                [kernel - 1, channels]
            }),
            dtype: self.dtype(),
            device: self.device(),
        }
    }

    /// Whether a call whose sequences have `tokens` behind them at its end runs in precise mode.
    pub fn is_precise(&self, tokens: u64) -> bool {
        self.settings.precision.is_precise(tokens)
    }

    /// Sets when kernels keep more digits.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.settings.precision = precision;
        self
    }

    /// Whether the layer holds projections of softmax attention that were not trained for this rule yet. Such a
    /// layer runs on an autodiff device, to be trained, and nowhere else. The mark is not part of a record: a
    /// layer that is loaded again has the mark of the layer it is loaded into.
    pub fn needs_distillation(&self) -> bool {
        self.settings.needs_distillation
    }

    /// Declares that the layer was trained, and that its loss was looked at.
    pub fn mark_distilled(mut self) -> Self {
        self.settings.needs_distillation = false;
        self
    }

    /// Returns the same layer with its weights laid out for use: those of queries, keys, values and gates side
    /// by side in one buffer, of which each `Linear` keeps its columns, and all row after row, also where a
    /// checkpoint has them transposed. A GPU then multiplies the input once with all, and a step reads them as
    /// they lie. It takes no memory beyond the weights, which may be read, saved and replaced as before; what
    /// is done to them later (casting, moving to another device, loading a record) takes them apart again, so
    /// it is the last step before use. On other devices, and for training, the layer stays as it is.
    pub fn packed(self) -> Self {
        #[cfg(feature = "cuda")]
        return self.laid_out();
        #[cfg(not(feature = "cuda"))]
        self
    }

    /// Device of the weights.
    pub fn device(&self) -> Device {
        self.query.weight.val().device()
    }

    /// Number type of the weights.
    pub fn dtype(&self) -> DType {
        self.query.weight.val().dtype()
    }

    /// Refuses an input that would be computed wrongly.
    fn ready(&self, x: &Tensor<3>) -> Result<(), AttentionError> {
        if self.settings.needs_distillation && !self.device().is_autodiff() {
            return Err(AttentionError::NeedsDistillation);
        }
        let (given, wanted) = (x.dtype(), self.dtype());
        if given != wanted {
            return Err(AttentionError::Type {
                field: "x",
                given,
                wanted,
            });
        }
        shaped("x", &x.dims(), &[None, None, None])?;
        if x.dims()[..2].contains(&0) {
            let wanted = "at least one sequence and one token".to_owned();
            return Err(AttentionError::Shape {
                field: "x",
                given: x.dims().to_vec(),
                wanted,
            });
        }
        Ok(())
    }

    /// Applies norm, gate and output projection to the heads' output `[B, N, H, dv]`; `x` is the gate's input.
    fn finish(&self, output: Tensor<4>, x: &Tensor<3>) -> Tensor<3> {
        let [batch, tokens, heads, width] = output.dims();
        let gate = self
            .output_gate
            .as_ref()
            .map(|gate| project(gate, x.clone()).reshape([batch, tokens, heads, width]));
        let normed = crate::core::head_norm(output, self.norm.gamma.val(), gate, self.norm.epsilon);
        project(&self.output, normed.reshape([batch, tokens, heads * width]))
    }
}
