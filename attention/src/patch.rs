//! Replaces softmax attention by linear attention.
//!
//! The projections are copied; what they were trained for is not. Softmax weights do not carry over to a state of
//! fixed size: a model whose attention was swapped and not trained answers garbage. So a patched layer is marked
//! ([`LiquidAttention::needs_distillation`]) and refuses to run except on an autodiff device, until
//! [`LiquidAttention::mark_distilled`] is called. The first stage of a distillation, each layer alone against what
//! the softmax layer gives on the same input (as in LoLCATs, arXiv 2410.10254, and RADLADS, 2505.03005), is the
//! example `distill`. After it a real model needs further training on hundreds of millions of tokens, and keeps
//! less of its recall than a model that was trained with gated delta layers from the start.

use burn::module::Param;
use burn::nn::Linear;
use burn::nn::attention::MultiHeadAttention;
use burn::tensor::{DType, Tensor};

use crate::attention::LiquidAttention;
use crate::config::LiquidAttentionConfig;
use crate::error::AttentionError;

#[cfg(test)]
mod tests;

/// The projections of a softmax attention, in burn's layout (`[in, out]`).
#[derive(Clone, Debug)]
pub struct Projections {
    /// Query projection, `[model, heads * D]`.
    pub query: Linear,
    /// `[model, key_value_heads * D]`.
    pub key: Linear,
    /// `[model, key_value_heads * D]`.
    pub value: Linear,
    /// Output projection, `[heads * D, model]`.
    pub output: Linear,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads; each serves `heads / key_value_heads` query heads.
    pub key_value_heads: usize,
}

impl From<&MultiHeadAttention> for Projections {
    fn from(attention: &MultiHeadAttention) -> Self {
        Self {
            query: attention.query.clone(),
            key: attention.key.clone(),
            value: attention.value.clone(),
            output: attention.output.clone(),
            heads: attention.n_heads,
            key_value_heads: attention.n_heads,
        }
    }
}

/// Returns a layer with these projections in the place of a softmax attention, marked as needing distillation. Heads
/// of keys and values that serve several query heads are repeated. `options` sets everything that a softmax attention
/// does not have (erase, convolution, gate, ..); its widths and biases are replaced by those of the projections.
///
/// # Errors
/// [`AttentionError::Config`] when the heads do not divide the widths.
pub fn patch_self_attention(
    projections: Projections,
    options: &LiquidAttentionConfig,
) -> Result<LiquidAttention, AttentionError> {
    let head = check(&projections)?;
    let Projections {
        query,
        key,
        value,
        output,
        heads,
        key_value_heads,
    } = projections;
    let mut config = options.clone();
    config.d_model = query.weight.dims()[0];
    config.n_heads = heads;
    config.n_key_heads = None;
    config.d_key = Some(head);
    config.d_value = Some(head);
    let device = query.weight.val().device();
    let mut layer = config.init(&device)?;
    let dtype = query.weight.val().dtype();
    let gates = [&mut layer.gate_a, &mut layer.gate_b]
        .into_iter()
        .chain(&mut layer.output_gate);
    for gate in gates {
        gate.weight = cast(&gate.weight, dtype);
    }
    if let Some(conv) = &mut layer.conv {
        conv.weight = cast(&conv.weight, dtype);
    }
    layer.norm.gamma = cast(&layer.norm.gamma, dtype);
    layer.query = query;
    layer.key = repeat(&key, key_value_heads, heads);
    layer.value = repeat(&value, key_value_heads, heads);
    layer.output = output;
    layer.settings.needs_distillation = true;
    Ok(layer)
}

/// Returns the width of a head, if heads and widths fit each other.
fn check(projections: &Projections) -> Result<usize, AttentionError> {
    let Projections {
        query,
        key,
        value,
        output,
        ..
    } = projections;
    let (heads, key_value_heads) = (projections.heads, projections.key_value_heads);
    let [model, width] = query.weight.dims();
    let refuse = |field, value: usize, reason: &str| {
        Err(AttentionError::Config {
            field,
            value: value.to_string(),
            reason: reason.to_owned(),
        })
    };
    if heads == 0 || !width.is_multiple_of(heads) {
        return refuse(
            "heads",
            heads,
            "does not divide the width of the query projection",
        );
    }
    if key_value_heads == 0 || !heads.is_multiple_of(key_value_heads) {
        return refuse("key_value_heads", key_value_heads, "does not divide heads");
    }
    let head = width / heads;
    let narrow = [key, value].map(|linear| linear.weight.dims() == [model, key_value_heads * head]);
    if narrow != [true, true] || output.weight.dims() != [width, model] {
        return refuse(
            "key_value_heads",
            key_value_heads,
            "the projections have other widths than the heads say",
        );
    }
    Ok(head)
}

/// Returns a parameter in the type of the projections.
fn cast<const D: usize>(param: &Param<Tensor<D>>, dtype: DType) -> Param<Tensor<D>> {
    Param::from_tensor(param.val().cast(dtype).detach())
}

/// Repeats each head's columns as often as it serves.
fn repeat(linear: &Linear, own: usize, heads: usize) -> Linear {
    if own == heads {
        return linear.clone();
    }
    let columns = |weight: Tensor<2>| {
        let [rows, width] = weight.dims();
        let head = width / own;
        weight
            .reshape([rows, own, 1, head])
            .expand([rows, own, heads / own, head])
            .reshape([rows, heads * head])
    };
    let weight = columns(linear.weight.val()).detach();
    let bias = linear.bias.as_ref().map(|bias| {
        let width = bias.dims()[0];
        let bias = columns(bias.val().reshape([1, width])).detach();
        let [_, width] = bias.dims();
        Param::from_tensor(bias.reshape([width]))
    });
    Linear {
        weight: Param::from_tensor(weight),
        bias,
    }
}
