//! The work space of a layer's pass: what its products use, the bias of all columns, and one or two sets of what exists
//! for a piece.

use super::layer::{LayerPass, LayerSizes};
use super::piece::{Piece, pieces};
use super::product::SKINNY_UNIT;
use crate::device::{Address, WORKSPACE};
use crate::rule::record_bytes;

/// Bytes of a number of a row.
const BF16: usize = size_of::<u16>();
/// What the parts of the work space begin at multiples of.
const ALIGNED: usize = 256;

/// Bytes of work space of a pass.
pub fn layer_work(sizes: &LayerSizes) -> usize {
    let pieces = pieces(sizes.batch, sizes.tokens);
    product_space(sizes) + bias_bytes(sizes) + pieces.len().min(2) * Set::bytes(sizes, &pieces)
}

/// Bytes at the beginning of the work space that belong to products of many rows: none where there are no such products.
pub(super) fn product_space(sizes: &LayerSizes) -> usize {
    let widths = [sizes.embed, sizes.inner(), 2 * sizes.heads];
    if sizes.is_step() && widths.iter().all(|width| width.is_multiple_of(SKINNY_UNIT)) {
        0
    } else {
        WORKSPACE
    }
}

fn bias_bytes(sizes: &LayerSizes) -> usize {
    (BF16 * sizes.columns()).next_multiple_of(ALIGNED)
}

/// What exists for a piece between input and output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set {
    /// Products with the weights side by side.
    pub(super) products: Address,
    pub(super) records: Address,
}

impl Set {
    fn product_bytes(sizes: &LayerSizes, pieces: &[Piece]) -> usize {
        let rows = pieces.iter().map(Piece::rows).max().unwrap_or(0);
        (BF16 * rows * sizes.pitch()).next_multiple_of(ALIGNED)
    }

    fn bytes(sizes: &LayerSizes, pieces: &[Piece]) -> usize {
        let records = |piece: &Piece| record_bytes(piece.sequences, piece.tokens, sizes.heads);
        let records = pieces.iter().map(records).max().unwrap_or(0);
        Self::product_bytes(sizes, pieces) + records.next_multiple_of(ALIGNED)
    }

    /// The sets in a work space, behind what the products use.
    pub(super) fn in_work(pass: &LayerPass, pieces: &[Piece]) -> Vec<Self> {
        let first = pass
            .work
            .offset(product_space(&pass.sizes) + bias_bytes(&pass.sizes));
        let set = |number| {
            let products = first.offset(number * Self::bytes(&pass.sizes, pieces));
            Self {
                products,
                records: products.offset(Self::product_bytes(&pass.sizes, pieces)),
            }
        };
        (0..pieces.len().min(2)).map(set).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::layer::tests::{SIZES, pass};
    use super::*;

    #[test]
    fn work_space_does_not_grow_with_the_sequence() {
        let longer = LayerSizes {
            tokens: 1 << 20,
            ..SIZES
        };
        assert_eq!(layer_work(&SIZES), layer_work(&longer));
        assert!(layer_work(&SIZES) < 600 << 20);
    }

    #[test]
    fn a_step_needs_space_for_products_of_many_rows_only_where_it_has_some() {
        let step = LayerSizes { tokens: 1, ..SIZES };
        assert!(layer_work(&step) < 1 << 20);
        let odd = LayerSizes { heads: 4, ..step };
        assert!(layer_work(&odd) > WORKSPACE);
    }

    #[test]
    fn sets_lie_behind_each_other_within_the_work_space() {
        let pass = pass();
        let pieces = pieces(1, SIZES.tokens);
        let sets = Set::in_work(&pass, &pieces);
        let end = sets[1].products.get() + Set::bytes(&SIZES, &pieces) as u64;
        assert_eq!(end - pass.work.get(), layer_work(&SIZES) as u64);
        assert!(sets[0].records.get() < sets[1].products.get());
    }
}
