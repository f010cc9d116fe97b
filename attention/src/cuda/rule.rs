//! The operations of [`crate::core`] by the kernels: burn's tensors in, burn's tensors out.

mod backward;
mod forward;
mod inputs;
mod norm;
mod product;

pub(super) use backward::{SavedGradients, gated_delta_backward};
pub(super) use forward::{forward, forward_saving};
pub(super) use norm::{NormGrads, NormInputs, head_norm, head_norm_backward};
pub(super) use product::multiply;
