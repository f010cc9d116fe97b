//! What a layer reads and writes, as burn's tensors.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType};
use burn::tensor::Tensor;

use crate::core::DeltaRule;

/// A tensor that not every layer has.
#[derive(Clone, ExtensionType)]
#[extension_type(fusion)]
pub enum OptionalTensor<B: Backend> {
    /// The layer has none.
    Absent,
    /// The layer has this one.
    Present(FloatTensor<B>),
}

impl<B: Backend> OptionalTensor<B> {
    pub(super) fn as_option(&self) -> Option<&FloatTensor<B>> {
        match self {
            Self::Absent => None,
            Self::Present(tensor) => Some(tensor),
        }
    }

    pub(super) fn into_option(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Absent => None,
            Self::Present(tensor) => Some(tensor),
        }
    }
}

impl<B: Backend> From<Option<FloatTensor<B>>> for OptionalTensor<B> {
    fn from(tensor: Option<FloatTensor<B>>) -> Self {
        tensor.map_or(Self::Absent, Self::Present)
    }
}

/// The weights of a layer, bf16, matrices `[in, out]` as burn's `Linear` keeps them, and its small
/// parameters, bf16 or f32.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub struct LayerWeights<B: Backend> {
    /// Matrices that read the input.
    #[extension_type]
    pub input: InputWeights<B>,
    /// Biases of the matrices that read the input, each where the products with its matrix lie
    /// ([`liquid_cuda::rule::Columns`]) and zeros elsewhere.
    #[extension_type]
    pub input_bias: OptionalTensor<B>,
    /// Matrix of the output, `[H D, F]`.
    pub output: FloatTensor<B>,
    /// Bias of the output, `[F]`.
    #[extension_type]
    pub output_bias: OptionalTensor<B>,
    /// Weights of the short convolution, `[channels, K]`.
    #[extension_type]
    pub convolution: OptionalTensor<B>,
    /// Logarithm of the fastest forgetting, `[H]`.
    pub a_log: FloatTensor<B>,
    /// Bias of `gate_a`, `[H]`.
    pub dt_bias: FloatTensor<B>,
    /// Weights of the norm of every head's output, `[D]`.
    pub gamma: FloatTensor<B>,
}

/// What a layer reads.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub struct LayerInput<B: Backend> {
    /// Input `[B, N, E]`, bf16.
    pub x: FloatTensor<B>,
    /// State `[B, H, D, D]`, f32.
    pub state: FloatTensor<B>,
    /// Tokens that the convolution keeps, `[B, K - 1, channels]`, bf16; present where there is a convolution.
    #[extension_type]
    pub tail: OptionalTensor<B>,
    /// Tokens of each sequence before its padding, `[B]`, f32.
    #[extension_type]
    pub lengths: OptionalTensor<B>,
}

/// What a layer writes.
#[derive(Clone, ExtensionType)]
#[extension_type(fusion)]
pub struct LayerOutput<B: Backend> {
    /// Output `[B, N, F]`, bf16.
    pub output: FloatTensor<B>,
    /// State `[B, H, D, D]`, f32.
    pub state: FloatTensor<B>,
    /// Tokens that the convolution keeps, `[B, K - 1, channels]`, bf16, where there is a convolution.
    #[extension_type]
    pub tail: OptionalTensor<B>,
}

/// How a layer applies the rule and its norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerRule {
    /// How the rule is applied.
    pub rule: DeltaRule,
    /// Number that the norm adds to the mean of the squares.
    pub epsilon: f64,
}

/// The matrices of a layer, which `LayerOps::lay_out` moves.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub struct LayerMatrices<B: Backend> {
    /// Matrices that read the input.
    #[extension_type]
    pub input: InputWeights<B>,
    /// Matrix of the output, `[H D, F]`.
    pub output: FloatTensor<B>,
}

/// The weights that read a layer's input, `[in, out]`.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub struct InputWeights<B: Backend> {
    /// Weights of queries, `[E, h D]` with `h` heads that divide the `H` heads of the state.
    pub query: FloatTensor<B>,
    /// Weights of keys, `[E, h D]`.
    pub key: FloatTensor<B>,
    /// Weights of values, `[E, H D]`.
    pub value: FloatTensor<B>,
    /// Weights of log-gates, `[E, H]`.
    pub gate_a: FloatTensor<B>,
    /// Weights of strengths, `[E, H]`.
    pub gate_b: FloatTensor<B>,
    /// Weights of the output gate, `[E, H D]`.
    #[extension_type]
    pub gate: OptionalTensor<B>,
}

impl InputWeights<Dispatch> {
    pub(super) fn of(weights: [Tensor<2>; 5], gate: Option<Tensor<2>>) -> Self {
        let [query, key, value, gate_a, gate_b] = weights.map(Tensor::into_dispatch);
        Self {
            query,
            key,
            value,
            gate_a,
            gate_b,
            gate: gate.map(Tensor::into_dispatch).into(),
        }
    }
}
