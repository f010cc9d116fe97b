//! The recurrence written plainly in f64. Shares no code with `liquid-attention`.

use super::inputs::{Case, Size};

/// Output `[batch, tokens, heads, width]` and last state `[batch, heads, width, width]` of the rule.
pub(super) struct Exact {
    pub(super) output: Vec<f64>,
    pub(super) state: Vec<f64>,
}

/// Computes a case token after token, one thread a head.
pub(super) fn recurrence(case: &Case, erase: bool) -> Exact {
    let Size {
        batch,
        tokens,
        heads,
        width,
    } = case.size;
    let mut output = vec![0.0; batch * tokens * heads * width];
    let mut last = Vec::new();
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..batch * heads)
            .map(|lane| scope.spawn(move || head(case, lane, erase)))
            .collect();
        for (lane, thread) in lanes.into_iter().enumerate() {
            let (rows, state) = thread.join().unwrap_or_default();
            for (token, row) in rows.chunks(width).enumerate() {
                let at = ((lane / heads * tokens + token) * heads + lane % heads) * width;
                output[at..at + width].copy_from_slice(row);
            }
            last.extend(state);
        }
    });
    Exact { output, state: last }
}

/// Output `[tokens, width]` and last state `[width, width]` of one head of one sequence.
fn head(case: &Case, lane: usize, erase: bool) -> (Vec<f64>, Vec<f64>) {
    let Size {
        tokens, heads, width, ..
    } = case.size;
    let mut state: Vec<f64> = case.state[lane * width * width..][..width * width]
        .iter()
        .map(|&x| f64::from(x))
        .collect();
    let mut output = Vec::with_capacity(tokens * width);
    for token in 0..tokens {
        let number = (lane / heads * tokens + token) * heads + lane % heads;
        let row = |x: &[f32]| {
            x[number * width..][..width]
                .iter()
                .map(|&x| f64::from(x))
                .collect::<Vec<_>>()
        };
        let unit = |x: Vec<f64>| {
            let norm = (x.iter().map(|x| x * x).sum::<f64>() + 1e-6).sqrt();
            x.into_iter().map(|x| x / norm).collect::<Vec<_>>()
        };
        let (q, k, v) = (unit(row(&case.q)), unit(row(&case.k)), row(&case.v));
        let (decay, beta) = (f64::from(case.g[number]).exp(), f64::from(case.beta[number]));
        let mut known = vec![0.0; width];
        for (k, states) in k.iter().zip(state.chunks_mut(width)) {
            for (state, known) in states.iter_mut().zip(&mut known) {
                *state *= decay;
                *known += k * *state;
            }
        }
        let news: Vec<f64> = v
            .iter()
            .zip(&known)
            .map(|(v, known)| beta * (v - if erase { *known } else { 0.0 }))
            .collect();
        let mut out = vec![0.0; width];
        for ((k, q), states) in k.iter().zip(&q).zip(state.chunks_mut(width)) {
            for ((state, news), out) in states.iter_mut().zip(&news).zip(&mut out) {
                *state += k * news;
                *out += q * *state / (width as f64).sqrt();
            }
        }
        output.extend(out);
    }
    (output, state)
}

/// Euclidean norm of the difference over that of the reference; infinite where lengths differ or a number is
/// none.
pub(super) fn relative_error(values: &[f32], reference: &[f64]) -> f64 {
    let (mut off, mut all) = (0.0, 0.0);
    for (&value, &wanted) in values.iter().zip(reference) {
        off += (f64::from(value) - wanted).powi(2);
        all += wanted.powi(2);
    }
    let error = (off / all).sqrt();
    if error.is_finite() && values.len() == reference.len() {
        error
    } else {
        f64::INFINITY
    }
}
