//! Probabilities of tokens: what is cut off, and the draw. Linear in the vocabulary; only what is kept is sorted.

use super::{Sampling, TokenLogprob};

/// Tokens that are sorted at first when the likeliest are looked for; eight times as many if they do not suffice.
const FIRST: usize = 64;

/// A token that may be chosen. Larger is likelier; of equals the smaller number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    token: u32,
    weight: f64,
}

impl Candidate {
    /// Orders the likeliest first.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        other
            .weight
            .total_cmp(&self.weight)
            .then(self.token.cmp(&other.token))
    }
}

/// Tokens with weights that are proportional to their probabilities.
#[derive(Debug)]
pub(super) struct Distribution {
    candidates: Vec<Candidate>,
}

/// Logarithms of a row's probabilities.
pub(super) struct Logprobs {
    /// Logarithm of the sum of all exponentials.
    total: f64,
    pub(super) top: Vec<TokenLogprob>,
}

/// Whether a logit may be chosen.
fn possible(logit: f32) -> bool {
    logit > f32::NEG_INFINITY
}

/// Returns the token of the highest logit, the first of equals; none if no logit is a number.
pub(super) fn best(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(usize, f32)> = None;
    for (token, logit) in logits.iter().enumerate().filter(|(_, logit)| possible(**logit)) {
        if best.is_none_or(|(_, highest)| *logit > highest) {
            best = Some((token, *logit));
        }
    }
    best.and_then(|(token, _)| u32::try_from(token).ok())
}

/// Computes the logarithms of the `count` likeliest tokens.
pub(super) fn logprobs(logits: &[f32], count: usize) -> Logprobs {
    let Some(distribution) = Distribution::new(logits, 1.0) else {
        return Logprobs {
            total: 0.0,
            top: Vec::new(),
        };
    };
    let sum: f64 = distribution
        .candidates
        .iter()
        .map(|candidate| candidate.weight)
        .sum();
    let total = highest(logits) + sum.ln();
    let mut candidates = distribution.candidates;
    sort_first(&mut candidates, count);
    let top = candidates.iter().take(count).map(|candidate| TokenLogprob {
        token: candidate.token,
        logprob: (candidate.weight.ln() - sum.ln()) as f32,
    });
    Logprobs {
        total,
        top: top.collect(),
    }
}

impl Logprobs {
    /// Returns the logarithm of a token's probability.
    pub(super) fn of(&self, logits: &[f32], token: u32) -> Option<f32> {
        let logit = logits.get(token as usize)?;
        Some((f64::from(*logit) - self.total) as f32)
    }
}

fn highest(logits: &[f32]) -> f64 {
    let possible = logits.iter().filter(|logit| possible(**logit));
    f64::from(possible.fold(f32::NEG_INFINITY, |highest, logit| highest.max(*logit)))
}

/// Brings the `count` likeliest to the front, in order.
fn sort_first(candidates: &mut [Candidate], count: usize) {
    if count == 0 {
        return;
    }
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count - 1, Candidate::order);
    }
    let end = count.min(candidates.len());
    if let Some(first) = candidates.get_mut(..end) {
        first.sort_unstable_by(Candidate::order);
    }
}

impl Distribution {
    /// Makes the softmax of `logits / temperature`; none if nothing can be chosen.
    pub(super) fn new(logits: &[f32], temperature: f32) -> Option<Self> {
        let highest = highest(logits);
        if highest == f64::NEG_INFINITY {
            return None;
        }
        let temperature = f64::from(temperature);
        let weight = |logit: f32| match f64::from(logit) == highest {
            // Infinity less infinity would be no number.
            true => 1.0,
            false => ((f64::from(logit) - highest) / temperature).exp(),
        };
        let tokens = logits.iter().enumerate().filter(|(_, logit)| possible(**logit));
        let candidates = tokens.map(|(token, logit)| Candidate {
            token: token as u32,
            weight: weight(*logit),
        });
        Some(Self {
            candidates: candidates.collect(),
        })
    }

    /// Leaves out unlikely tokens: by their share of the likeliest one's probability, by number, by the sum of those that
    /// are likelier. What is left after one step is a whole for the next.
    pub(super) fn cut(&mut self, settings: &Sampling) {
        if settings.min_p > 0.0 {
            // The likeliest one's weight is 1.
            let least = f64::from(settings.min_p);
            self.candidates.retain(|candidate| candidate.weight >= least);
        }
        if let Some(count) = settings.top_k.filter(|count| *count < self.candidates.len()) {
            sort_first(&mut self.candidates, count);
            self.candidates.truncate(count);
        }
        if settings.top_p < 1.0 {
            self.keep_share(f64::from(settings.top_p));
        }
    }

    /// Keeps the likeliest tokens that together have a share of the probability, the one that reaches it included.
    fn keep_share(&mut self, share: f64) {
        let total: f64 = self.candidates.iter().map(|candidate| candidate.weight).sum();
        let mut sorted = FIRST;
        loop {
            sort_first(&mut self.candidates, sorted);
            let mut sum = 0.0;
            let reached = self.candidates.iter().take(sorted).position(|candidate| {
                sum += candidate.weight;
                sum >= share * total
            });
            match reached {
                Some(index) => return self.candidates.truncate(index + 1),
                // Rounding: all of them.
                None if sorted >= self.candidates.len() => return,
                None => sorted *= 8,
            }
        }
    }

    /// Draws a token by a number from 0 up to, not with, 1.
    pub(super) fn draw(&self, random: f64) -> Option<u32> {
        let total: f64 = self.candidates.iter().map(|candidate| candidate.weight).sum();
        let mut left = random * total;
        for candidate in &self.candidates {
            left -= candidate.weight;
            if left < 0.0 {
                return Some(candidate.token);
            }
        }
        self.candidates
            .iter()
            .rfind(|candidate| candidate.weight > 0.0)
            .map(|candidate| candidate.token)
    }
}
