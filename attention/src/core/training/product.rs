//! Gradients of a projection: two more products of the same kind.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;

use crate::core::LiquidBackend;

#[derive(Debug)]
pub(super) struct ByProduct;

impl<B: LiquidBackend> Backward<B, 2> for ByProduct {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [by_x, by_weight] = ops.parents;
        let gradient = grads.consume::<B>(&ops.node);
        let (x, weight) = ops.state;
        if let Some(node) = by_x {
            grads.register::<B>(node.id, B::product(gradient.clone(), B::float_transpose(weight)));
        }
        if let Some(node) = by_weight {
            grads.register::<B>(node.id, B::product(B::float_transpose(x), gradient));
        }
    }
}
