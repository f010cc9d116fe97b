//! Keys and values of many sequences in pages of equal size: their sizes, and what reads and writes them. A sequence is a list
//! of pages.

use burn::tensor::Tensor;

use super::HeadLayout;
use super::states::StatePlace;

/// Tokens of a page.
pub(crate) const PAGE_TOKENS: usize = 64;

/// Sizes of a memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PageShape {
    pub(crate) layout: HeadLayout,
    /// Layers of softmax attention.
    pub(crate) layers: usize,
    pub(crate) pages: usize,
}

impl PageShape {
    /// Returns the numbers of a page: keys and values of all layers.
    pub(crate) fn page(self) -> usize {
        self.layers * self.layer()
    }

    /// Returns the numbers of a page that belong to a layer: `[2, key_value_heads, PAGE_TOKENS, width]`.
    pub(crate) fn layer(self) -> usize {
        2 * self.layout.keys() * PAGE_TOKENS
    }
}

/// Neighbouring rows of a pass that belong to one sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    /// How many.
    pub(crate) rows: usize,
    /// Position of the first one.
    pub(crate) first: usize,
    /// Pages of the sequence, enough for the last one.
    pub(crate) pages: &'a [u32],
    /// The sequence's states, where the model has layers of the gated delta rule.
    pub(crate) state: Option<StatePlace<'a>>,
}

/// Softmax attention of all rows of a pass in a layer: each to the earlier rows of its sequence and to itself.
#[derive(Clone, Debug)]
pub(crate) struct Attention<'a> {
    /// Packed rows, `[rows, packed]`.
    pub(crate) packed: Tensor<2>,
    /// The rows' sequences, in order.
    pub(crate) pieces: &'a [Piece<'a>],
    /// Index among the layers of softmax attention.
    pub(crate) layer: usize,
    /// Most positions that a row sees, its own included.
    pub(crate) window: Option<usize>,
}

/// The device failed, or its memory was lost by an earlier failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceError(pub(crate) String);
