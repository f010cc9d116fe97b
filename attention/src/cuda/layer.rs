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
use super::launch::serves;
use super::pass::run;
use super::weights;
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

fn metadata(inputs: &LayerInputsMetadata, _rule: &LayerRule) -> LayerOutputMetadata {
    let (x, out) = (&inputs.x.shape, inputs.output.shape[1]);
    LayerOutputMetadata {
        output: TensorSpec::new(Shape::from([x[0], x[1], out]), inputs.x.dtype),
        state: inputs.state.clone(),
    }
}

fn padded_metadata(
    inputs: &LayerInputsMetadata,
    _lengths: &TensorSpec,
    rule: &LayerRule,
) -> LayerOutputMetadata {
    metadata(inputs, rule)
}

fn moved(weights: &InputWeightsMetadata) -> InputWeightsMetadata {
    weights.clone()
}

fn kept(inputs: &LayerInputsMetadata, _slot: &Slot) -> TensorSpec {
    inputs.x.clone()
}

fn stepped(x: &TensorSpec, slot: &Slot) -> TensorSpec {
    TensorSpec::new(slot.output.clone(), x.dtype)
}

fn released(_anchor: &TensorSpec, slot: &Slot) -> TensorSpec {
    TensorSpec::new(slot.state.clone(), DType::F32)
}

/// The layer as an operation of the CUDA backend. Only for inputs that [`serves_layer`] accepts.
#[backend_extension(Cube, Fusion)]
pub trait LayerOps: Backend {
    /// Runs the layer from `inputs.state`.
    #[fusion(meta = metadata)]
    fn linear_layer(#[extension_type] inputs: LayerInputs<Self>, rule: LayerRule) -> LayerOutput<Self>;

    /// The same for sequences with padding behind their `lengths [B]`, f32: there the state stays as it is, and the
    /// output is of no use.
    #[fusion(meta = padded_metadata)]
    fn linear_layer_padded(
        #[extension_type] inputs: LayerInputs<Self>,
        lengths: FloatTensor<Self>,
        rule: LayerRule,
    ) -> LayerOutput<Self>;

    /// The same weights as views of one matrix in which they lie side by side.
    #[fusion(meta = moved)]
    fn side_by_side(#[extension_type] weights: InputWeights<Self>) -> InputWeights<Self>;

    /// Puts the layer into the slot, for the two that follow; gives `inputs.x` back.
    #[fusion(meta = kept)]
    fn hold_layer(#[extension_type] inputs: LayerInputs<Self>, slot: Slot) -> FloatTensor<Self>;

    /// One token, `[B, 1, E]`, of the layer in the slot; its state changes where it lies.
    #[fusion(meta = stepped)]
    fn held_step(x: FloatTensor<Self>, slot: Slot) -> FloatTensor<Self>;

    /// Takes the layer out of the slot; gives its state. Of the anchor only the device counts.
    #[fusion(meta = released)]
    fn held_state(anchor: FloatTensor<Self>, slot: Slot) -> FloatTensor<Self>;
}

impl LayerOps for CubeBackend {
    fn linear_layer(inputs: LayerInputs<Self>, rule: LayerRule) -> LayerOutput<Self> {
        done(run(inputs, None, rule))
    }

    fn linear_layer_padded(
        inputs: LayerInputs<Self>,
        lengths: FloatTensor<Self>,
        rule: LayerRule,
    ) -> LayerOutput<Self> {
        done(run(inputs, Some(lengths), rule))
    }

    fn side_by_side(weights: InputWeights<Self>) -> InputWeights<Self> {
        done(weights::side_by_side(weights))
    }

    fn hold_layer(inputs: LayerInputs<Self>, slot: Slot) -> FloatTensor<Self> {
        done(held::hold(inputs, &slot))
    }

    fn held_step(x: FloatTensor<Self>, slot: Slot) -> FloatTensor<Self> {
        done(held::step(x, &slot))
    }

    fn held_state(_anchor: FloatTensor<Self>, slot: Slot) -> FloatTensor<Self> {
        done(held::release(&slot))
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

impl LayerTensors {
    pub(super) fn into_inputs(self) -> LayerInputs<Dispatch> {
        LayerInputs {
            x: self.x.into_dispatch(),
            query: self.query.into_dispatch(),
            key: self.key.into_dispatch(),
            value: self.value.into_dispatch(),
            gate_a: self.gate_a.into_dispatch(),
            gate_b: self.gate_b.into_dispatch(),
            output: self.output.into_dispatch(),
            a_log: self.a_log.into_dispatch(),
            dt_bias: self.dt_bias.into_dispatch(),
            gamma: self.gamma.into_dispatch(),
            state: self.state.into_dispatch(),
        }
    }
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
    let small = [&tensors.a_log, &tensors.dt_bias, &tensors.gamma]
        .iter()
        .all(|numbers| matches!(numbers.dtype(), DType::BF16 | DType::F32));
    let ready = || super::device_number(&tensors.x.device()).is_some_and(super::products_ready);
    bf16 && small && tensors.x.dtype() == DType::BF16 && serves(heads, key, value) && ready()
}

/// Runs the layer; gives its output and the state after the last token. With `lengths [B]`, f32, tokens behind the
/// length of their sequence are padding: they leave the state alone, and their output is of no use.
pub fn linear_layer(
    tensors: LayerTensors,
    lengths: Option<Tensor<1>>,
    rule: LayerRule,
) -> (Tensor<3>, Tensor<4>) {
    let inputs = tensors.into_inputs();
    let LayerOutput { output, state } = match lengths {
        None => <Dispatch as LayerOps>::linear_layer(inputs, rule),
        Some(lengths) => <Dispatch as LayerOps>::linear_layer_padded(inputs, lengths.into_dispatch(), rule),
    };
    (Tensor::from_dispatch(output), Tensor::from_dispatch(state))
}

/// Moves weights `[in, ..]` of queries, keys, values, log-gates and strengths into one matrix and gives them back as
/// views of it, which [`linear_layer`] multiplies in one product. As they are where the kernels do not serve.
pub fn side_by_side(weights: [Tensor<2>; 5]) -> [Tensor<2>; 5] {
    let device = weights[0].device();
    let alike = weights
        .iter()
        .all(|weight| weight.dtype() == DType::BF16 && weight.device() == device);
    if !alike || !super::device_number(&device).is_some_and(super::products_ready) {
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
