//! Products of rows with weights. A few rows are bound by memory: every weight is read once, in its stored type, and
//! widened in a register. Many rows are bound by arithmetic: the weights are widened tile by tile for burn's product.

use burn::tensor::{DType, Tensor, TensorData};
use half::{bf16, f16};
use rayon::prelude::*;

use super::widen::Weight;
use super::{flex, math, rows_of, vectorised};

/// Rows up to which weights are widened in registers.
const FEW: usize = 8;
/// Rows whose sums fit into the registers.
const GROUP: usize = 4;
/// Partial sums of a row: two of the widest registers.
const LANES: usize = 2 * math::LANES;
/// Numbers in a widened tile: half of a core's cache.
const TILE: usize = 1 << 17;
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
    let output = match rows <= FEW {
        true => few(flex(x)?.as_slice::<f32>()?, weights, shape),
        false => many(x, weights, shape)?,
    };
    Some(rows_of(output, [rows, columns], x))
}

fn few<W: Weight>(x: &[f32], weights: &[W], shape: Shape) -> Vec<f32> {
    let Shape { rows, depth, columns } = shape;
    let mut by_column = vec![0.0_f32; columns * rows];
    let part = columns
        .div_ceil(rayon::current_num_threads() * PARTS)
        .max(math::LANES);
    let parts = by_column
        .par_chunks_mut(part * rows)
        .zip(weights.par_chunks(part * depth));
    parts.for_each(|(output, weights)| {
        vectorised(
            #[inline(always)]
            || columns_of(x, weights, shape, output),
        );
    });
    if rows == 1 {
        return by_column;
    }
    let mut output = vec![0.0_f32; columns * rows];
    for (column, sums) in by_column.chunks_exact(rows).enumerate() {
        for (row, sum) in output.chunks_exact_mut(columns).zip(sums) {
            if let Some(place) = row.get_mut(column) {
                *place = *sum;
            }
        }
    }
    output
}

/// Computes some columns of a product, `[columns, rows]`. A sum is made in the same order whatever rows are beside it.
#[inline(always)]
fn columns_of<W: Weight>(x: &[f32], weights: &[W], shape: Shape, output: &mut [f32]) {
    let Shape { rows, depth, .. } = shape;
    for (weights, output) in weights.chunks_exact(depth).zip(output.chunks_exact_mut(rows)) {
        let (groups, rest) = output.as_chunks_mut::<GROUP>();
        let (grouped, single) = x.split_at(groups.len() * GROUP * depth);
        for (sums, x) in groups.iter_mut().zip(grouped.chunks_exact(GROUP * depth)) {
            let mut rows = x.chunks_exact(depth);
            *sums = dots(weights, [(); GROUP].map(|()| rows.next().unwrap_or_default()));
        }
        for (sum, x) in rest.iter_mut().zip(single.chunks_exact(depth)) {
            [*sum] = dots(weights, [x]);
        }
    }
}

/// Computes the scalar products of one row of weights with several rows.
#[inline(always)]
fn dots<W: Weight, const R: usize>(weights: &[W], rows: [&[f32]; R]) -> [f32; R] {
    let mut sums = [[0.0_f32; LANES]; R];
    let (chunks, rest) = weights.as_chunks::<LANES>();
    let mut inputs = rows.map(|row| row.as_chunks::<LANES>().0.iter());
    for chunk in chunks {
        let mut widened = [0.0_f32; LANES];
        for (widened, weight) in widened.iter_mut().zip(chunk) {
            *widened = weight.widen();
        }
        for (sums, input) in sums.iter_mut().zip(&mut inputs) {
            let Some(input) = input.next() else { break };
            for ((sum, weight), x) in sums.iter_mut().zip(&widened).zip(input) {
                *sum = weight.mul_add(*x, *sum);
            }
        }
    }
    let mut products = [0.0_f32; R];
    for ((product, sums), row) in products.iter_mut().zip(sums).zip(rows) {
        let left = row.as_chunks::<LANES>().1.iter().zip(rest);
        *product = math::sum(sums) + left.map(|(x, weight)| x * weight.widen()).sum::<f32>();
    }
    products
}

fn many<W: Weight>(x: &Tensor<2>, weights: &[W], shape: Shape) -> Option<Vec<f32>> {
    let Shape { rows, depth, columns } = shape;
    let threads = rayon::current_num_threads();
    let most = (TILE / depth.max(1)).clamp(math::LANES, 256);
    let tiles = columns.div_ceil(most).next_multiple_of(threads);
    let width = columns.div_ceil(tiles).next_multiple_of(math::LANES);
    let products = weights
        .par_chunks(width * depth)
        .map(|tile| tile_product(x, tile, depth));
    let products = products.collect::<Option<Vec<Vec<f32>>>>()?;
    let mut output = vec![0.0_f32; rows * columns];
    let block = rows.div_ceil(threads).max(1);
    let blocks = output.par_chunks_mut(block * columns).enumerate();
    blocks.for_each(|(index, output)| {
        for (row, output) in output.chunks_exact_mut(columns).enumerate() {
            let row = index * block + row;
            for (output, product) in output.chunks_mut(width).zip(&products) {
                let from = product.chunks_exact(output.len()).nth(row);
                output.copy_from_slice(from.unwrap_or_default());
            }
        }
    });
    Some(output)
}

/// Computes the columns of a product that belong to some rows of the weights, `[rows, columns of the tile]`.
fn tile_product<W: Weight>(x: &Tensor<2>, tile: &[W], depth: usize) -> Option<Vec<f32>> {
    let mut widened = vec![0.0_f32; tile.len()];
    vectorised(
        #[inline(always)]
        || {
            for (widened, weight) in widened.iter_mut().zip(tile) {
                *widened = weight.widen();
            }
        },
    );
    let columns = tile.len() / depth.max(1);
    let tile = Tensor::<2>::from_data(TensorData::new(widened, [columns, depth]), &x.device());
    x.clone()
        .matmul(tile.transpose())
        .try_into_data()
        .ok()?
        .try_into_vec::<f32>()
        .ok()
}
