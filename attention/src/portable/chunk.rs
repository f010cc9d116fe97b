//! What can be computed of a chunk before its state is known, for all chunks of a segment at once.
//!
//! With `G_i` the sum of the log-gates of a chunk up to token `i`, `D_ij = exp(G_i - G_j)` for `j <= i` and 0
//! above, and rows of `Q` scaled:
//!
//! ```text
//! M = strict_tril(diag(b) K K^T * D)     T = (I + M)^-1
//! U = T diag(b) V                        W = T diag(b e^G) K
//! P = Q K^T * D                          Qd = diag(e^G) Q       Kd = diag(D_C) K
//! ```
//!
//! where `D_C` is the last row of `D`. With the erase off `U = diag(b) V` and there is no `W`.
//!
//! The exponents `G_i - G_j` are summed from `j + 1` to `i`, never taken as a difference of two sums: after one
//! token with a gate of -10^4 the difference would have lost the digits of all that follow.

use burn::backend::Backend;
use burn::tensor::TensorData;

use super::solve::inverse;
use super::{Segment, T};
use crate::core::{CHUNK, DeltaRule};

/// Prepared chunks; `[G, n, C, ..]` with `n` chunks of `C` tokens.
pub(super) struct Chunks<B: Backend> {
    /// Keys, of unit length where the rule asks for it.
    pub(super) k: T<B>,
    /// Queries, of unit length as the keys are, and scaled.
    pub(super) q: T<B>,
    pub(super) v: T<B>,
    pub(super) beta: T<B>,
    /// Decay `e^G` up to each token, `[G, n, C, 1]`.
    pub(super) from_start: T<B>,
    /// The last row of `D` as a column, `[G, n, C, 1]`.
    pub(super) to_end: T<B>,
    /// Decay `e^(G_C)` of the whole chunk, `[G, n, 1, 1]`.
    pub(super) whole: T<B>,
    pub(super) decay: T<B>,
    pub(super) p: T<B>,
    pub(super) qd: T<B>,
    pub(super) kd: T<B>,
    pub(super) u: T<B>,
    pub(super) erase: Option<Erase<B>>,
    /// Reciprocal norms of queries and keys, `[G, n, C, 1]`.
    pub(super) norms: Option<(T<B>, T<B>)>,
    pub(super) masks: Masks<B>,
}

/// The part that only the delta rule has.
pub(super) struct Erase<B: Backend> {
    pub(super) m: T<B>,
    pub(super) t: T<B>,
    /// Keys weighted by strength and decay, `diag(b e^G) K`.
    pub(super) bk: T<B>,
    pub(super) w: T<B>,
}

/// Masks of a chunk: ones on and below the diagonal, and ones below it, `[1, 1, C, C]`.
pub(super) struct Masks<B: Backend> {
    pub(super) lower: T<B>,
    pub(super) strict: T<B>,
    /// Mask with a one for the last token, `[1, 1, C, 1]`.
    pub(super) last: T<B>,
}

impl<B: Backend> Masks<B> {
    fn new(like: &T<B>) -> Self {
        let mask = |keep: fn(usize, usize) -> bool| {
            let ones = (0..CHUNK * CHUNK)
                .map(|i| f32::from(u8::from(keep(i / CHUNK, i % CHUNK))))
                .collect();
            T::from_data(TensorData::new::<f32, _>(ones, [1, 1, CHUNK, CHUNK]), like)
        };
        let mut last = vec![0.0f32; CHUNK];
        last[CHUNK - 1] = 1.0;
        Self {
            lower: mask(|i, j| j <= i),
            strict: mask(|i, j| j < i),
            last: T::from_data(TensorData::new(last, [1, 1, CHUNK, 1]), like),
        }
    }
}

/// Divides rows by their norm; returns the factor too.
pub(super) fn unit_rows<B: Backend>(rows: T<B>) -> (T<B>, T<B>) {
    let last = rows.shape().len() - 1;
    let squares = (rows.clone() * rows.clone()).sum(last).add_scalar(1e-6);
    let factor = squares.sqrt().recip();
    (rows * factor.clone(), factor)
}

/// Reshapes `[G, tokens, D]` to `[G, n, C, D]`; tokens that the last chunk lacks are zeros, which change nothing.
pub(super) fn fold<B: Backend>(rows: T<B>) -> T<B> {
    let [groups, tokens, width] = rows.dims();
    let missing = tokens.next_multiple_of(CHUNK) - tokens;
    let rows = match missing {
        0 => rows,
        _ => {
            let zeros = T::zeros(&rows, [groups, missing, width]);
            T::cat(vec![rows, zeros], 1)
        }
    };
    rows.reshape([groups, (tokens + missing) / CHUNK, CHUNK, width])
}

/// Computes everything that does not depend on the state.
pub(super) fn prepare<B: Backend>(segment: Segment<B>, rule: DeltaRule) -> Chunks<B> {
    let [groups, tokens, _] = segment.k.dims();
    let column = |t: T<B>| fold(t.reshape([groups, tokens, 1]));
    let (g, beta) = (column(segment.g), column(segment.beta));
    let (q, k, v) = (fold(segment.q), fold(segment.k), fold(segment.v));
    let (q, k, norms) = match rule.normalise {
        true => {
            let ((q, by_q), (k, by_k)) = (unit_rows(q), unit_rows(k));
            (q, k, Some((by_q, by_k)))
        }
        false => (q, k, None),
    };
    let q = q.scale(rule.scale);
    let masks = Masks::new(&q);
    let decay = (g.clone() * masks.strict.clone()).cumsum(2).exp() * masks.lower.clone();
    let from_start = g.cumsum(2).exp();
    let to_end = decay.clone().narrow(2, CHUNK - 1, 1).transpose();
    let bv = beta.clone() * v.clone();
    let (u, erase) = match rule.erase {
        true => {
            let erase = erasing(&k, &beta, &decay, &from_start, &masks);
            (erase.t.clone().matmul(bv), Some(erase))
        }
        false => (bv, None),
    };
    Chunks {
        p: q.clone().matmul(k.clone().transpose()) * decay.clone(),
        qd: from_start.clone() * q.clone(),
        kd: to_end.clone() * k.clone(),
        whole: from_start.clone().narrow(2, CHUNK - 1, 1),
        k,
        q,
        v,
        beta,
        from_start,
        to_end,
        decay,
        u,
        erase,
        norms,
        masks,
    }
}

fn erasing<B: Backend>(k: &T<B>, beta: &T<B>, decay: &T<B>, from_start: &T<B>, masks: &Masks<B>) -> Erase<B> {
    let overlap = k.clone().matmul(k.clone().transpose()) * decay.clone();
    let m = beta.clone() * overlap * masks.strict.clone();
    let t = inverse(&m);
    let bk = beta.clone() * from_start.clone() * k.clone();
    Erase {
        w: t.clone().matmul(bk.clone()),
        m,
        t,
        bk,
    }
}
