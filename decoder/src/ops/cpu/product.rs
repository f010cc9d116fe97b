//! Products of rows with weights. Every weight is read once: for a few rows, which are bound by memory, it is widened in
//! a register; for more, which are bound by arithmetic, once for all of them. The numbers are the same.

use burn::tensor::{DType, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

use super::widen::Weight;
use super::{flex, rows_of, tile, vectorised};

/// Rows up to which weights are widened in registers.
const FEW: usize = 8;
/// Numbers of the rows that are swept for each group of columns: half of a core's second cache.
const SWEEP: usize = 1 << 17;
/// Parts into which each core's share of a product is cut, so that one that is interrupted does not hold up the others.
const PARTS: usize = 4;

/// Sizes of a product.
#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    depth: usize,
    columns: usize,
}

pub(super) fn project(x: &Tensor<2>, weight: &Tensor<2>) -> Option<Tensor<2>> {
    let weights = flex(weight)?;
    match weights.dtype() {
        DType::F32 => multiply(x, weight, weights.as_slice::<f32>()?),
        DType::BF16 => multiply(x, weight, weights.as_slice::<bf16>()?),
        DType::F16 => multiply(x, weight, weights.as_slice::<f16>()?),
        _ => None,
    }
}

fn multiply<W: Weight>(x: &Tensor<2>, weight: &Tensor<2>, weights: &[W]) -> Option<Tensor<2>> {
    let ([rows, depth], [columns, _]) = (x.dims(), weight.dims());
    let shape = Shape { rows, depth, columns };
    let input = flex(x)?;
    let input = input.as_slice::<f32>()?;
    let threads = rayon::current_num_threads();
    let width = columns.div_ceil(threads * PARTS).next_multiple_of(tile::COLUMNS);
    let parts: Vec<Vec<f32>> = weights
        .par_chunks(width * depth)
        .map(|weights| {
            let columns = weights.len() / depth.max(1);
            vectorised(
                #[inline(always)]
                || columns_of(input, weights, Shape { columns, ..shape }),
            )
        })
        .collect();
    let mut output = vec![0.0_f32; rows * columns];
    let block = rows.div_ceil(threads).max(1);
    let copy = |index: usize, output: &mut [f32]| {
        for (row, output) in output.chunks_exact_mut(columns).enumerate() {
            let row = index * block + row;
            for (output, part) in output.chunks_mut(width).zip(&parts) {
                let from = part.chunks_exact(output.len()).nth(row);
                output.copy_from_slice(from.unwrap_or_default());
            }
        }
    };
    match rows <= FEW {
        true => copy(0, &mut output),
        false => output
            .par_chunks_mut(block * columns)
            .enumerate()
            .for_each(|(index, output)| copy(index, output)),
    }
    Some(rows_of(output, [rows, columns], x))
}

/// Computes some columns of a product, `[rows, columns]`.
#[inline(always)]
fn columns_of<W: Weight>(x: &[f32], weights: &[W], shape: Shape) -> Vec<f32> {
    let Shape { rows, depth, columns } = shape;
    let mut output = vec![0.0_f32; rows * columns];
    let mut place = |row: usize, column: usize, product: f32| {
        if let Some(place) = output.get_mut(row * columns + column) {
            *place = product;
        }
    };
    if rows <= FEW {
        tile::products(x, weights, depth, place);
        return output;
    }
    let mut widened = vec![0.0_f32; tile::COLUMNS * depth];
    let block = (SWEEP / depth.max(1)).max(FEW);
    for (index, x) in x.chunks(block * depth).enumerate() {
        for (group, weights) in weights.chunks(tile::COLUMNS * depth).enumerate() {
            let widened = widened.get_mut(..weights.len()).unwrap_or_default();
            for (widened, weight) in widened.iter_mut().zip(weights) {
                *widened = weight.widen();
            }
            tile::products(x, widened, depth, |row, column, product| {
                place(index * block + row, group * tile::COLUMNS + column, product);
            });
        }
    }
    output
}
