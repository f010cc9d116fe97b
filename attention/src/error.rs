//! What a layer of this crate refuses, and what to do instead.

/// Why a call was refused; nothing was computed and no state changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttentionError {
    /// The attention weights were asked for; linear attention has no matrix of weights.
    #[error(
        "need_weights: linear attention never forms the N x N weights; leave it off, or use \
         burn::nn::attention::MultiHeadAttention for the layers whose weights you look at"
    )]
    WeightsUnavailable,
    /// A mask of pairs was given; it would need every pair.
    #[error(
        "mask_attn: an arbitrary mask of query and key pairs needs every pair; use is_causal(true) for the \
         autoregressive mask, mask_pad for padding, or MultiHeadAttention for other patterns"
    )]
    ArbitraryMask,
    /// Causal attention was asked for with keys of another sequence; it reads and writes at the same token.
    #[error(
        "is_causal with separate query and key/value inputs: causal attention needs one sequence; use \
         LiquidInput::self_attn, or is_causal(false) for cross-attention"
    )]
    CausalCross,
    /// The layer is bidirectional, and the call asks for one direction, or for keys of another sequence.
    #[error("bidirectional layer: {0}; initialise the layer with bidirectional = false for that")]
    Bidirectional(&'static str),
    /// The layer has a short convolution, which needs an order, and the call has none.
    #[error(
        "is_causal(false) with a short convolution: it reads the tokens before each token; set is_causal(true), \
         or initialise the layer with conv_kernel = None"
    )]
    ConvolutionNeedsOrder,
    /// A shape does not fit.
    #[error("{field}: shape {given:?} given where {wanted} is needed")]
    Shape {
        /// The argument.
        field: &'static str,
        /// The argument's shape.
        given: Vec<usize>,
        /// The shape that fits.
        wanted: String,
    },
    /// The number type of an input is not that of the weights.
    #[error("{field}: type {given:?} given where the layer's weights are {wanted:?}; cast one to the other")]
    Type {
        /// The argument.
        field: &'static str,
        /// The argument's type.
        given: burn::tensor::DType,
        /// The weights' type.
        wanted: burn::tensor::DType,
    },
    /// The configuration cannot be built.
    #[error("{field} = {value}: {reason}")]
    Config {
        /// The key.
        field: &'static str,
        /// The key's value.
        value: String,
        /// Why the value does not fit, and which would.
        reason: String,
    },
    /// Softmax projections were copied into a layer that was not trained with them.
    #[error(
        "needs_distillation: this layer holds projections of softmax attention and answers garbage until it is \
         trained (see the example `distill`); train it on an autodiff device, then call mark_distilled()"
    )]
    NeedsDistillation,
    /// Bytes that are not a saved state, or the state of another layer.
    #[error("state: {0}")]
    State(String),
    /// The device failed while a call waited for it.
    #[error("the device failed: {0}")]
    Device(String),
}

/// Fails unless the shape is the one wanted; `None` stands for a dimension of any length.
pub(crate) fn shaped(
    field: &'static str,
    given: &[usize],
    wanted: &[Option<usize>],
) -> Result<(), AttentionError> {
    let fits = given.len() == wanted.len()
        && given
            .iter()
            .zip(wanted)
            .all(|(given, wanted)| wanted.is_none_or(|wanted| wanted == *given));
    if fits {
        return Ok(());
    }
    let wanted: Vec<String> = wanted
        .iter()
        .map(|wanted| wanted.map_or("any".to_owned(), |n| n.to_string()))
        .collect();
    Err(AttentionError::Shape {
        field,
        given: given.to_vec(),
        wanted: format!("[{}]", wanted.join(", ")),
    })
}
