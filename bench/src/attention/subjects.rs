//! The subjects that are measured in this process.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::Linear;
use burn::nn::attention::{
    MhaInput, MultiHeadAttention, MultiHeadAttentionConfig, generate_autoregressive_mask,
};
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{DType, Tensor};
use liquid_attention::core::project;
use liquid_attention::{AttentionError, LiquidAttention, LiquidAttentionConfig, LiquidInput};

use super::benchmark::Benchmark;

/// One forward pass, projections included.
pub(super) type Pass = Box<dyn FnMut() -> Result<Tensor<3>, AttentionError>>;

/// A layer, or a call of one, that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A causal pass of `LiquidAttention`.
    Liquid,
    /// A step of `LiquidAttention` behind a prompt.
    LiquidStep,
    /// burn's `MultiHeadAttention`, which forms the scores.
    Naive,
    /// burn's fused attention between the same projections.
    Flash,
}

impl Subject {
    pub(super) const OURS: [Self; 2] = [Self::Liquid, Self::LiquidStep];
    pub(super) const PEERS: [Self; 2] = [Self::Flash, Self::Naive];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Liquid => "LiquidAttention",
            Self::LiquidStep => "LiquidAttention, one step after them",
            Self::Naive => "burn MultiHeadAttention",
            Self::Flash => "burn fused attention",
        }
    }

    /// Whether the subject's time grows with the square of the tokens.
    pub(super) fn is_quadratic(self) -> bool {
        Self::PEERS.contains(&self)
    }

    /// Memory of the scores alone in GiB: their product, the masked copy, the softmax.
    pub(super) fn memory(self, benchmark: &Benchmark, tokens: usize) -> f64 {
        let pairs = (benchmark.batch_size * benchmark.num_heads) as f64 * (tokens as f64).powi(2);
        match self {
            Self::Naive => 3.0 * pairs * benchmark.dtype.size() as f64 / f64::from(1 << 30),
            _ => 0.0,
        }
    }

    /// Makes layer and input, and returns the pass that is measured.
    pub(super) fn prepare(self, benchmark: &Benchmark, tokens: usize) -> Result<Pass, AttentionError> {
        let x = benchmark.input(tokens);
        match self {
            Self::Liquid => {
                let layer = liquid(benchmark)?;
                Ok(Box::new(move || {
                    let input = LiquidInput::self_attn(x.clone()).is_causal(true);
                    layer.forward(input).map(|output| output.context)
                }))
            }
            Self::LiquidStep => {
                let layer = liquid(benchmark)?;
                let mut state = layer.fresh_state(benchmark.batch_size);
                layer.prefill(x, &mut state)?;
                let token = benchmark.input(1);
                Ok(Box::new(move || layer.step(token.clone(), &mut state)))
            }
            Self::Naive => {
                let layer = softmax(benchmark);
                let mask = generate_autoregressive_mask(benchmark.batch_size, tokens, &benchmark.device);
                Ok(Box::new(move || {
                    let input = MhaInput::self_attn(x.clone()).mask_attn(mask.clone());
                    Ok(layer.forward(input).context)
                }))
            }
            Self::Flash => {
                let layer = softmax(benchmark);
                Ok(Box::new(move || Ok(fused(&layer, x.clone()))))
            }
        }
    }
}

fn liquid(benchmark: &Benchmark) -> Result<LiquidAttention, AttentionError> {
    let config = LiquidAttentionConfig::new(benchmark.embed_dim, benchmark.num_heads)
        .with_query_bias(false)
        .with_key_bias(false)
        .with_value_bias(false)
        .with_output_bias(false);
    let layer = config.init(&benchmark.device)?.map(&mut Cast(benchmark.dtype));
    Ok(layer.packed())
}

fn softmax(benchmark: &Benchmark) -> MultiHeadAttention {
    let config = MultiHeadAttentionConfig::new(benchmark.embed_dim, benchmark.num_heads)
        .with_dropout(0.0)
        .with_query_bias(false)
        .with_key_bias(false)
        .with_value_bias(false)
        .with_output_bias(false);
    config.init(&benchmark.device).map(&mut Cast(benchmark.dtype))
}

/// The projections of a `MultiHeadAttention` around burn's attention operation.
fn fused(layer: &MultiHeadAttention, x: Tensor<3>) -> Tensor<3> {
    let [batch, tokens, width] = x.dims();
    let heads = |linear: &Linear| {
        project(linear, x.clone())
            .reshape([batch, tokens, layer.n_heads, layer.d_k])
            .swap_dims(1, 2)
    };
    let options = AttentionModuleOptions {
        is_causal: true,
        ..Default::default()
    };
    let context = attention(
        heads(&layer.query),
        heads(&layer.key),
        heads(&layer.value),
        None,
        None,
        options,
    );
    project(
        &layer.output,
        context.swap_dims(1, 2).reshape([batch, tokens, width]),
    )
}

/// Casts weights to the type that is measured.
pub(crate) struct Cast(pub(crate) DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}
