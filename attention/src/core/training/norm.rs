//! Gradients of the norm over every head's output, by [`LiquidBackend::head_norm_backward`]: one pass over the rows
//! where a backend has it, and nothing kept but the inputs.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use crate::core::{GatedNormGradients, LiquidBackend, NormGradients};

type Of<B, C> = FloatTensor<Autodiff<B, C>>;

/// [`LiquidBackend::head_norm`], recorded.
pub(super) fn plain<B: LiquidBackend, C: CheckpointStrategy>(
    output: Of<B, C>,
    gamma: Of<B, C>,
    epsilon: f64,
) -> Of<B, C> {
    let nodes = [output.node(), gamma.node()];
    let (output, gamma) = (output.into_primitive(), gamma.into_primitive());
    let normed = B::head_norm(output.clone(), gamma.clone(), epsilon);
    match ByNorm.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(node) => node.finish((output, gamma, epsilon), normed),
        OpsKind::UnTracked(node) => node.finish(normed),
    }
}

/// [`LiquidBackend::gated_head_norm`], recorded.
pub(super) fn gated<B: LiquidBackend, C: CheckpointStrategy>(
    output: Of<B, C>,
    gamma: Of<B, C>,
    gate: Of<B, C>,
    epsilon: f64,
) -> Of<B, C> {
    let nodes = [output.node(), gamma.node(), gate.node()];
    let given = [output, gamma, gate].map(|tensor| tensor.into_primitive());
    let [output, gamma, gate] = given.clone();
    let normed = B::gated_head_norm(output, gamma, gate, epsilon);
    match ByGatedNorm.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(node) => node.finish((given, epsilon), normed),
        OpsKind::UnTracked(node) => node.finish(normed),
    }
}

#[derive(Debug)]
struct ByNorm;

impl<B: LiquidBackend> Backward<B, 2> for ByNorm {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (output, gamma, epsilon) = ops.state;
        let NormGradients { output, gamma } = B::head_norm_backward(output, gamma, gradient, epsilon);
        for (node, gradient) in ops.parents.into_iter().zip([output, gamma]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct ByGatedNorm;

impl<B: LiquidBackend> Backward<B, 3> for ByGatedNorm {
    type State = ([FloatTensor<B>; 3], f64);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let ([output, gamma, gate], epsilon) = ops.state;
        let GatedNormGradients { output, gamma, gate } =
            B::gated_head_norm_backward(output, gamma, gate, gradient, epsilon);
        for (node, gradient) in ops.parents.into_iter().zip([output, gamma, gate]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}
