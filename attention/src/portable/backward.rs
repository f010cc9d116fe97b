//! Gradients of the rule. Segments are walked from the last to the first; each is prepared and scanned again
//! from the state that was saved before it, so memory does not grow with the sequence.
//!
//! In the names of [`super::chunk`], with `dO` given and `dS'` coming from the chunk to the right:
//!
//! ```text
//! dVn = P^T dO + Kd dS'          dS = e^(G_C) dS' + Qd^T dO - W^T dVn
//! dP  = tril(dO Vn^T)            dQd = dO S^T         dKd = Vn dS'^T         dW = -dVn S^T
//! dQ  = diag(e^G) dQd + (dP * D) K
//! dK  = diag(D_C) dKd + (dP * D)^T Q
//! dT  = dVn (diag(b) V)^T + dW (diag(b e^G) K)^T
//! dM  = strict_tril(-T^T dT T^T)
//! d(bV) = T^T dVn                d(b e^G K) = T^T dW
//! ```
//!
//! A log-gate `g_t` is part of every `D_ij` with `j < t <= i` and of every `e^(G_i)` with `t <= i`, so its gradient
//! sums `dD * D` over those `i, j`, and `de^G * e^G` over those `i`.

use burn::backend::Backend;

use super::chunk::{Chunks, Erase, fold, prepare};
use super::scan::{self, Passed, at};
use super::{CallInputs, T, to_rows};
use crate::core::{DeltaGradients, DeltaRule};

/// Gradients of one segment, `[G, n, C, ..]`.
struct Part<B: Backend> {
    q: T<B>,
    k: T<B>,
    v: T<B>,
    g: T<B>,
    beta: T<B>,
}

pub(super) fn run<B: Backend>(
    whole: &CallInputs<B>,
    saved: T<B>,
    d_output: T<B>,
    d_state: T<B>,
    rule: DeltaRule,
) -> DeltaGradients<B> {
    let [batch, heads, dk, dv] = whole.state.dims();
    let groups = batch * heads;
    let mut d_state = d_state.reshape([groups, dk, dv]);
    let mut parts = Vec::new();
    for index in (0..super::segments(whole.tokens())).rev() {
        let (start, tokens) = whole.range(index);
        let before = saved.clone().narrow(0, index, 1).reshape([groups, dk, dv]);
        let d_output = fold(to_rows(d_output.clone().narrow(1, start, tokens)));
        let chunks = prepare(whole.segment(index), rule);
        let (passed, _) = scan::run(&chunks, before);
        let (part, before) = segment(&chunks, &passed, d_output, d_state, rule);
        d_state = before;
        parts.push((tokens, part));
    }
    parts.reverse();
    let join = |of: fn(&Part<B>) -> &T<B>| {
        let parts = parts
            .iter()
            .map(|(tokens, part)| whole.to_tokens(of(part).clone(), *tokens));
        T::cat(parts.collect(), 1)
    };
    let number = |t: T<B>| {
        let [batch, tokens, heads, _] = t.dims();
        t.reshape([batch, tokens, heads]).0
    };
    DeltaGradients {
        q: join(|part| &part.q).cast(whole.dtype).0,
        k: join(|part| &part.k).cast(whole.dtype).0,
        v: join(|part| &part.v).cast(whole.dtype).0,
        g: number(join(|part| &part.g)),
        beta: number(join(|part| &part.beta)),
        state: d_state.reshape([batch, heads, dk, dv]).0,
    }
}

/// Runs the reverse scan: gradients with respect to `Vn`, to the state after each chunk, and to the state before the
/// first.
fn pass<B: Backend>(chunks: &Chunks<B>, d_output: &T<B>, d_state: T<B>) -> (T<B>, T<B>, T<B>) {
    let [groups, count, _, dk] = chunks.k.dims();
    let [_, _, size, dv] = chunks.u.dims();
    let direct = chunks.p.clone().transpose().matmul(d_output.clone());
    let read = chunks.qd.clone().transpose().matmul(d_output.clone());
    let (mut d_news, mut after) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut d_state = d_state;
    for index in (0..count).rev() {
        let d_new = at(&direct, index) + at(&chunks.kd, index).matmul(d_state.clone());
        let mut before = at(&chunks.whole, index) * d_state.clone() + at(&read, index);
        if let Some(erase) = &chunks.erase {
            before = before - at(&erase.w, index).transpose().matmul(d_new.clone());
        }
        after.push(std::mem::replace(&mut d_state, before).reshape([groups, 1, dk, dv]));
        d_news.push(d_new.reshape([groups, 1, size, dv]));
    }
    d_news.reverse();
    after.reverse();
    (T::cat(d_news, 1), T::cat(after, 1), d_state)
}

/// Computes the gradients of a segment's tokens and of the state before it.
fn segment<B: Backend>(
    chunks: &Chunks<B>,
    passed: &Passed<B>,
    d_output: T<B>,
    d_state: T<B>,
    rule: DeltaRule,
) -> (Part<B>, T<B>) {
    let (d_news, after, before) = pass(chunks, &d_output, d_state);
    let d_p = d_output.clone().matmul(passed.news.clone().transpose()) * chunks.masks.lower.clone();
    let d_qd = d_output.matmul(passed.before.clone().transpose());
    let d_kd = passed.news.clone().matmul(after.clone().transpose());
    let d_scores = d_p.clone() * chunks.decay.clone();
    let d_k = chunks.to_end.clone() * d_kd.clone() + d_scores.clone().transpose().matmul(chunks.q.clone());
    let d_q = chunks.from_start.clone() * d_qd.clone() + d_scores.matmul(chunks.k.clone());

    let d_last = (d_kd * chunks.kd.clone()).sum(3).transpose() * chunks.masks.last.clone();
    let d_whole = (passed.before.clone() * after).sum(2).sum(3) * chunks.whole.clone();
    let shared = Shared {
        k: d_k,
        decay: d_p * chunks.p.clone() + d_last,
        start: (d_qd * chunks.qd.clone()).sum(3) + d_whole * chunks.masks.last.clone(),
        beta: None,
        bv: d_news.clone(),
    };
    let by = match &chunks.erase {
        Some(erase) => erased(chunks, erase, passed, d_news, shared),
        None => shared,
    };
    let d_beta = (by.bv.clone() * chunks.v.clone()).sum(3);
    let (d_q, d_k) = (d_q.scale(rule.scale), by.k);
    let part = Part {
        q: by_given(
            &chunks.q.clone().scale(1.0 / rule.scale),
            d_q,
            chunks.norms.as_ref().map(|norms| &norms.0),
        ),
        k: by_given(&chunks.k, d_k, chunks.norms.as_ref().map(|norms| &norms.1)),
        v: chunks.beta.clone() * by.bv,
        g: by_gate(chunks, by.decay, by.start),
        beta: by.beta.map_or(d_beta.clone(), |rest| d_beta + rest),
    };
    (part, before)
}

/// Gradients to which both the output and the erasing contribute.
struct Shared<B: Backend> {
    k: T<B>,
    /// Gradient with respect to the exponents of `D`.
    decay: T<B>,
    /// Gradient with respect to the exponents of `e^G`.
    start: T<B>,
    beta: Option<T<B>>,
    /// Gradient with respect to `diag(b) V`.
    bv: T<B>,
}

/// Adds what comes through `U`, `W` and the triangular factor.
fn erased<B: Backend>(
    chunks: &Chunks<B>,
    erase: &Erase<B>,
    passed: &Passed<B>,
    d_news: T<B>,
    rest: Shared<B>,
) -> Shared<B> {
    let d_w = d_news
        .clone()
        .matmul(passed.before.clone().transpose())
        .scale(-1.0);
    let bv = chunks.beta.clone() * chunks.v.clone();
    let d_t = d_news.clone().matmul(bv.transpose()) + d_w.clone().matmul(erase.bk.clone().transpose());
    let t = erase.t.clone().transpose();
    let d_m = t.clone().matmul(d_t).matmul(t.clone()).scale(-1.0) * chunks.masks.strict.clone();
    let d_bk = t.clone().matmul(d_w);
    let scaled = chunks.from_start.clone() * chunks.k.clone();
    let d_overlap = d_m.clone() * chunks.decay.clone();
    let x = d_overlap.clone().matmul(chunks.k.clone());
    let y = d_overlap
        .transpose()
        .matmul(chunks.beta.clone() * chunks.k.clone());
    let d_k = chunks.beta.clone() * (chunks.from_start.clone() * d_bk.clone() + x.clone()) + y;
    Shared {
        k: rest.k + d_k,
        decay: rest.decay + d_m * erase.m.clone(),
        start: rest.start + (d_bk.clone() * erase.bk.clone()).sum(3),
        beta: Some((d_bk * scaled).sum(3) + (x * chunks.k.clone()).sum(3)),
        bv: t.matmul(d_news),
    }
}

/// Computes the gradient with respect to the rows as they were given, from that with respect to the rows of
/// unit length.
fn by_given<B: Backend>(unit: &T<B>, gradient: T<B>, factor: Option<&T<B>>) -> T<B> {
    match factor {
        None => gradient,
        Some(factor) => {
            let along = (unit.clone() * gradient.clone()).sum(3);
            factor.clone() * (gradient - unit.clone() * along)
        }
    }
}

/// Computes the gradient with respect to the log-gates: `sum_(j < t <= i) decay_ij + sum_(t <= i) start_i`.
fn by_gate<B: Backend>(chunks: &Chunks<B>, decay: T<B>, start: T<B>) -> T<B> {
    let from_here = |t: T<B>| t.flip(2).cumsum(2).flip(2);
    (from_here(decay) * chunks.masks.strict.clone()).sum(3) + from_here(start)
}
