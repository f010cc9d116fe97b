//! Layers to check and to time, and passes of them.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use liquid_attention::{LiquidAttention, LiquidAttentionConfig, State};

use super::tensors::CopyTo;
use crate::attention::Cast;

/// A layer of the given width whose projections have no bias.
pub(super) fn without_biases(d_model: usize, heads: usize) -> LiquidAttentionConfig {
    LiquidAttentionConfig::new(d_model, heads)
        .with_query_bias(false)
        .with_key_bias(false)
        .with_value_bias(false)
        .with_output_bias(false)
}

/// Makes a layer in bf16.
pub(super) fn in_bf16(config: &LiquidAttentionConfig, device: &Device) -> Result<LiquidAttention> {
    Ok(config.init(device)?.map(&mut Cast(DType::BF16)))
}

/// Makes a layer in bf16 that records gradients.
pub(super) fn recording_in_bf16(config: &LiquidAttentionConfig, device: &Device) -> Result<LiquidAttention> {
    Ok(config.init(device)?.map(&mut CopyTo {
        dtype: DType::BF16,
        device: &device.clone().autodiff(),
    }))
}

/// Output of a pass, `[batch, tokens, d_model]`, and the state behind it.
#[derive(Clone)]
pub(super) struct Pass {
    pub(super) output: Tensor<3>,
    pub(super) state: State,
}

impl Pass {
    /// Prefills tokens behind a state.
    pub(super) fn behind(layer: &LiquidAttention, mut state: State, x: Tensor<3>) -> Result<Self> {
        let output = layer.prefill(x, &mut state)?;
        Ok(Self { output, state })
    }

    /// Prefills tokens from the start of their sequences.
    pub(super) fn fresh(layer: &LiquidAttention, x: Tensor<3>) -> Result<Self> {
        let [batch, ..] = x.dims();
        Self::behind(layer, layer.fresh_state(batch), x)
    }

    /// Prefills all tokens but the last, and gives the last in a step, whose output alone is kept.
    pub(super) fn last_in_a_step(layer: &LiquidAttention, x: &Tensor<3>) -> Result<Self> {
        let [_, tokens, _] = x.dims();
        let mut state = Self::fresh(layer, x.clone().narrow(1, 0, tokens - 1))?.state;
        let output = layer.step(x.clone().narrow(1, tokens - 1, 1), &mut state)?;
        Ok(Self { output, state })
    }
}
