//! The layer as operations that burn knows.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;

use super::slot::{self, LayerSlot};
use super::tensors::{
    InputWeights, LayerInput, LayerInputMetadata, LayerMatrices, LayerMatricesMetadata, LayerOutput,
    LayerOutputMetadata, LayerRule, LayerWeights, LayerWeightsMetadata,
};
use super::weights;
use crate::cuda::device::may_serve;
use crate::cuda::error::CudaError;

fn kept(weights: &LayerWeightsMetadata, _slot: &LayerSlot) -> TensorSpec {
    weights.gamma.clone()
}

fn metadata(input: &LayerInputMetadata, slot: &LayerSlot, _rule: &LayerRule) -> LayerOutputMetadata {
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

/// The layer as operations of the CUDA backend. Only for weights that `PreparedLayer::new` accepts.
#[backend_extension(Cube, Fusion)]
pub trait LayerOps: Backend {
    /// Looks the weights up and puts them into the slot, for [`Self::prepared_layer`]; returns one of them.
    #[fusion(meta = kept)]
    fn prepare_layer(#[extension_type] weights: LayerWeights<Self>, slot: LayerSlot) -> FloatTensor<Self>;

    /// Runs the layer in the slot. Behind the lengths of the sequences, if there are any, what is kept stays
    /// as it is, and the output is of no use.
    #[fusion(meta = metadata)]
    fn prepared_layer(
        #[extension_type] input: LayerInput<Self>,
        slot: LayerSlot,
        rule: LayerRule,
    ) -> LayerOutput<Self>;

    /// Returns the same weights, those that read the input as views of one matrix in which they lie side by
    /// side, that of the output row after row.
    #[fusion(meta = moved)]
    fn lay_out(#[extension_type] weights: LayerMatrices<Self>) -> LayerMatrices<Self>;
}

impl LayerOps for CubeBackend {
    fn prepare_layer(weights: LayerWeights<Self>, slot: LayerSlot) -> FloatTensor<Self> {
        done(slot::prepare(weights, &slot))
    }

    fn prepared_layer(input: LayerInput<Self>, slot: LayerSlot, rule: LayerRule) -> LayerOutput<Self> {
        slot::run(input, &slot, rule)
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

/// Weights `[in, ..]` of queries, keys, values, log-gates and strengths, of the output gate and of the
/// output, laid out for use: all but the last in one matrix, as views of it, which a layer multiplies in one
/// product, and each row after row, as a step reads them. As they are where the kernels do not serve.
pub(crate) fn lay_out(
    weights: [Tensor<2>; 5],
    gate: Option<Tensor<2>>,
    output: Tensor<2>,
) -> ([Tensor<2>; 5], Option<Tensor<2>>, Tensor<2>) {
    let device = output.device();
    let alike = (weights.iter().chain(&gate).chain([&output]))
        .all(|weight| weight.dtype() == DType::BF16 && weight.device() == device);
    if !alike || !may_serve(&device) {
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
