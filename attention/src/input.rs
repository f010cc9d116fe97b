//! Input and output of a forward pass, in the shape of burn's `MhaInput` and `MhaOutput`.

use burn::tensor::{Bool, Tensor};

use crate::error::{AttentionError, shaped};

/// Sequences of queries, keys and values.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) query: Tensor<3>,
    /// Sequences of keys and values, where they are not that of the queries.
    pub(crate) others: Option<(Tensor<3>, Tensor<3>)>,
}

/// Input of [`crate::LiquidAttention::forward`]; built as burn's `MhaInput` is.
#[derive(Clone, Debug)]
pub struct LiquidInput {
    pub(crate) source: Source,
    pub(crate) mask_pad: Option<Tensor<2, Bool>>,
    pub(crate) mask_attn: bool,
    pub(crate) causal: bool,
    pub(crate) weights: bool,
}

impl LiquidInput {
    fn of(query: Tensor<3>, others: Option<(Tensor<3>, Tensor<3>)>) -> Self {
        Self {
            source: Source { query, others },
            mask_pad: None,
            mask_attn: false,
            causal: false,
            weights: false,
        }
    }

    /// Returns the input of self-attention over `[B, N, d_model]`.
    pub fn self_attn(tensor: Tensor<3>) -> Self {
        Self::of(tensor, None)
    }

    /// Returns the input of attention from `query [B, Nq, d_model]` to `key` and `value [B, Nk, d_model]`. It cannot be
    /// causal.
    pub fn new(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>) -> Self {
        Self::of(query, Some((key, value)))
    }

    /// Lets each token see itself and those before it only. Off unless set, as with `MhaInput` without a mask.
    pub fn is_causal(mut self, causal: bool) -> Self {
        self.causal = causal;
        self
    }

    /// Sets the padding among the keys, `[B, Nk]`, true where there is padding. Padding may be anywhere; a
    /// padded token is treated as if it had been deleted, and its output is zeros.
    pub fn mask_pad(mut self, mask_pad: Tensor<2, Bool>) -> Self {
        self.mask_pad = Some(mask_pad);
        self
    }

    /// Sets the padding, by PyTorch's name for [`Self::mask_pad`].
    pub fn key_padding_mask(self, mask: Tensor<2, Bool>) -> Self {
        self.mask_pad(mask)
    }

    /// Sets a mask of pairs, `[B, Nq, Nk]`: accepted for the sake of burn's interface, and refused by `forward`.
    pub fn mask_attn(mut self, _mask: Tensor<3, Bool>) -> Self {
        self.mask_attn = true;
        self
    }

    /// Asks for the attention weights, which do not exist: refused by `forward`.
    pub fn need_weights(mut self, need: bool) -> Self {
        self.weights = need;
        self
    }

    /// Refuses what no layer computes, and shapes that do not fit together.
    pub(crate) fn check(&self, d_model: usize) -> Result<(), AttentionError> {
        if self.weights {
            return Err(AttentionError::WeightsUnavailable);
        }
        if self.mask_attn {
            return Err(AttentionError::ArbitraryMask);
        }
        let query = &self.source.query;
        shaped("query", &query.dims(), &[None, None, Some(d_model)])?;
        let keys = match &self.source.others {
            None => query.dims(),
            Some(_) if self.causal => return Err(AttentionError::CausalCross),
            Some((key, value)) => {
                let (batch, keys) = (query.dims()[0], key.dims());
                shaped("key", &keys, &[Some(batch), None, Some(d_model)])?;
                shaped(
                    "value",
                    &value.dims(),
                    &[Some(batch), Some(keys[1]), Some(d_model)],
                )?;
                keys
            }
        };
        if let Some(mask) = &self.mask_pad {
            shaped("mask_pad", &mask.dims(), &[Some(keys[0]), Some(keys[1])])?;
        }
        Ok(())
    }
}

/// Output of [`crate::LiquidAttention::forward`]. Unlike burn's it has no attention weights.
#[derive(Clone, Debug)]
pub struct LiquidOutput {
    /// Output of every query, `[B, Nq, d_model]`.
    pub context: Tensor<3>,
}
