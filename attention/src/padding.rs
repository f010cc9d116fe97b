//! Padding: tokens that are there only to make a rectangle.
//!
//! Before anything looks at the order of the tokens, each sequence is packed: its tokens to the front, in their
//! order, its padding behind. From there on "behind the end" is all there is to know, and a padded sequence
//! computes what the shorter one computes, bit for bit: chunks begin at the same tokens, the short convolution
//! sees the same neighbours, and padding writes nothing (gate 0, strength 0). Two cases agree up to rounding only: a
//! single token, which alone would have been a step, and the reverse scan of a bidirectional layer, whose chunks
//! begin at the padding.

use burn::tensor::{Bool, IndexingUpdateOp, Int, Tensor};

/// The packing of a batch of sequences.
#[derive(Clone, Debug)]
pub(crate) struct Packing {
    /// Flat position of each token in the packed batch, `[B * N]`.
    place: Tensor<1, Int>,
    /// Flat position of each packed token in the given batch, `[B * N]`.
    origin: Tensor<1, Int>,
    /// Mask that is true for packed positions that hold padding, `[B, N]`.
    pub(crate) padding: Tensor<2, Bool>,
    /// Mask that is true for given positions that hold padding, `[B, N]`.
    given: Tensor<2, Bool>,
    /// Number of tokens of each sequence, `[B]`.
    pub(crate) lengths: Tensor<1, Int>,
}

impl Packing {
    /// Reads the packing from a mask `[B, N]` that is true where there is padding.
    pub(crate) fn new(mask: Tensor<2, Bool>) -> Self {
        let [batch, tokens] = mask.dims();
        let device = mask.device();
        let keep = mask.clone().bool_not().int();
        let drop = mask.clone().int();
        let lengths = keep.clone().sum_dim(1);
        let among_kept = keep.clone().cumsum(1) - 1;
        let among_dropped = drop.cumsum(1) - 1 + lengths.clone();
        let rows = Tensor::<1, Int>::arange(0..batch as i64, &device).reshape([batch, 1]) * tokens as i64;
        let place = (among_kept.mask_where(mask.clone(), among_dropped) + rows).reshape([batch * tokens]);
        let all = Tensor::<1, Int>::arange(0..(batch * tokens) as i64, &device);
        let origin = all
            .zeros_like()
            .select_assign(0, place.clone(), all, IndexingUpdateOp::Add);
        let column = Tensor::<1, Int>::arange(0..tokens as i64, &device).reshape([1, tokens]);
        let padding = column
            .expand([batch, tokens])
            .greater_equal(lengths.clone().expand([batch, tokens]));
        Self {
            place,
            origin,
            padding,
            given: mask,
            lengths: lengths.reshape([batch]),
        }
    }

    /// Moves the tokens of each sequence to the front.
    pub(crate) fn pack(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        x.reshape([batch * tokens, width])
            .select(0, self.origin.clone())
            .reshape([batch, tokens, width])
    }

    /// Moves the tokens back to where they were; padding becomes zeros.
    pub(crate) fn unpack(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let x = x
            .reshape([batch * tokens, width])
            .select(0, self.place.clone())
            .reshape([batch, tokens, width]);
        x.mask_fill(
            self.given
                .clone()
                .reshape([batch, tokens, 1])
                .expand([batch, tokens, width]),
            0,
        )
    }

    /// Sets numbers of packed tokens and heads, `[B, N, H]`, to zero where there is padding.
    pub(crate) fn silence(&self, numbers: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, heads] = numbers.dims();
        let padding = self
            .padding
            .clone()
            .reshape([batch, tokens, 1])
            .expand([batch, tokens, heads]);
        numbers.mask_fill(padding, 0)
    }
}
