//! Softmax attention of rows to the keys and values of their sequences, which are read page by page where they lie.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::super::HeadLayout;
use super::super::pages::{Attention, DeviceError, PAGE_TOKENS, Piece};
use super::pages::{HeadPlace, HostPages, Part};
use super::{SMALL, numbers, tile};
use crate::lanes;

/// Scores in a block: half of a core's cache.
const BLOCK: usize = 1 << 17;
/// Most rows of a block.
const MOST_ROWS: usize = 64;

/// The numbers that attention reads.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    packed: &'a [f32],
    pages: &'a HostPages,
    layout: HeadLayout,
    layer: usize,
    window: Option<usize>,
}

/// Neighbouring rows of one sequence, for the query heads that share a key head.
#[derive(Clone, Copy)]
struct Block<'a> {
    /// Pages of the sequence.
    pages: &'a [u32],
    head: usize,
    /// First row in the pass.
    start: usize,
    /// Position of that row.
    position: usize,
    rows: usize,
}

/// Part of a page that a block sees.
struct PagePart<'a> {
    numbers: &'a [f32],
    /// Where its scores begin in a row of scores.
    start: usize,
}

impl<'a> Inputs<'a> {
    /// Returns the positions that the row at a position sees.
    fn seen(&self, position: usize) -> Range<usize> {
        let end = position + 1;
        self.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    /// Returns the positions that any row of a block sees.
    fn seen_by(&self, block: Block<'_>) -> Range<usize> {
        let last = block.position + block.rows.saturating_sub(1);
        self.seen(block.position).start..self.seen(last).end
    }

    /// Returns the query heads that share a key head.
    fn group(&self) -> usize {
        self.layout.heads / self.layout.key_value_heads
    }

    /// Returns the keys or values that a block sees, page by page.
    #[inline(always)]
    fn remembered(&self, block: Block<'a>, part: Part) -> impl Iterator<Item = PagePart<'a>> {
        let (seen, width, pages) = (self.seen_by(block), self.layout.width, self.pages);
        let place = HeadPlace {
            layer: self.layer,
            part,
            head: block.head,
        };
        let indices = seen.start / PAGE_TOKENS..seen.end.div_ceil(PAGE_TOKENS);
        indices.filter_map(move |index| {
            let start = (index * PAGE_TOKENS).max(seen.start);
            let end = ((index + 1) * PAGE_TOKENS).min(seen.end);
            let numbers = pages.head(*block.pages.get(index)?, place);
            let own = (start % PAGE_TOKENS) * width..(start % PAGE_TOKENS + end - start) * width;
            Some(PagePart {
                numbers: numbers.get(own)?,
                start: start - seen.start,
            })
        })
    }
}

pub(crate) fn attend(pages: &mut HostPages, attention: &Attention<'_>) -> Result<Tensor<2>, DeviceError> {
    let layout = pages.shape().layout;
    let [rows, _] = attention.packed.dims();
    let packed = numbers(&attention.packed)?;
    pages.store(attention.layer, &packed, attention.pieces);
    let inputs = Inputs {
        packed: &packed,
        pages,
        layout,
        layer: attention.layer,
        window: attention.window,
    };
    let output = TensorData::new(
        attend_rows(inputs, attention.pieces, rows),
        [rows, layout.queries()],
    );
    Ok(Tensor::from_data(output, &attention.packed.device()))
}

/// Computes the outputs of all rows, `[rows, heads * width]`.
fn attend_rows(inputs: Inputs<'_>, pieces: &[Piece<'_>], rows: usize) -> Vec<f32> {
    let (width, group) = (inputs.layout.width, inputs.group());
    let blocks = blocks(inputs, pieces);
    let run = |block: &Block<'_>| {
        Arch::new().dispatch(Attend {
            inputs,
            block: *block,
        })
    };
    let scores = |block: &Block<'_>| inputs.seen_by(*block).len() * block.rows;
    let work: usize = blocks.iter().map(scores).sum::<usize>() * group * width;
    let outputs: Vec<Vec<f32>> = match work < SMALL {
        true => blocks.iter().map(run).collect(),
        false => blocks.par_iter().map(run).collect(),
    };
    let mut output = vec![0.0_f32; rows * inputs.layout.queries()];
    for (block, outputs) in blocks.iter().zip(&outputs) {
        for (index, part) in outputs.chunks_exact(group * width).enumerate() {
            let start = (block.start + index) * inputs.layout.queries() + block.head * group * width;
            if let Some(output) = output.get_mut(start..start + group * width) {
                output.copy_from_slice(part);
            }
        }
    }
    output
}

/// Cuts the rows into blocks, those that see the most first, so that they do not begin last.
fn blocks<'a>(inputs: Inputs<'_>, pieces: &[Piece<'a>]) -> Vec<Block<'a>> {
    let mut blocks = Vec::new();
    let mut row = 0;
    for piece in pieces {
        let most = inputs.seen(piece.first + piece.rows).len() * inputs.group();
        let size = (BLOCK / most.max(1)).clamp(1, MOST_ROWS);
        for start in (0..piece.rows).step_by(size) {
            let heads = (0..inputs.layout.key_value_heads).map(|head| Block {
                pages: piece.pages,
                head,
                start: row + start,
                position: piece.first + start,
                rows: size.min(piece.rows - start),
            });
            blocks.extend(heads);
        }
        row += piece.rows;
    }
    blocks.sort_by_key(|block| std::cmp::Reverse(inputs.seen_by(*block).len() * block.rows));
    blocks
}

/// The attention of a block.
struct Attend<'a> {
    inputs: Inputs<'a>,
    block: Block<'a>,
}

impl WithSimd for Attend<'_> {
    /// `[rows, group, width]`.
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        let Self { inputs, block } = self;
        let (width, group) = (inputs.layout.width, inputs.group());
        let seen = inputs.seen_by(block);
        let mut queries = Vec::with_capacity(block.rows * group * width);
        for row in block.start..block.start + block.rows {
            let start = row * inputs.layout.packed() + block.head * group * width;
            let own = inputs.packed.get(start..start + group * width);
            queries.extend_from_slice(own.unwrap_or_default());
        }
        let queries = tile::Rows::new::<S>(&queries, width);
        let mut shares = vec![0.0_f32; block.rows * group * seen.len()];
        for keys in inputs.remembered(block, Part::Keys) {
            queries.multiply(simd, keys.numbers, |query, key, score| {
                if let Some(share) = shares.get_mut(query * seen.len() + keys.start + key) {
                    *share = score;
                }
            });
        }
        for (index, row) in shares.chunks_exact_mut(seen.len()).enumerate() {
            let own = inputs.seen(block.position + index / group);
            let (before, row) = row.split_at_mut(own.start - seen.start);
            let (row, after) = row.split_at_mut(own.len());
            before.fill(0.0);
            lanes::softmax(row, 1.0 / (width as f32).sqrt());
            after.fill(0.0);
        }
        let mut output = vec![0.0_f32; block.rows * group * width];
        for values in inputs.remembered(block, Part::Values) {
            let shares = shares.get(values.start..).unwrap_or_default();
            tile::add_shares(simd, shares, seen.len(), values.numbers, width, &mut output);
        }
        output
    }
}
