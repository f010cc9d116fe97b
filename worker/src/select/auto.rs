//! Automatic budgets: how much of the evidence a selection is estimated to hold, and the smallest
//! selection that holds enough.
//!
//! A unit's score, through a softmax, gives the share of the evidence that it is expected to hold; a selection
//! holds the sum. The temperatures make the estimate agree with what is kept on the DEV sets, on average over
//! documents and ratios: `liquid-bench evidence --auto --tier TIER` prints both.

use std::ops::RangeInclusive;

use super::{RankedAsk, Selection};
use crate::document::Document;
use crate::tier::Tier;

/// Returns the temperature of the softmax for a tier, in standard deviations of the score.
fn temperature(tier: Tier) -> f32 {
    match tier {
        Tier::Lexical | Tier::Static => 0.7,
        Tier::Encoder => 0.6,
        // Fitted on documents that the ranker was not trained on, so that it holds for the strictest of five kinds; with
        // the static signals beside it, and taken for its scores beside the encoder's too.
        Tier::Ranker | Tier::Decoder => 0.8,
    }
}

/// The share of the evidence that each unit of a document is expected to hold; of several asks, the mean by weight.
pub struct EvidenceShares {
    shares: Vec<f64>,
}

impl EvidenceShares {
    /// Estimates the shares from the scores of a tier.
    pub fn new(document: &Document<'_>, asks: &[RankedAsk<'_>], tier: Tier) -> Self {
        let weights: f64 = asks.iter().map(|ask| f64::from(ask.weight)).sum();
        let mut mean = vec![0.0; document.units.len()];
        for ask in asks {
            let mut shares = estimate(document, ask.scores, tier);
            let total: f64 = shares.iter().sum();
            if total > 0.0 {
                shares.iter_mut().for_each(|share| *share /= total);
            }
            let weight = f64::from(ask.weight) / weights;
            for (mean, share) in mean.iter_mut().zip(&shares) {
                *mean += weight * share;
            }
        }
        Self { shares: mean }
    }

    /// Returns the share of the evidence that each unit is expected to hold, 0 to 1.
    pub fn as_slice(&self) -> &[f64] {
        &self.shares
    }

    /// Returns the share of the evidence that the taken units are expected to hold, 0 to 1.
    pub fn recall(&self, taken: &[bool]) -> f64 {
        let held: f64 = self
            .shares
            .iter()
            .zip(taken)
            .filter(|(_, taken)| **taken)
            .map(|(share, _)| share)
            .sum();
        held.clamp(0.0, 1.0)
    }
}

/// Estimates how much evidence each unit holds for one ask, in no particular measure.
fn estimate(document: &Document<'_>, scores: &[f32], tier: Tier) -> Vec<f64> {
    let temperature = temperature(tier);
    let max = scores.iter().copied().fold(f32::MIN, f32::max);
    scores
        .iter()
        .zip(&document.units)
        .map(|(score, unit)| f64::from((score - max) / temperature).exp() * f64::from(unit.words))
        .collect()
}

/// Finds the smallest selection, by budget, that is expected to hold the share `floor` of the evidence.
/// Searched by halving: what a larger budget takes holds as much or more.
pub fn take_smallest(
    budgets: RangeInclusive<usize>,
    floor: f64,
    shares: &EvidenceShares,
    take: impl Fn(usize) -> Selection,
) -> Selection {
    let (mut low, mut high) = (*budgets.start(), *budgets.end());
    let mut best = take(high);
    while low < high {
        let middle = low + (high - low) / 2;
        let selection = take(middle);
        if shares.recall(&selection.taken) >= floor {
            (best, high) = (selection, middle);
        } else {
            low = middle + 1;
        }
    }
    best
}
