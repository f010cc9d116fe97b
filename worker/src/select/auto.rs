//! Automatic budgets: how much of the evidence a selection is estimated to hold, and the take_smallest
//! selection that holds enough.
//!
//! A unit's score, through a softmax, gives the share of the evidence that it is expected to hold; a selection
//! holds the sum. The temperatures make the estimate agree with what is kept on the DEV sets, on average over
//! documents and ratios: `liquid-bench evidence --auto --tier TIER` prints both.

use std::ops::RangeInclusive;

use super::Selection;
use crate::document::Document;
use crate::tier::Tier;

/// Returns the temperature of the softmax for a tier, in standard deviations of the score.
fn temperature(tier: Tier) -> f32 {
    match tier {
        Tier::Lexical | Tier::Static => 0.7,
        Tier::Encoder => 0.6,
    }
}

/// The share of the evidence that each unit of a document is expected to hold.
pub struct EvidenceShares {
    shares: Vec<f64>,
}

impl EvidenceShares {
    /// Estimates the shares from the scores of a tier.
    pub fn new(document: &Document<'_>, scores: &[f32], tier: Tier) -> Self {
        let temperature = temperature(tier);
        let max = scores.iter().copied().fold(f32::MIN, f32::max);
        let mut shares: Vec<f64> = scores
            .iter()
            .zip(&document.units)
            .map(|(score, unit)| f64::from((score - max) / temperature).exp() * f64::from(unit.words))
            .collect();
        let total: f64 = shares.iter().sum();
        if total > 0.0 {
            shares.iter_mut().for_each(|share| *share /= total);
        }
        Self { shares }
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

/// Finds the take_smallest selection, by budget, that is expected to hold the share `floor` of the evidence.
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
