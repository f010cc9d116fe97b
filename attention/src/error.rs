//! What a layer of this crate refuses, and what to do instead.

/// Why a call was refused; nothing was computed and no state changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttentionError {
    /// There is no matrix of weights in linear attention.
    #[error(
        "need_weights: linear attention never forms the N x N weights; leave it off, or use \
         burn::nn::attention::MultiHeadAttention for the layers whose weights you look at"
    )]
    WeightsUnavailable,
    /// A mask of pairs would need every pair.
    #[error(
        "mask_attn: an arbitrary mask of query and key pairs needs every pair; use is_causal(true) for the \
         autoregressive mask, mask_pad for padding, or MultiHeadAttention for other patterns"
    )]
    ArbitraryMask,
    /// Causal attention reads and writes at the same token.
    #[error(
        "is_causal with separate query and key/value inputs: causal attention needs one sequence; use \
         LiquidInput::self_attn, or is_causal(false) for cross-attention"
    )]
    CausalCross,
    /// The layer was made for both directions, the call asks for one, or for other lengths.
    #[error("bidirectional layer: {0}; initialise the layer with bidirectional = false for that")]
    Bidirectional(&'static str),
    /// The short convolution looks at the tokens before, so it needs an order.
    #[error(
        "is_causal(false) with a short convolution: it reads the tokens before each token; set is_causal(true), \
         or initialise the layer with conv_kernel = None"
    )]
    ConvolutionNeedsOrder,
    /// Two shapes do not fit.
    #[error("{field}: shape {given:?} given where {wanted} is needed")]
    Shape {
        /// The argument.
        field: &'static str,
        /// Its shape.
        given: Vec<usize>,
        /// The shape that fits.
        wanted: String,
    },
    /// The number type of an input is not that of the weights.
    #[error("{field}: type {given:?} given where the layer's weights are {wanted:?}; cast one to the other")]
    Type {
        /// The argument.
        field: &'static str,
        /// Its type.
        given: burn::tensor::DType,
        /// The weights' type.
        wanted: burn::tensor::DType,
    },
    /// The configuration cannot be built.
    #[error("{field} = {value}: {reason}")]
    Config {
        /// The key.
        field: &'static str,
        /// Its value.
        value: String,
        /// Why not, and what would do.
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
    /// The device failed while it was waited for.
    #[error("the device failed: {0}")]
    Device(String),
}

/// Fails unless the shape is the one wanted; dimensions that may be anything are `None`.
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
