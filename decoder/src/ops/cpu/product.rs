//! Products of rows with weights. Every weight is read once for all rows, in its stored type, and widened in a core's first
//! cache. A few rows are bound by memory, many by arithmetic.

use burn::tensor::{DType, Tensor};
use half::{bf16, f16};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::widen::Weight;
use super::{SMALL, flex, rows_of, tile};

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
            Arch::new().dispatch(Part {
                x: input,
                weights,
                shape: Shape { columns, ..shape },
            })
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
    match output.len() < SMALL {
        true => copy(0, &mut output),
        false => output
            .par_chunks_mut(block * columns)
            .enumerate()
            .for_each(|(index, output)| copy(index, output)),
    }
    Some(rows_of(output, [rows, columns], x))
}

/// Some columns of a product.
struct Part<'a, W> {
    x: &'a [f32],
    weights: &'a [W],
    shape: Shape,
}

impl<W: Weight> WithSimd for Part<'_, W> {
    /// `[rows, columns]`.
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        let Shape { rows, depth, columns } = self.shape;
        let mut output = vec![0.0_f32; rows * columns];
        let block = (SWEEP / depth.max(1)).max(1);
        for (index, x) in self.x.chunks(block * depth).enumerate() {
            let first = index * block;
            tile::Rows::new::<S>(x, depth).multiply(simd, self.weights, |row, column, product| {
                if let Some(place) = output.get_mut((first + row) * columns + column) {
                    *place = product;
                }
            });
        }
        output
    }
}
