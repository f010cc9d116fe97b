//! A whole layer without gradients: projections, gates, rule, norm and projection, in pieces of the sequence.
//!
//! The weights that read the input may lie side by side ([`lay_out`]); then the input is read once for all five.
//! Besides input and output only two pieces exist at a time, and the border to burn is crossed once. The scan of a
//! piece runs on a stream of its own beside the products of the next piece.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;

use super::error::CudaError;
use super::held::{self, Slot};
use super::weights;
use crate::core::DeltaRule;

/// A tensor that not every layer has.
#[derive(Clone, ExtensionType)]
#[extension_type(fusion)]
pub enum Maybe<B: Backend> {
    /// It has none.
    Absent,
    /// It has this.
    Present(FloatTensor<B>),
}

impl<B: Backend> Maybe<B> {
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

impl<B: Backend> From<Option<FloatTensor<B>>> for Maybe<B> {
    fn from(tensor: Option<FloatTensor<B>>) -> Self {
        tensor.map_or(Self::Absent, Self::Present)
    }
}

/// The weights of a layer, bf16, matrices `[in, out]` as burn's `Linear` keeps them, and its small parameters, bf16 or
/// f32.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub struct LayerWeights<B: Backend> {
    /// Those that read the input.
    #[extension_type]
    pub input: InputWeights<B>,
    /// Their biases, each where the products with its matrix lie (`Columns`) and zeros elsewhere.
    #[extension_type]
    pub input_bias: Maybe<B>,
    /// `[H D, F]`.
    pub output: FloatTensor<B>,
    /// `[F]`.
    #[extension_type]
    pub output_bias: Maybe<B>,
    /// Of the short convolution, `[channels, K]`.
    #[extension_type]
    pub convolution: Maybe<B>,
    /// `[H]`.
    pub a_log: FloatTensor<B>,
    /// `[H]`; the bias of `gate_a`.
    pub dt_bias: FloatTensor<B>,
    /// `[D]`; weights of the norm of every head's output.
    pub gamma: FloatTensor<B>,
}

/// What a layer reads.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub struct LayerInput<B: Backend> {
    /// `[B, N, E]`, bf16.
    pub x: FloatTensor<B>,
    /// `[B, H, D, D]`, f32.
    pub state: FloatTensor<B>,
    /// What the convolution keeps, `[B, K - 1, channels]`, bf16; present where there is one.
    #[extension_type]
    pub tail: Maybe<B>,
    /// Tokens of each sequence before its padding, `[B]`, f32.
    #[extension_type]
    pub lengths: Maybe<B>,
}

/// What a layer gives.
#[derive(Clone, ExtensionType)]
#[extension_type(fusion)]
pub struct LayerOutput<B: Backend> {
    /// `[B, N, F]`, bf16.
    pub output: FloatTensor<B>,
    /// `[B, H, D, D]`, f32.
    pub state: FloatTensor<B>,
    /// `[B, K - 1, channels]`, bf16, where there is a convolution.
    #[extension_type]
    pub tail: Maybe<B>,
}

/// The numbers of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerRule {
    /// The rule.
    pub rule: DeltaRule,
    /// Of the norm.
    pub epsilon: f64,
}

/// The matrices of a layer, which [`LayerOps::lay_out`] moves.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub struct LayerMatrices<B: Backend> {
    /// Those that read the input.
    #[extension_type]
    pub input: InputWeights<B>,
    /// `[H D, F]`.
    pub output: FloatTensor<B>,
}

/// The weights that read a layer's input, `[in, out]`.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub struct InputWeights<B: Backend> {
    /// Of queries, `[E, h D]` with `h` heads that divide the `H` heads of the state.
    pub query: FloatTensor<B>,
    /// Of keys, `[E, h D]`.
    pub key: FloatTensor<B>,
    /// Of values, `[E, H D]`.
    pub value: FloatTensor<B>,
    /// Of log-gates, `[E, H]`.
    pub gate_a: FloatTensor<B>,
    /// Of strengths, `[E, H]`.
    pub gate_b: FloatTensor<B>,
    /// Of the output gate, `[E, H D]`.
    #[extension_type]
    pub gate: Maybe<B>,
}

fn kept(weights: &LayerWeightsMetadata, _slot: &Slot) -> TensorSpec {
    weights.gamma.clone()
}

fn metadata(input: &LayerInputMetadata, slot: &Slot, _rule: &LayerRule) -> LayerOutputMetadata {
    let LayerInputMetadata { x, state, tail, .. } = input;
    LayerOutputMetadata {
        output: TensorSpec::new(Shape::from([x.shape[0], x.shape[1], slot.columns]), x.dtype),
        state: state.clone(),
        tail: tail.clone(),
    }
}

fn moved(weights: &LayerMatricesMetadata) -> LayerMatricesMetadata {
    weights.clone()
}

/// The layer as operations of the CUDA backend. Only for weights that `HeldLayer::new` accepts.
#[backend_extension(Cube, Fusion)]
pub trait LayerOps: Backend {
    /// Looks the weights up and puts them into the slot, for the next; gives one of them back.
    #[fusion(meta = kept)]
    fn hold_layer(#[extension_type] weights: LayerWeights<Self>, slot: Slot) -> FloatTensor<Self>;

    /// Runs the layer in the slot. Behind the lengths of the sequences, if there are any, what is kept stays as it is, and
    /// the output is of no use.
    #[fusion(meta = metadata)]
    fn held_layer(
        #[extension_type] input: LayerInput<Self>,
        slot: Slot,
        rule: LayerRule,
    ) -> LayerOutput<Self>;

    /// The same weights, those that read the input as views of one matrix in which they lie side by side, that of the
    /// output row after row.
    #[fusion(meta = moved)]
    fn lay_out(#[extension_type] weights: LayerMatrices<Self>) -> LayerMatrices<Self>;
}

impl LayerOps for CubeBackend {
    fn hold_layer(weights: LayerWeights<Self>, slot: Slot) -> FloatTensor<Self> {
        done(held::hold(weights, &slot))
    }

    fn held_layer(input: LayerInput<Self>, slot: Slot, rule: LayerRule) -> LayerOutput<Self> {
        held::run(input, &slot, rule)
    }

    fn lay_out(weights: LayerMatrices<Self>) -> LayerMatrices<Self> {
        done(weights::lay_out(weights))
    }
}

#[allow(
    clippy::panic,
    reason = "an operation of burn has no way to give an error back"
)]
fn done<R>(result: Result<R, CudaError>) -> R {
    match result {
        Ok(output) => output,
        Err(error) => panic!("the fused layer failed on the GPU: {error}"),
    }
}

/// Weights `[in, ..]` of queries, keys, values, log-gates and strengths, of the output gate and of the output, laid out
/// for use: all but the last in one matrix, as views of it, which a layer multiplies in one product, and each row after
/// row, as a step reads them. As they are where the kernels do not serve.
pub(crate) fn lay_out(
    weights: [Tensor<2>; 5],
    gate: Option<Tensor<2>>,
    output: Tensor<2>,
) -> ([Tensor<2>; 5], Option<Tensor<2>>, Tensor<2>) {
    let device = output.device();
    let alike = (weights.iter().chain(&gate).chain([&output]))
        .all(|weight| weight.dtype() == DType::BF16 && weight.device() == device);
    if !alike || !super::may_serve(&device) {
        return (weights, gate, output);
    }
    let LayerMatrices { input, output } = <Dispatch as LayerOps>::lay_out(LayerMatrices {
        input: InputWeights::of(weights, gate),
        output: output.into_dispatch(),
    });
    let five = [input.query, input.key, input.value, input.gate_a, input.gate_b].map(Tensor::from_dispatch);
    let gate = input.gate.into_option().map(Tensor::from_dispatch);
    (five, gate, Tensor::from_dispatch(output))
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
