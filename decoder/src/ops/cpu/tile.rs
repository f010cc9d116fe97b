//! Products of several rows with several columns at once, in registers. A number is summed up in the same order whatever
//! is computed beside it, so an answer does not depend on what shares its pass.

use pulp::Simd;

use super::widen::Weight;

/// Rows, and columns, whose sums fit into the registers together.
const ROWS: usize = 4;
pub(super) const COLUMNS: usize = 4;

/// Rows in the order in which tiles read them: groups of some rows, in each a register of every row in turn. Rows are filled
/// up with zeros to whole registers.
struct Packed<const N: usize> {
    numbers: Vec<f32>,
    /// Numbers of a group.
    group: usize,
}

impl<const N: usize> Packed<N> {
    /// Packs rows of `depth` numbers, as many as are whole groups.
    #[inline(always)]
    fn new<S: Simd>(rows: &[f32], depth: usize) -> Self {
        let group = N * depth.next_multiple_of(S::F32_LANES);
        let groups = rows.chunks_exact(N * depth);
        let mut numbers = vec![0.0; groups.len() * group];
        for (rows, packed) in groups.zip(numbers.chunks_exact_mut(group)) {
            pack::<S, f32, N>(rows, depth, packed);
        }
        Self { numbers, group }
    }

    fn groups(&self) -> impl Iterator<Item = &[f32]> {
        self.numbers.chunks_exact(self.group)
    }
}

/// Writes `N` rows as tiles read them. What is between the rows' ends and whole registers must be zero.
#[inline(always)]
fn pack<S: Simd, W: Weight, const N: usize>(rows: &[W], depth: usize, packed: &mut [f32]) {
    for (index, row) in rows.chunks_exact(depth).enumerate() {
        let places = packed.chunks_exact_mut(S::F32_LANES).skip(index).step_by(N);
        for (place, numbers) in places.zip(row.chunks(S::F32_LANES)) {
            for (place, number) in place.iter_mut().zip(numbers) {
                *place = number.widen();
            }
        }
    }
}

/// Rows that are multiplied with columns.
pub(super) struct Rows {
    groups: Packed<ROWS>,
    /// Those that are left.
    singles: Packed<1>,
    depth: usize,
}

impl Rows {
    #[inline(always)]
    pub(super) fn new<S: Simd>(rows: &[f32], depth: usize) -> Self {
        let (groups, singles) = rows.split_at(rows.len() / (ROWS * depth) * ROWS * depth);
        Self {
            groups: Packed::new::<S>(groups, depth),
            singles: Packed::new::<S>(singles, depth),
            depth,
        }
    }

    /// Computes the product of every row with every row of `columns [n, depth]`, and gives each to
    /// `place(row, column, product)`.
    #[inline(always)]
    pub(super) fn multiply<S: Simd, W: Weight>(
        &self,
        simd: S,
        columns: &[W],
        mut place: impl FnMut(usize, usize, f32),
    ) {
        let depth = self.depth;
        let mut packed = vec![0.0; COLUMNS * depth.next_multiple_of(S::F32_LANES)];
        let groups = columns.chunks_exact(COLUMNS * depth);
        let singles = groups.remainder();
        let whole = groups.len() * COLUMNS;
        for (index, group) in groups.enumerate() {
            pack::<S, W, COLUMNS>(group, depth, &mut packed);
            self.tiles::<S, COLUMNS>(simd, &packed, |row, column, product| {
                place(row, index * COLUMNS + column, product);
            });
        }
        let single = packed
            .get_mut(..depth.next_multiple_of(S::F32_LANES))
            .unwrap_or_default();
        single.fill(0.0);
        for (index, column) in singles.chunks_exact(depth).enumerate() {
            pack::<S, W, 1>(column, depth, single);
            self.tiles::<S, 1>(simd, single, |row, _, product| place(row, whole + index, product));
        }
    }

    /// Computes the products of all rows with a group of columns.
    #[inline(always)]
    fn tiles<S: Simd, const C: usize>(
        &self,
        simd: S,
        columns: &[f32],
        mut place: impl FnMut(usize, usize, f32),
    ) {
        let mut row = 0;
        for rows in self.groups.groups() {
            for (column, products) in tile::<S, ROWS, C>(simd, rows, columns).into_iter().enumerate() {
                for (index, product) in products.into_iter().enumerate() {
                    place(row + index, column, product);
                }
            }
            row += ROWS;
        }
        for rows in self.singles.groups() {
            for (column, [product]) in tile::<S, 1, C>(simd, rows, columns).into_iter().enumerate() {
                place(row, column, product);
            }
            row += 1;
        }
    }
}

/// Computes the products of packed rows with packed columns.
#[inline(always)]
fn tile<S: Simd, const R: usize, const C: usize>(simd: S, rows: &[f32], columns: &[f32]) -> [[f32; R]; C] {
    let mut sums = [[simd.splat_f32s(0.0); R]; C];
    let (rows, columns) = (S::as_simd_f32s(rows).0, S::as_simd_f32s(columns).0);
    for (rows, columns) in rows.as_chunks::<R>().0.iter().zip(columns.as_chunks::<C>().0) {
        for (sums, column) in sums.iter_mut().zip(columns) {
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum = simd.mul_add_f32s(*row, *column, *sum);
            }
        }
    }
    // Loops: a closure that is passed to `map` would be compiled without the registers.
    let mut products = [[0.0_f32; R]; C];
    for (products, sums) in products.iter_mut().zip(sums) {
        for (product, sum) in products.iter_mut().zip(sums) {
            *product = simd.reduce_sum_f32s(sum);
        }
    }
    products
}

/// Adds `shares [rows, count]` times `values [count, width]` to `output [rows, width]`, where a row of the shares is
/// `stride` numbers after the one before. Values are added one after the other.
#[inline(always)]
pub(super) fn add_shares<S: Simd>(
    simd: S,
    shares: &[f32],
    stride: usize,
    values: &[f32],
    width: usize,
    output: &mut [f32],
) {
    let count = values.len() / width;
    let mut shares = shares
        .chunks(stride)
        .map(|row| row.get(..count).unwrap_or_default());
    let mut groups = output.chunks_exact_mut(ROWS * width);
    let mut packed = vec![0.0; ROWS * count];
    for group in &mut groups {
        for (index, shares) in shares.by_ref().take(ROWS).enumerate() {
            for (place, share) in packed.iter_mut().skip(index).step_by(ROWS).zip(shares) {
                *place = *share;
            }
        }
        add_rows::<S, ROWS>(simd, packed.as_chunks().0, values, width, group);
    }
    for (output, shares) in groups.into_remainder().chunks_exact_mut(width).zip(shares) {
        add_rows::<S, 1>(simd, shares.as_chunks().0, values, width, output);
    }
}

/// Adds the values to some rows, whose shares of a value stand side by side.
#[inline(always)]
fn add_rows<S: Simd, const R: usize>(
    simd: S,
    shares: &[[f32; R]],
    values: &[f32],
    width: usize,
    output: &mut [f32],
) {
    let pairs = width / (2 * S::F32_LANES);
    for pair in 0..pairs {
        add_columns::<S, R, 2>(simd, shares, values, width, pair * 2 * S::F32_LANES, output);
    }
    let mut start = pairs * 2 * S::F32_LANES;
    if start + S::F32_LANES <= width {
        add_columns::<S, R, 1>(simd, shares, values, width, start, output);
        start += S::F32_LANES;
    }
    for (shares, value) in shares.iter().zip(values.chunks_exact(width)) {
        let value = value.get(start..).unwrap_or_default();
        for (share, row) in shares.iter().zip(output.chunks_exact_mut(width)) {
            for (sum, value) in row.get_mut(start..).unwrap_or_default().iter_mut().zip(value) {
                *sum = share.mul_add(*value, *sum);
            }
        }
    }
}

/// Adds `N` registers of each value, from the column `start` on.
#[inline(always)]
fn add_columns<S: Simd, const R: usize, const N: usize>(
    simd: S,
    shares: &[[f32; R]],
    values: &[f32],
    width: usize,
    start: usize,
    output: &mut [f32],
) {
    let range = start..start + N * S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); N]; R];
    for (sums, row) in sums.iter_mut().zip(output.chunks_exact(width)) {
        let row = S::as_simd_f32s(row.get(range.clone()).unwrap_or_default()).0;
        for (sum, number) in sums.iter_mut().zip(row) {
            *sum = *number;
        }
    }
    for (shares, value) in shares.iter().zip(values.chunks_exact(width)) {
        let value = S::as_simd_f32s(value.get(range.clone()).unwrap_or_default()).0;
        let Some(value) = value.first_chunk::<N>() else {
            break;
        };
        for (sums, share) in sums.iter_mut().zip(shares) {
            let share = simd.splat_f32s(*share);
            for (sum, value) in sums.iter_mut().zip(value) {
                *sum = simd.mul_add_f32s(share, *value, *sum);
            }
        }
    }
    for (sums, row) in sums.iter().zip(output.chunks_exact_mut(width)) {
        let row = S::as_mut_simd_f32s(row.get_mut(range.clone()).unwrap_or_default()).0;
        for (number, sum) in row.iter_mut().zip(sums) {
            *number = *sum;
        }
    }
}
