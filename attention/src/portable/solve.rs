//! The inverse of `I + M` for strictly lower triangular `M`, by forward substitution.
//!
//! Diagonal blocks of 16 are inverted column by column, then pairs are merged: 16 to 32 to 64. The product of
//! `I + (-M)^(2^j)` would take fewer operations but cancels: with nearly equal keys it is off by 10^10 in f32.

use burn::backend::Backend;
use burn::tensor::TensorData;

use super::T;

const BLOCK: usize = 16;

/// Computes `(I + m)^-1` of each `[C, C]` matrix of `m [G, n, C, C]`; `C` is 16 times a power of two.
pub(super) fn inverse<B: Backend>(m: &T<B>) -> T<B> {
    let [rows, chunks, size, _] = m.dims();
    let m = m.clone().reshape([rows * chunks, size, size]);
    let mut width = BLOCK;
    let mut blocks: Vec<T<B>> = (0..size / BLOCK)
        .map(|index| small(block(&m, index * BLOCK, index * BLOCK, BLOCK)))
        .collect();
    while blocks.len() > 1 {
        blocks = blocks
            .chunks(2)
            .enumerate()
            .map(|(index, pair)| {
                let start = 2 * index * width;
                merge(&pair[0], &pair[1], block(&m, start + width, start, width))
            })
            .collect();
        width *= 2;
    }
    blocks.swap_remove(0).reshape([rows, chunks, size, size])
}

fn block<B: Backend>(m: &T<B>, row: usize, column: usize, width: usize) -> T<B> {
    m.clone().narrow(1, row, width).narrow(2, column, width)
}

/// Inverts one small block: `L_i = I + m_i e_i^T` are the factors of `I + m`, and `L_i^-1 = I - m_i e_i^T`.
fn small<B: Backend>(m: T<B>) -> T<B> {
    let [rows, width, _] = m.dims();
    let mut inverse = identity(&m, rows, width);
    for i in 0..width - 1 {
        let column = m.clone().narrow(2, i, 1);
        let row = inverse.clone().narrow(1, i, 1);
        inverse = inverse - column * row;
    }
    inverse
}

/// Merges the inverses `a` and `d` of two diagonal blocks: `[[a, 0], [-d lower a, d]]`.
fn merge<B: Backend>(a: &T<B>, d: &T<B>, lower: T<B>) -> T<B> {
    let [rows, width, _] = a.dims();
    let corner = d.clone().matmul(lower).matmul(a.clone()).scale(-1.0);
    let top = T::cat(vec![a.clone(), T::zeros(a, [rows, width, width])], 2);
    T::cat(vec![top, T::cat(vec![corner, d.clone()], 2)], 1)
}

fn identity<B: Backend>(like: &T<B>, rows: usize, width: usize) -> T<B> {
    let one: Vec<f32> = (0..width * width)
        .map(|i| f32::from(u8::from(i / width == i % width)))
        .collect();
    T::from_data(TensorData::new(one, [1, width, width]), like).expand([rows, width, width])
}
