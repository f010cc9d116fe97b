//! Gradients of the operations of [`super`] under burn's autodiff.
//!
//! An operation of burn's autodiff has one output, the rule has two. They become two nodes on the same inputs,
//! one for the output and one for the last state; gradients add up. When only one of them is used in the loss,
//! as usual, the backward pass runs once; when both are, twice.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};

use super::{DeltaGradients, DeltaInputs, DeltaOutput, DeltaRule, DeltaTraining, LiquidBackend};
use product::ByProduct;

mod norm;
mod product;

/// Inputs and results that the backward pass needs.
#[derive(Clone, Debug)]
struct Saved<B: Backend> {
    inputs: [FloatTensor<B>; 6],
    saved: FloatTensor<B>,
    /// Shape of the output that is not this node's: its gradient is zeros.
    other: FloatTensor<B>,
    rule: DeltaRule,
}

#[derive(Debug)]
struct ByOutput;

#[derive(Debug)]
struct ByState;

impl<B: LiquidBackend> Backward<B, 6> for ByOutput {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Self::State, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_output = grads.consume::<B>(&ops.node);
        let d_state = zeros_like::<B>(&ops.state.other);
        register(ops, grads, d_output, d_state);
    }
}

impl<B: LiquidBackend> Backward<B, 6> for ByState {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Self::State, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_state = grads.consume::<B>(&ops.node);
        let d_output = zeros_like::<B>(&ops.state.other);
        register(ops, grads, d_output, d_state);
    }
}

fn zeros_like<B: Backend>(tensor: &FloatTensor<B>) -> FloatTensor<B> {
    B::float_zeros(tensor.shape(), &tensor.device(), tensor.dtype().into())
}

fn register<B: LiquidBackend>(
    ops: Ops<Saved<B>, 6>,
    grads: &mut Gradients,
    d_output: FloatTensor<B>,
    d_state: FloatTensor<B>,
) {
    let Saved {
        inputs: [q, k, v, g, beta, state],
        saved,
        rule,
        ..
    } = ops.state;
    let inputs = DeltaInputs {
        q,
        k,
        v,
        g,
        beta,
        state,
    };
    let DeltaGradients {
        q,
        k,
        v,
        g,
        beta,
        state,
    } = B::gated_delta_backward(inputs, saved, d_output, d_state, rule);
    for (node, gradient) in ops.parents.into_iter().zip([q, k, v, g, beta, state]) {
        if let Some(node) = node {
            grads.register::<B>(node.id, gradient);
        }
    }
}

impl<B: LiquidBackend, C: CheckpointStrategy> LiquidBackend for Autodiff<B, C> {
    fn gated_delta(inputs: DeltaInputs<Self>, rule: DeltaRule) -> DeltaOutput<Self> {
        let DeltaTraining { output, state, .. } = Self::gated_delta_training(inputs, rule);
        DeltaOutput { output, state }
    }

    fn gated_delta_training(inputs: DeltaInputs<Self>, rule: DeltaRule) -> DeltaTraining<Self> {
        let tensors = [inputs.q, inputs.k, inputs.v, inputs.g, inputs.beta, inputs.state];
        let nodes = || tensors.each_ref().map(|tensor| tensor.node());
        let given = tensors.each_ref().map(|tensor| tensor.primitive().clone());
        let [q, k, v, g, beta, state] = given.clone();
        let DeltaTraining { output, state, saved } = B::gated_delta_training(
            DeltaInputs {
                q,
                k,
                v,
                g,
                beta,
                state,
            },
            rule,
        );
        let keep = |other: &FloatTensor<B>| Saved {
            inputs: given.clone(),
            saved: saved.clone(),
            other: other.clone(),
            rule,
        };
        let (for_output, for_state) = (keep(&state), keep(&output));
        let output = match ByOutput.prepare::<C>(nodes()).compute_bound().stateful() {
            OpsKind::Tracked(node) => node.finish(for_output, output),
            OpsKind::UnTracked(node) => node.finish(output),
        };
        let state = match ByState.prepare::<C>(nodes()).compute_bound().stateful() {
            OpsKind::Tracked(node) => node.finish(for_state, state),
            OpsKind::UnTracked(node) => node.finish(state),
        };
        let saved = <Self as burn::backend::AutodiffBackend>::from_inner(saved);
        DeltaTraining { output, state, saved }
    }

    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let product = B::product(x.clone(), weight.clone());
        match ByProduct.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(node) => node.finish((x, weight), product),
            OpsKind::UnTracked(node) => node.finish(product),
        }
    }

    fn head_norm(output: FloatTensor<Self>, gamma: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        norm::plain::<B, C>(output, gamma, epsilon)
    }

    fn gated_head_norm(
        output: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        norm::gated::<B, C>(output, gamma, gate, epsilon)
    }
}
