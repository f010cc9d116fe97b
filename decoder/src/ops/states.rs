//! What layers of the gated delta rule remember of sequences, in slots of equal size: their sizes, and what reads and writes
//! them. A sequence has one, and copies of it are kept at the ends of some pages.

use burn::tensor::Tensor;

use super::pages::Piece;
use crate::config::GatedDelta;

/// Sizes of a memory for states.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StateShape {
    /// None if the model has no such layers; then there is nothing to remember.
    pub(crate) delta: Option<GatedDelta>,
    /// Layers of the gated delta rule.
    pub(crate) layers: usize,
    pub(crate) slots: usize,
}

impl StateShape {
    /// Returns the numbers of a slot.
    pub(crate) fn slot(self) -> usize {
        self.layers * self.delta.map_or(0, GatedDelta::memory)
    }
}

/// Where a sequence's states are during a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatePlace<'a> {
    /// The slot that is read and written.
    pub(crate) slot: u32,
    /// Slots that get a copy on the way, by position.
    pub(crate) snapshots: &'a [Snapshot],
}

/// A copy of a sequence's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Tokens that had been read.
    pub(crate) position: usize,
    pub(crate) slot: u32,
}

/// Weights of the gated delta rule in a layer.
#[derive(Clone, Debug)]
pub(crate) struct DeltaTensors {
    /// Weights of the convolution, `[kernel, channels]`; the last row weighs the token itself.
    pub(crate) taps: Tensor<2>,
    /// Logarithms of how fast each head forgets, `[value_heads]`.
    pub(crate) decay: Tensor<1>,
    /// What is added to the forgetting numbers, `[value_heads]`.
    pub(crate) decay_bias: Tensor<1>,
    /// Norm of every head's output, `[value_width]`.
    pub(crate) norm: Tensor<1>,
    pub(crate) epsilon: f64,
}

/// The gated delta rule over all rows of a pass in a layer, each after the earlier rows of its sequence. Equations:
/// `liquid_attention::core`; before it the convolution and SiLU, behind it the norm of each head's output times the SiLU of its
/// gate.
#[derive(Clone, Debug)]
pub(crate) struct DeltaPass<'a> {
    /// Packed rows, `[rows, packed]`, as [`GatedDelta`] says.
    pub(crate) packed: Tensor<2>,
    /// The rows' sequences, in order.
    pub(crate) pieces: &'a [Piece<'a>],
    /// Index among the layers of the gated delta rule.
    pub(crate) layer: usize,
    pub(crate) weights: DeltaTensors,
}
