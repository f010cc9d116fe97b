//! Whole passes over sequences, made of the launches of [`crate::rule`], for a framework that has memory of its own:
//! it passes addresses and a stream, and allocates what a pass asks for. Nothing here waits for the GPU or allocates
//! device memory, so a pass can be captured into a graph once its kernels are compiled.
//!
//! | pass | what |
//! |---|---|
//! | [`RulePass`] | the gated delta rule over sequences of one length, and its gradients |
//! | [`LayerPass`] | a layer without gradients: projections, gates, rule, norm and projection |
//!
//! # Safety
//! As in [`crate::rule`]: every address is null where that is allowed, or device memory of the stream's context with
//! the extent that its field says, which stays allocated until the stream has passed.

mod gradients;
mod group;
mod layer;
mod piece;
mod product;
mod rule;
mod step;
mod work;

pub use gradients::{RuleGradients, gradient_work};
pub use group::{Group, groups};
pub use layer::{Gpu, LayerPass, LayerSizes, LayerWeights};
pub use piece::{Piece, pieces};
pub use rule::{RulePass, RuleSizes, SEGMENT, rule_work, segments};
pub use work::layer_work;
