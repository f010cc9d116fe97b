//! Scalar products of several rows with several columns at once. A product is summed up in the same order whatever is
//! computed beside it, so an answer does not depend on what shares its pass.

use super::math;
use super::widen::Weight;

/// Partial sums of a product: the widest register.
const LANES: usize = math::LANES;
/// Rows, and columns, whose sums fit into the registers together.
const ROWS: usize = 4;
pub(super) const COLUMNS: usize = 4;

/// Computes the product of every row of `x [rows, depth]` with every row of `weights [columns, depth]`, and gives each to
/// `place(row, column, product)`.
#[inline(always)]
pub(super) fn products<W: Weight>(
    x: &[f32],
    weights: &[W],
    depth: usize,
    mut place: impl FnMut(usize, usize, f32),
) {
    let mut column = 0;
    let (groups, rest) = weights.split_at(weights.len() / (COLUMNS * depth) * COLUMNS * depth);
    for group in groups.chunks_exact(COLUMNS * depth) {
        columns::<W, COLUMNS>(x, group, depth, |row, index, product| {
            place(row, column + index, product);
        });
        column += COLUMNS;
    }
    for single in rest.chunks_exact(depth) {
        columns::<W, 1>(x, single, depth, |row, _, product| place(row, column, product));
        column += 1;
    }
}

/// Computes the products of every row with some columns.
#[inline(always)]
fn columns<W: Weight, const C: usize>(
    x: &[f32],
    group: &[W],
    depth: usize,
    mut place: impl FnMut(usize, usize, f32),
) {
    let mut rows = group.chunks_exact(depth);
    let group = [(); C].map(|()| rows.next().unwrap_or_default());
    let (blocks, rest) = x.split_at(x.len() / (ROWS * depth) * ROWS * depth);
    let mut row = 0;
    for block in blocks.chunks_exact(ROWS * depth) {
        let mut rows = block.chunks_exact(depth);
        let block = [(); ROWS].map(|()| rows.next().unwrap_or_default());
        let sums = tile::<W, ROWS, C>(block, group);
        for (column, sums) in sums.into_iter().enumerate() {
            for (index, sum) in sums.into_iter().enumerate() {
                place(row + index, column, sum);
            }
        }
        row += ROWS;
    }
    for single in rest.chunks_exact(depth) {
        let sums = tile::<W, 1, C>([single], group);
        for (column, [sum]) in sums.into_iter().enumerate() {
            place(row, column, sum);
        }
        row += 1;
    }
}

/// Computes the products of some rows with some columns.
#[inline(always)]
fn tile<W: Weight, const R: usize, const C: usize>(rows: [&[f32]; R], columns: [&[W]; C]) -> [[f32; R]; C] {
    let mut sums = [[[0.0_f32; LANES]; R]; C];
    let mut row_chunks = rows.map(|row| row.as_chunks::<LANES>().0.iter());
    let mut column_chunks = columns.map(|column| column.as_chunks::<LANES>().0.iter());
    'depth: loop {
        let mut inputs = [[0.0_f32; LANES]; R];
        for (input, chunks) in inputs.iter_mut().zip(&mut row_chunks) {
            let Some(chunk) = chunks.next() else { break 'depth };
            *input = *chunk;
        }
        for (sums, chunks) in sums.iter_mut().zip(&mut column_chunks) {
            let Some(chunk) = chunks.next() else { break 'depth };
            let mut weights = [0.0_f32; LANES];
            for (widened, weight) in weights.iter_mut().zip(chunk) {
                *widened = weight.widen();
            }
            for (sums, input) in sums.iter_mut().zip(&inputs) {
                for ((sum, weight), x) in sums.iter_mut().zip(&weights).zip(input) {
                    *sum = weight.mul_add(*x, *sum);
                }
            }
        }
    }
    let mut products = [[0.0_f32; R]; C];
    for ((products, sums), column) in products.iter_mut().zip(sums).zip(columns) {
        let weights = column.as_chunks::<LANES>().1;
        for ((product, sums), row) in products.iter_mut().zip(sums).zip(rows) {
            let rest = row.as_chunks::<LANES>().1.iter().zip(weights);
            *product = math::sum(sums) + rest.map(|(x, weight)| x * weight.widen()).sum::<f32>();
        }
    }
    products
}

/// Adds `shares [rows, count]` times `values [count, width]` to `output [rows, width]`, where a row of the shares is
/// `stride` numbers after the one before. Values are added one after the other.
#[inline(always)]
pub(super) fn add_shares(shares: &[f32], stride: usize, values: &[f32], width: usize, output: &mut [f32]) {
    let count = values.len() / width;
    let mut shares = shares
        .chunks(stride)
        .map(|row| row.get(..count).unwrap_or_default());
    let (blocks, rest) = output.split_at_mut(output.len() / (ROWS * width) * ROWS * width);
    for block in blocks.chunks_exact_mut(ROWS * width) {
        let shares = [(); ROWS].map(|()| shares.next().unwrap_or_default());
        add_rows(shares, values, width, block);
    }
    for output in rest.chunks_exact_mut(width) {
        add_rows([shares.next().unwrap_or_default()], values, width, output);
    }
}

/// Adds the values to some rows.
#[inline(always)]
fn add_rows<const R: usize>(shares: [&[f32]; R], values: &[f32], width: usize, output: &mut [f32]) {
    /// Numbers of a row that are held in registers.
    const HELD: usize = 2 * LANES;
    let whole = width / HELD * HELD;
    for start in (0..whole).step_by(HELD) {
        let mut sums = [[0.0_f32; HELD]; R];
        for (sums, row) in sums.iter_mut().zip(output.chunks_exact(width)) {
            sums.copy_from_slice(row.get(start..start + HELD).unwrap_or(&[0.0; HELD]));
        }
        for (index, value) in values.chunks_exact(width).enumerate() {
            let Some(value) = value.get(start..).and_then(|value| value.first_chunk::<HELD>()) else {
                break;
            };
            for (sums, shares) in sums.iter_mut().zip(shares) {
                let share = shares.get(index).copied().unwrap_or(0.0);
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum = share.mul_add(*value, *sum);
                }
            }
        }
        for (sums, row) in sums.iter().zip(output.chunks_exact_mut(width)) {
            if let Some(row) = row.get_mut(start..start + HELD) {
                row.copy_from_slice(sums);
            }
        }
    }
    for (shares, row) in shares.into_iter().zip(output.chunks_exact_mut(width)) {
        let row = row.get_mut(whole..).unwrap_or_default();
        for (share, value) in shares.iter().zip(values.chunks_exact(width)) {
            let value = value.get(whole..).unwrap_or_default();
            for (sum, value) in row.iter_mut().zip(value) {
                *sum = share.mul_add(*value, *sum);
            }
        }
    }
}
