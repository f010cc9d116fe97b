//! A whole layer without gradients: projections, gates, rule, norm and projection, in pieces of the sequence.
//!
//! The weights that read the input may lie side by side ([`side_by_side`]); then the input is read once for all five.
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

/// The weights of a layer, `[in, out]`, bf16, as burn's `Linear` keeps them, and its small parameters, bf16 or f32.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub struct LayerWeights<B: Backend> {
    /// `[E, H D]`.
    pub query: FloatTensor<B>,
    /// `[E, H D]`.
    pub key: FloatTensor<B>,
    /// `[E, H D]`.
    pub value: FloatTensor<B>,
    /// `[E, H]`, of the log-gates.
    pub gate_a: FloatTensor<B>,
    /// `[E, H]`, of the strengths.
    pub gate_b: FloatTensor<B>,
    /// `[H D, F]`.
    pub output: FloatTensor<B>,
    /// `[H]`.
    pub a_log: FloatTensor<B>,
    /// `[H]`; the bias of `gate_a`.
    pub dt_bias: FloatTensor<B>,
    /// `[D]`; weights of the norm of every head's output.
    pub gamma: FloatTensor<B>,
}

/// What a layer gives.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub struct LayerOutput<B: Backend> {
    /// `[B, N, F]`, bf16.
    pub output: FloatTensor<B>,
    /// `[B, H, D, D]`, f32.
    pub state: FloatTensor<B>,
}

/// The numbers of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerRule {
    /// The rule.
    pub rule: DeltaRule,
    /// Of the norm.
    pub epsilon: f64,
}

/// The weights that read a layer's input, `[in, out]`: what [`side_by_side`] moves.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub struct InputWeights<B: Backend> {
    /// Of queries.
    pub query: FloatTensor<B>,
    /// Of keys.
    pub key: FloatTensor<B>,
    /// Of values.
    pub value: FloatTensor<B>,
    /// Of log-gates.
    pub gate_a: FloatTensor<B>,
    /// Of strengths.
    pub gate_b: FloatTensor<B>,
}

fn kept(weights: &LayerWeightsMetadata, _slot: &Slot) -> TensorSpec {
    weights.gamma.clone()
}

fn metadata(x: &TensorSpec, state: &TensorSpec, slot: &Slot, _rule: &LayerRule) -> LayerOutputMetadata {
    LayerOutputMetadata {
        output: TensorSpec::new(Shape::from([x.shape[0], x.shape[1], slot.columns]), x.dtype),
        state: state.clone(),
    }
}

fn padded_metadata(
    x: &TensorSpec,
    state: &TensorSpec,
    _lengths: &TensorSpec,
    slot: &Slot,
    rule: &LayerRule,
) -> LayerOutputMetadata {
    metadata(x, state, slot, rule)
}

fn moved(weights: &InputWeightsMetadata) -> InputWeightsMetadata {
    weights.clone()
}

/// The layer as operations of the CUDA backend. Only for weights that [`HeldLayer::new`] accepts.
///
/// [`HeldLayer::new`]: super::HeldLayer::new
#[backend_extension(Cube, Fusion)]
pub trait LayerOps: Backend {
    /// Looks the weights up and puts them into the slot, for the two that follow; gives one of them back.
    #[fusion(meta = kept)]
    fn hold_layer(#[extension_type] weights: LayerWeights<Self>, slot: Slot) -> FloatTensor<Self>;

    /// Runs the layer in the slot over `x [B, N, E]`, bf16, from `state [B, H, D, D]`, f32.
    #[fusion(meta = metadata)]
    fn held_layer(
        x: FloatTensor<Self>,
        state: FloatTensor<Self>,
        slot: Slot,
        rule: LayerRule,
    ) -> LayerOutput<Self>;

    /// The same for sequences with padding behind their `lengths [B]`, f32: there the state stays as it is, and the
    /// output is of no use.
    #[fusion(meta = padded_metadata)]
    fn held_layer_padded(
        x: FloatTensor<Self>,
        state: FloatTensor<Self>,
        lengths: FloatTensor<Self>,
        slot: Slot,
        rule: LayerRule,
    ) -> LayerOutput<Self>;

    /// The same weights as views of one matrix in which they lie side by side.
    #[fusion(meta = moved)]
    fn side_by_side(#[extension_type] weights: InputWeights<Self>) -> InputWeights<Self>;
}

impl LayerOps for CubeBackend {
    fn hold_layer(weights: LayerWeights<Self>, slot: Slot) -> FloatTensor<Self> {
        done(held::hold(weights, &slot))
    }

    fn held_layer(
        x: FloatTensor<Self>,
        state: FloatTensor<Self>,
        slot: Slot,
        rule: LayerRule,
    ) -> LayerOutput<Self> {
        done(held::run(x, state, None, (&slot, rule)))
    }

    fn held_layer_padded(
        x: FloatTensor<Self>,
        state: FloatTensor<Self>,
        lengths: FloatTensor<Self>,
        slot: Slot,
        rule: LayerRule,
    ) -> LayerOutput<Self> {
        done(held::run(x, state, Some(lengths), (&slot, rule)))
    }

    fn side_by_side(weights: InputWeights<Self>) -> InputWeights<Self> {
        done(weights::side_by_side(weights))
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

/// Moves weights `[in, ..]` of queries, keys, values, log-gates and strengths into one matrix and gives them back as
/// views of it, which [`linear_layer`] multiplies in one product. As they are where the kernels do not serve.
pub fn side_by_side(weights: [Tensor<2>; 5]) -> [Tensor<2>; 5] {
    let device = weights[0].device();
    let alike = weights
        .iter()
        .all(|weight| weight.dtype() == DType::BF16 && weight.device() == device);
    if !alike || !super::may_serve(&device) {
        return weights;
    }
    let [query, key, value, gate_a, gate_b] = weights.map(Tensor::into_dispatch);
    let moved = <Dispatch as LayerOps>::side_by_side(InputWeights {
        query,
        key,
        value,
        gate_a,
        gate_b,
    });
    [moved.query, moved.key, moved.value, moved.gate_a, moved.gate_b].map(Tensor::from_dispatch)
}
