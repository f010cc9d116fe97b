//! One token: the recurrence as it is written.

use burn::backend::Backend;

use super::chunk::unit_rows;
use super::{Segment, T};
use crate::core::DeltaRule;

/// Computes the output `[G, 1, dv]` and the next state, from the state `[G, dk, dv]`.
pub(super) fn run<B: Backend>(token: Segment<B>, state: T<B>, rule: DeltaRule) -> (T<B>, T<B>) {
    let [rows, _, _] = token.k.dims::<3>();
    let (q, k) = match rule.normalise {
        true => (unit_rows(token.q).0, unit_rows(token.k).0),
        false => (token.q, token.k),
    };
    let decayed = token.g.exp().reshape([rows, 1, 1]) * state;
    let news = match rule.erase {
        true => token.v - k.clone().matmul(decayed.clone()),
        false => token.v,
    };
    let written = token.beta.reshape([rows, 1, 1]) * news;
    let state = decayed + k.transpose().matmul(written);
    (q.matmul(state.clone()).scale(rule.scale), state)
}
