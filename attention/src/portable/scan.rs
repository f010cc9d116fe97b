//! The pass of the state from chunk to chunk, and the output once every chunk knows its state.
//!
//! ```text
//! Vn = U - W S        S' = e^(G_C) S + Kd^T Vn        O = Qd S + P Vn
//! ```

use burn::backend::Backend;

use super::T;
use super::chunk::Chunks;

/// Results of the scan for each chunk.
pub(super) struct Passed<B: Backend> {
    /// The state before the chunk, `[G, n, dk, dv]`.
    pub(super) before: T<B>,
    /// New values `Vn`, `[G, n, C, dv]`.
    pub(super) news: T<B>,
}

/// Walks the chunks from `state [G, dk, dv]`; returns the last state too.
pub(super) fn run<B: Backend>(chunks: &Chunks<B>, mut state: T<B>) -> (Passed<B>, T<B>) {
    let [groups, count, _, dk] = chunks.k.dims();
    let [_, _, size, dv] = chunks.u.dims();
    let (mut before, mut news) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for index in 0..count {
        let u = at(&chunks.u, index);
        let new = match &chunks.erase {
            Some(erase) => u - at(&erase.w, index).matmul(state.clone()),
            None => u,
        };
        let kept = at(&chunks.whole, index) * state.clone();
        let next = kept + at(&chunks.kd, index).transpose().matmul(new.clone());
        before.push(std::mem::replace(&mut state, next).reshape([groups, 1, dk, dv]));
        news.push(new.reshape([groups, 1, size, dv]));
    }
    (
        Passed {
            before: T::cat(before, 1),
            news: T::cat(news, 1),
        },
        state,
    )
}

/// Computes the output of every chunk, `[G, n, C, dv]`.
pub(super) fn output<B: Backend>(chunks: &Chunks<B>, passed: &Passed<B>) -> T<B> {
    chunks.qd.clone().matmul(passed.before.clone()) + chunks.p.clone().matmul(passed.news.clone())
}

/// Takes one chunk of `[G, n, a, b]`, as `[G, a, b]`.
pub(super) fn at<B: Backend>(tensor: &T<B>, index: usize) -> T<B> {
    let [groups, _, a, b] = tensor.dims();
    tensor.clone().narrow(1, index, 1).reshape([groups, a, b])
}
