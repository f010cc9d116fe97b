//! A whole layer without gradients: projections, gates, rule, norm and projection, in pieces of the sequence.
//!
//! Besides input and output only two pieces exist at a time, and the border to burn is crossed once. The scan of a
//! piece runs on a stream of its own beside the products of the next piece.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;

use super::launch::serves;
use super::pass::run;
use crate::core::DeltaRule;

/// What a layer reads. Weights are `[in, out]`, bf16, as burn's `Linear` keeps them.
#[derive(ExtensionType)]
#[extension_type(fusion)]
pub struct LayerInputs<B: Backend> {
    /// `[B, N, E]`, bf16.
    pub x: FloatTensor<B>,
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
    /// `[H]`, bf16 or f32, as the two that follow.
    pub a_log: FloatTensor<B>,
    /// `[H]`; the bias of `gate_a`.
    pub dt_bias: FloatTensor<B>,
    /// `[D]`; weights of the norm of every head's output.
    pub gamma: FloatTensor<B>,
    /// `[B, H, D, D]`, f32.
    pub state: FloatTensor<B>,
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

fn metadata(inputs: &LayerInputsMetadata, _rule: &LayerRule) -> LayerOutputMetadata {
    let (x, out) = (&inputs.x.shape, inputs.output.shape[1]);
    LayerOutputMetadata {
        output: TensorSpec::new(Shape::from([x[0], x[1], out]), inputs.x.dtype),
        state: inputs.state.clone(),
    }
}

/// The layer as an operation of the CUDA backend. Only for inputs that [`serves_layer`] accepts.
#[backend_extension(Cube, Fusion)]
pub trait LayerOps: Backend {
    /// Runs the layer from `inputs.state`.
    #[fusion(meta = metadata)]
    fn linear_layer(#[extension_type] inputs: LayerInputs<Self>, rule: LayerRule) -> LayerOutput<Self>;
}

impl LayerOps for CubeBackend {
    fn linear_layer(inputs: LayerInputs<Self>, rule: LayerRule) -> LayerOutput<Self> {
        match run(inputs, rule) {
            Ok(output) => output,
            #[allow(
                clippy::panic,
                reason = "an operation of burn has no way to give an error back"
            )]
            Err(error) => panic!("the fused layer failed on the GPU: {error}"),
        }
    }
}

/// The tensors of a layer, see [`LayerInputs`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named and shaped as in LayerInputs")]
pub struct LayerTensors {
    pub x: Tensor<3>,
    pub query: Tensor<2>,
    pub key: Tensor<2>,
    pub value: Tensor<2>,
    pub gate_a: Tensor<2>,
    pub gate_b: Tensor<2>,
    pub output: Tensor<2>,
    pub a_log: Tensor<1>,
    pub dt_bias: Tensor<1>,
    pub gamma: Tensor<1>,
    pub state: Tensor<4>,
}

/// Whether the fused layer serves these tensors: bf16 on a Hopper GPU, head size 64, 128 or 256, products available.
pub fn serves_layer(tensors: &LayerTensors) -> bool {
    let [_, heads, key, value] = tensors.state.dims();
    let bf16 = [
        &tensors.query,
        &tensors.key,
        &tensors.value,
        &tensors.gate_a,
        &tensors.gate_b,
        &tensors.output,
    ]
    .iter()
    .all(|weight| weight.dtype() == DType::BF16);
    let ready = || super::device_number(&tensors.x.device()).is_some_and(super::products_ready);
    bf16 && tensors.x.dtype() == DType::BF16 && serves(heads, key, value) && ready()
}

/// Runs the layer; gives its output and the state after the last token.
pub fn linear_layer(tensors: LayerTensors, rule: LayerRule) -> (Tensor<3>, Tensor<4>) {
    let inputs = LayerInputs {
        x: tensors.x.into_dispatch(),
        query: tensors.query.into_dispatch(),
        key: tensors.key.into_dispatch(),
        value: tensors.value.into_dispatch(),
        gate_a: tensors.gate_a.into_dispatch(),
        gate_b: tensors.gate_b.into_dispatch(),
        output: tensors.output.into_dispatch(),
        a_log: tensors.a_log.into_dispatch(),
        dt_bias: tensors.dt_bias.into_dispatch(),
        gamma: tensors.gamma.into_dispatch(),
        state: tensors.state.into_dispatch(),
    };
    let LayerOutput { output, state } = <Dispatch as LayerOps>::linear_layer(inputs, rule);
    (Tensor::from_dispatch(output), Tensor::from_dispatch(state))
}
