//! Softmax attention of rows of one sequence to its remembered keys and values. A few rows read keys and values once,
//! as they lie; many rows are products of blocks.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::super::{Attention, HeadLayout};
use super::{SMALL, flex, math, rows_of, vectorised};

/// Rows up to which scores are computed one by one.
const FEW: usize = 4;
/// Scores in a block: half of a core's cache.
const BLOCK: usize = 1 << 17;

/// The numbers that attention reads.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    packed: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    /// Positions for which there is memory.
    capacity: usize,
    first: usize,
    window: Option<usize>,
    layout: HeadLayout,
}

impl Inputs<'_> {
    /// Returns the positions that a row sees.
    fn seen(&self, row: usize) -> Range<usize> {
        let end = self.first + row + 1;
        self.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    /// Returns the query heads that share a key head.
    fn group(&self) -> usize {
        self.layout.heads / self.layout.key_value_heads
    }

    /// Returns the queries of a row that share a key head.
    fn queries(&self, row: usize, head: usize) -> &[f32] {
        let width = self.group() * self.layout.width;
        let start = row * self.layout.packed() + head * width;
        self.packed.get(start..start + width).unwrap_or_default()
    }

    fn remembered<'a>(&self, all: &'a [f32], head: usize, positions: &Range<usize>) -> &'a [f32] {
        let width = self.layout.width;
        let start = head * self.capacity;
        let range = (start + positions.start) * width..(start + positions.end) * width;
        all.get(range).unwrap_or_default()
    }
}

pub(super) fn attend(attention: &Attention) -> Option<Tensor<2>> {
    let layout = attention.layout;
    let [rows, _] = attention.packed.dims();
    let [_, capacity, _] = attention.keys.dims();
    let (packed, keys, values) = (
        flex(&attention.packed)?,
        flex(&attention.keys)?,
        flex(&attention.values)?,
    );
    let inputs = Inputs {
        packed: packed.as_slice::<f32>()?,
        keys: keys.as_slice::<f32>()?,
        values: values.as_slice::<f32>()?,
        capacity,
        first: attention.first,
        window: attention.window,
        layout,
    };
    let output = match rows <= FEW {
        true => few(inputs, rows),
        false => many(inputs, attention, rows)?,
    };
    Some(rows_of(output, [rows, layout.queries()], &attention.packed))
}

fn few(inputs: Inputs<'_>, rows: usize) -> Vec<f32> {
    let HeadLayout {
        key_value_heads,
        width,
        ..
    } = inputs.layout;
    let part = inputs.group() * width;
    let mut output = vec![0.0_f32; rows * inputs.layout.queries()];
    let run = |index: usize, output: &mut [f32]| {
        let (row, head) = (index / key_value_heads, index % key_value_heads);
        vectorised(
            #[inline(always)]
            || attend_row(inputs, row, head, output),
        );
    };
    let work = inputs.seen(rows).len() * rows * inputs.layout.keys();
    if work < SMALL {
        output
            .chunks_exact_mut(part)
            .enumerate()
            .for_each(|(index, output)| run(index, output));
    } else {
        output
            .par_chunks_exact_mut(part)
            .enumerate()
            .for_each(|(index, output)| run(index, output));
    }
    output
}

/// Computes the outputs of a row's heads that share a key head.
#[inline(always)]
fn attend_row(inputs: Inputs<'_>, row: usize, head: usize, output: &mut [f32]) {
    let width = inputs.layout.width;
    let seen = inputs.seen(row);
    let keys = inputs.remembered(inputs.keys, head, &seen);
    let values = inputs.remembered(inputs.values, head, &seen);
    let mut shares = vec![0.0_f32; seen.len()];
    let queries = inputs.queries(row, head).chunks_exact(width);
    for (query, output) in queries.zip(output.chunks_exact_mut(width)) {
        for (share, key) in shares.iter_mut().zip(keys.chunks_exact(width)) {
            *share = math::dot(query, key);
        }
        math::softmax(&mut shares, 1.0 / (width as f32).sqrt());
        for (share, value) in shares.iter().zip(values.chunks_exact(width)) {
            for (output, value) in output.iter_mut().zip(value) {
                *output = share.mul_add(*value, *output);
            }
        }
    }
}

/// Neighbouring rows for the query heads that share a key head.
#[derive(Clone, Copy)]
struct Block {
    head: usize,
    start: usize,
    rows: usize,
}

fn many(inputs: Inputs<'_>, attention: &Attention, rows: usize) -> Option<Vec<f32>> {
    let HeadLayout {
        key_value_heads,
        width,
        ..
    } = inputs.layout;
    let size = (BLOCK / (inputs.seen(rows).len() * inputs.group())).clamp(8, 64);
    let blocks: Vec<Block> = (0..rows)
        .step_by(size)
        .flat_map(|start| (0..key_value_heads).map(move |head| (start, head)))
        .map(|(start, head)| Block {
            head,
            start,
            rows: size.min(rows - start),
        })
        .collect();
    // The last rows see the most: they begin first.
    let outputs = blocks
        .par_iter()
        .rev()
        .map(|block| attend_block(inputs, attention, *block));
    let outputs = outputs.collect::<Option<Vec<Vec<f32>>>>()?;
    let mut output = vec![0.0_f32; rows * inputs.layout.queries()];
    for (block, outputs) in blocks.iter().rev().zip(&outputs) {
        for (index, part) in outputs.chunks_exact(width).enumerate() {
            let (query, row) = (index / block.rows, block.start + index % block.rows);
            let head = block.head * inputs.group() + query;
            let place = row * inputs.layout.queries() + head * width;
            if let Some(output) = output.get_mut(place..place + width) {
                output.copy_from_slice(part);
            }
        }
    }
    Some(output)
}

/// Computes the outputs of a block, `[group, rows, width]`.
fn attend_block(inputs: Inputs<'_>, attention: &Attention, block: Block) -> Option<Vec<f32>> {
    let (width, group) = (inputs.layout.width, inputs.group());
    let seen = inputs.seen(block.start).start..inputs.seen(block.start + block.rows - 1).end;
    let mut queries = Vec::with_capacity(group * block.rows * width);
    for query in 0..group {
        for row in block.start..block.start + block.rows {
            let shared = inputs.queries(row, block.head);
            queries.extend_from_slice(shared.chunks_exact(width).nth(query).unwrap_or_default());
        }
    }
    let device = attention.packed.device();
    let queries = Tensor::<2>::from_data(TensorData::new(queries, [group * block.rows, width]), &device);
    let part = |tensor: &Tensor<3>| {
        let head = tensor
            .clone()
            .narrow(0, block.head, 1)
            .narrow(1, seen.start, seen.len());
        head.reshape([seen.len(), width])
    };
    let scores = queries.matmul(part(&attention.keys).transpose());
    let mut scores = scores.try_into_data().ok()?;
    let shares = scores.as_mut_slice::<f32>().ok()?;
    vectorised(
        #[inline(always)]
        || {
            for (index, row) in shares.chunks_exact_mut(seen.len()).enumerate() {
                let own = inputs.seen(block.start + index % block.rows);
                let (before, row) = row.split_at_mut(own.start - seen.start);
                let (row, after) = row.split_at_mut(own.len());
                before.fill(0.0);
                math::softmax(row, 1.0 / (width as f32).sqrt());
                after.fill(0.0);
            }
        },
    );
    let shares = Tensor::<2>::from_data(scores, &device);
    shares
        .matmul(part(&attention.values))
        .try_into_data()
        .ok()?
        .try_into_vec::<f32>()
        .ok()
}
