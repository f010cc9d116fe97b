//! The recurrence of one head over the rows of a piece.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::Weights;
use crate::config::GatedDelta;

/// Registers of a block of columns.
const REGISTERS: usize = 2;
/// Sums over the rows of a state that run beside each other.
const CHAINS: usize = 4;

/// How much of its state each head keeps, and how strongly it writes: `[rows, value_heads]` each.
pub(super) struct Rates {
    kept: Vec<f32>,
    strength: Vec<f32>,
}

/// One head of a piece.
pub(super) struct HeadTask<'a> {
    pub(super) delta: GatedDelta,
    /// Queries, keys and values of all rows.
    pub(super) mixed: &'a [f32],
    pub(super) rates: &'a Rates,
    pub(super) head: usize,
    /// Rows of the piece.
    pub(super) rows: Range<usize>,
    /// `[key_width, value_width]`.
    pub(super) state: &'a mut [f32],
    /// Copies of the state, by the rows of the piece after which they are taken.
    pub(super) copies: Vec<(usize, &'a mut [f32])>,
}

/// A row of a head.
struct Token<'a> {
    query: &'a [f32],
    key: &'a [f32],
    kept: f32,
    strength: f32,
}

impl Rates {
    /// Computes `exp(-e^decay softplus(a + bias))` and `sigmoid(b)` of the last numbers of packed rows.
    pub(super) fn new(weights: &Weights, packed: &[f32]) -> Self {
        let delta = weights.delta;
        let count = packed.len() / delta.packed() * delta.value_heads;
        let (mut kept, mut strength) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for row in packed.chunks_exact(delta.packed()) {
            let (_, numbers) = row.split_at(delta.packed() - 2 * delta.value_heads);
            let (written, forgotten) = numbers.split_at(delta.value_heads);
            strength.extend(written.iter().map(|b| 1.0 / (1.0 + (-b).exp())));
            let terms = forgotten.iter().zip(&weights.decay_bias).zip(&weights.decay);
            kept.extend(terms.map(|((a, bias), decay)| (-decay.exp() * softplus(a + bias)).exp()));
        }
        Self { kept, strength }
    }
}

/// Computes `ln(1 + e^x)`.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

impl HeadTask<'_> {
    fn token(&self, row: usize) -> Token<'_> {
        let delta = self.delta;
        let key_head = self.head / delta.group();
        let numbers = |start: usize| {
            let start = row * delta.channels() + start + key_head * delta.key_width;
            self.mixed.get(start..start + delta.key_width).unwrap_or_default()
        };
        let place = row * delta.value_heads + self.head;
        let rate = |rates: &[f32]| rates.get(place).copied().unwrap_or_default();
        Token {
            query: numbers(0),
            key: numbers(delta.keys()),
            kept: rate(&self.rates.kept),
            strength: rate(&self.rates.strength),
        }
    }

    fn value(&self, row: usize) -> &[f32] {
        let start = row * self.delta.channels() + 2 * self.delta.keys() + self.head * self.delta.value_width;
        self.mixed
            .get(start..start + self.delta.value_width)
            .unwrap_or_default()
    }
}

impl WithSimd for HeadTask<'_> {
    /// `[rows, value_width]`.
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> Vec<f32> {
        let width = self.delta.value_width;
        let columns = REGISTERS * S::F32_LANES;
        // What is beyond the last column stays zero.
        let mut block = vec![0.0_f32; self.delta.key_width * columns];
        let mut value = vec![0.0_f32; columns];
        let mut output = vec![0.0_f32; self.rows.len() * width];
        for start in (0..width).step_by(columns) {
            let own = start..width.min(start + columns);
            block.fill(0.0);
            value.fill(0.0);
            for (to, from) in block
                .chunks_exact_mut(columns)
                .zip(self.state.chunks_exact(width))
            {
                copy_begin(to, from.get(own.clone()).unwrap_or_default());
            }
            for (index, row) in self.rows.clone().enumerate() {
                copy_begin(&mut value, self.value(row).get(own.clone()).unwrap_or_default());
                step(simd, &mut block, &mut value, &self.token(row));
                let place = index * width;
                let to = output.get_mut(place + own.start..place + own.end);
                copy_begin(to.unwrap_or_default(), &value);
                for (rows, copy) in &mut self.copies {
                    if *rows == index + 1 {
                        store(&block, columns, copy, width, own.clone());
                    }
                }
            }
            store(&block, columns, self.state, width, own);
        }
        output
    }
}

/// Copies as many numbers as both have.
#[inline(always)]
fn copy_begin(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Writes a block of columns into a state.
#[inline(always)]
fn store(block: &[f32], columns: usize, state: &mut [f32], width: usize, own: Range<usize>) {
    for (to, from) in state.chunks_exact_mut(width).zip(block.chunks_exact(columns)) {
        copy_begin(to.get_mut(own.clone()).unwrap_or_default(), from);
    }
}

/// Forgets, writes the value and reads by the query; the output takes the value's place.
#[inline(always)]
fn step<S: Simd>(simd: S, block: &mut [f32], value: &mut [f32], token: &Token<'_>) {
    let (block, value) = (S::as_mut_simd_f32s(block).0, S::as_mut_simd_f32s(value).0);
    let (rows, _) = block.as_chunks_mut::<REGISTERS>();
    let held = products(simd, rows, token.key);
    let (kept, strength) = (simd.splat_f32s(token.kept), simd.splat_f32s(token.strength));
    let mut news = [simd.splat_f32s(0.0); REGISTERS];
    for ((new, value), held) in news.iter_mut().zip(value.iter()).zip(held) {
        let difference = simd.sub_f32s(*value, simd.mul_f32s(kept, held));
        *new = simd.mul_f32s(strength, difference);
    }
    for (row, key) in rows.iter_mut().zip(token.key) {
        let key = simd.splat_f32s(*key);
        for (number, new) in row.iter_mut().zip(news) {
            *number = simd.mul_add_f32s(key, new, simd.mul_f32s(kept, *number));
        }
    }
    let read = products(simd, rows, token.query);
    for (value, read) in value.iter_mut().zip(read) {
        *value = read;
    }
}

/// Computes the product of a row of numbers with a block.
#[inline(always)]
fn products<S: Simd>(simd: S, rows: &[[S::f32s; REGISTERS]], numbers: &[f32]) -> [S::f32s; REGISTERS] {
    let mut sums = [[simd.splat_f32s(0.0); REGISTERS]; CHAINS];
    let ((groups, rest), (factors, last)) = (rows.as_chunks::<CHAINS>(), numbers.as_chunks::<CHAINS>());
    for (group, factors) in groups.iter().zip(factors) {
        for ((sums, row), factor) in sums.iter_mut().zip(group).zip(factors) {
            let factor = simd.splat_f32s(*factor);
            for (sum, number) in sums.iter_mut().zip(row) {
                *sum = simd.mul_add_f32s(factor, *number, *sum);
            }
        }
    }
    for ((sums, row), factor) in sums.iter_mut().zip(rest).zip(last) {
        let factor = simd.splat_f32s(*factor);
        for (sum, number) in sums.iter_mut().zip(row) {
            *sum = simd.mul_add_f32s(factor, *number, *sum);
        }
    }
    let [mut sum, others @ ..] = sums;
    for other in others {
        for (sum, other) in sum.iter_mut().zip(other) {
            *sum = simd.add_f32s(*sum, other);
        }
    }
    sum
}
