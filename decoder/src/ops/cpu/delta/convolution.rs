//! What stands before the recurrence: each channel becomes a weighted sum of its last few tokens, then SiLU; queries and keys
//! become rows of length one, and queries are scaled.

use super::super::super::pages::Piece;
use super::super::states::LayerStates;
use super::super::sweep;
use super::Weights;
use crate::config::GatedDelta;
use crate::lanes;

/// What is added to a sum of squares before its root.
const LENGTH_EPSILON: f32 = 1e-6;

/// The rows of a pass before the convolution.
pub(super) struct Convolution<'a> {
    weights: &'a Weights,
    /// For each row those that it is made of, oldest first.
    sources: Vec<Vec<&'a [f32]>>,
}

/// Returns the channels of a packed row.
fn channels(delta: GatedDelta, packed: &[f32], row: usize) -> &[f32] {
    let start = row * delta.packed();
    packed.get(start..start + delta.channels()).unwrap_or_default()
}

impl<'a> Convolution<'a> {
    pub(super) fn new(
        weights: &'a Weights,
        packed: &'a [f32],
        pieces: &[Piece<'_>],
        states: &'a [LayerStates<'_>],
    ) -> Self {
        let delta = weights.delta;
        let mut sources = Vec::new();
        let mut first = 0;
        for (piece, states) in pieces.iter().zip(states) {
            let tail = states.own.tail.chunks_exact(delta.channels());
            let rows = (first..first + piece.rows).map(|row| channels(delta, packed, row));
            let all: Vec<&[f32]> = tail.chain(rows).collect();
            sources.extend(all.windows(delta.kernel).map(<[&[f32]]>::to_vec));
            first += piece.rows;
        }
        Self { weights, sources }
    }

    /// Returns queries, keys and values of every row, `[rows, channels]`.
    pub(super) fn run(&self) -> Vec<f32> {
        let delta = self.weights.delta;
        let width = delta.channels();
        let mut mixed = vec![0.0_f32; self.sources.len() * width];
        sweep(
            &mut mixed,
            width,
            #[inline(always)]
            |first, mixed| {
                let sources = self.sources.get(first..).unwrap_or_default();
                for (row, sources) in mixed.chunks_exact_mut(width).zip(sources) {
                    for (source, taps) in sources.iter().zip(self.weights.taps.chunks_exact(width)) {
                        for ((sum, x), tap) in row.iter_mut().zip(*source).zip(taps) {
                            *sum = x.mul_add(*tap, *sum);
                        }
                    }
                    for x in row.iter_mut() {
                        *x = lanes::silu(*x);
                    }
                    let (queries, rest) = row.split_at_mut(delta.keys());
                    let (keys, _) = rest.split_at_mut(delta.keys());
                    let scale = 1.0 / (delta.key_width as f32).sqrt();
                    for (heads, scale) in [(queries, scale), (keys, 1.0)] {
                        for head in heads.chunks_exact_mut(delta.key_width) {
                            let factor = scale / (lanes::dot(head, head) + LENGTH_EPSILON).sqrt();
                            for x in head {
                                *x *= factor;
                            }
                        }
                    }
                }
            },
        );
        mixed
    }
}

/// Keeps the last rows of every piece for the next pass, and those before each copy.
pub(super) fn keep_tails(
    delta: GatedDelta,
    packed: &[f32],
    pieces: &[Piece<'_>],
    states: &mut [LayerStates<'_>],
) {
    let mut first = 0;
    for (piece, states) in pieces.iter().zip(states) {
        let before = states.own.tail.to_vec();
        // Row `i` of what was before and of the piece; the last ones before row `rows` are those from `rows` on.
        let row = |index: usize| match index.checked_sub(delta.kernel - 1) {
            Some(own) => channels(delta, packed, first + own),
            None => before
                .chunks_exact(delta.channels())
                .nth(index)
                .unwrap_or_default(),
        };
        let own = [(piece.rows, &mut *states.own.tail)];
        let copies = states.copies.iter_mut();
        let copies = copies.map(|(rows, state)| (*rows, &mut *state.tail));
        for (rows, tail) in copies.chain(own) {
            for (index, to) in tail.chunks_exact_mut(delta.channels()).enumerate() {
                to.copy_from_slice(row(rows + index));
            }
        }
        first += piece.rows;
    }
}
