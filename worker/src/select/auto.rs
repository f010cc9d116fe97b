//! Automatic budgets: how much of the evidence a selection is estimated to hold, and the smallest
//! selection that holds enough.
//!
//! A unit's score, through a softmax, gives the share of the evidence that it is expected to hold; a selection
//! holds the sum. [`Calibration`] makes the estimate agree with what is kept.

use std::ops::RangeInclusive;

use super::{RankedAsk, Selection};
use crate::document::Document;
use crate::tier::Tier;

/// How the scores of a tier become an estimate of what a selection holds.
#[derive(Clone, Copy)]
struct Calibration {
    /// Inverse temperature of the softmax, in standard deviations of the score.
    steepness: f32,
    /// What is added to it, divided by the document's best score: among few units none stands out far.
    by_best: f32,
    /// The power to which the expected share is raised. Above 1 the estimate holds for the strictest kind of documents
    /// instead of their mean.
    caution: f64,
}

/// Scores below this count as it where [`Calibration::by_best`] is divided by the best one.
const LEAST_BEST: f32 = 0.5;

impl Calibration {
    /// Returns the calibration of a tier. Those without the ranker agree with the DEV sets on average over documents
    /// and ratios. The ranker's were fitted on documents that it was not trained on (`ranker.kept`): the fewest words by
    /// which each of five kinds keeps the floor by conformal risk control over its questions. Conversations, whose
    /// evidence is spread, have one of their own; the few meetings that there are keep the floor by a standard error
    /// over documents. `liquid-bench evidence --kinds` checks them.
    fn of(tier: Tier, transcript: bool) -> Self {
        let steepness = |steepness| Self {
            steepness,
            by_best: 0.0,
            caution: 1.0,
        };
        match tier {
            Tier::Lexical | Tier::Static => steepness(1.0 / 0.7),
            Tier::Encoder => steepness(1.0 / 0.6),
            Tier::Ranker | Tier::Decoder if transcript => Self {
                steepness: 0.6,
                by_best: 4.0,
                caution: 6.3,
            },
            Tier::Ranker | Tier::Decoder => Self {
                steepness: 0.8,
                by_best: 6.5,
                caution: 31.5,
            },
        }
    }

    /// Estimates how much evidence each unit holds for one ask, in no particular measure.
    fn estimate(self, document: &Document<'_>, scores: &[f32]) -> Vec<f64> {
        let best = scores.iter().copied().fold(f32::MIN, f32::max);
        let steepness = self.steepness + self.by_best / best.max(LEAST_BEST);
        scores
            .iter()
            .zip(&document.units)
            .map(|(score, unit)| f64::from((score - best) * steepness).exp() * f64::from(unit.words))
            .collect()
    }
}

/// The share of the evidence that each unit of a document is expected to hold; of several asks, the mean by weight.
pub struct EvidenceShares {
    shares: Vec<f64>,
    caution: f64,
}

impl EvidenceShares {
    /// Estimates the shares from the scores of a tier.
    pub fn new(document: &Document<'_>, asks: &[RankedAsk<'_>], tier: Tier) -> Self {
        let weights: f64 = asks.iter().map(|ask| f64::from(ask.weight)).sum();
        let calibration = Calibration::of(tier, document.transcript);
        let mut mean = vec![0.0; document.units.len()];
        for ask in asks {
            let mut shares = calibration.estimate(document, ask.scores);
            let total: f64 = shares.iter().sum();
            if total > 0.0 {
                shares.iter_mut().for_each(|share| *share /= total);
            }
            let weight = f64::from(ask.weight) / weights;
            for (mean, share) in mean.iter_mut().zip(&shares) {
                *mean += weight * share;
            }
        }
        Self {
            shares: mean,
            caution: calibration.caution,
        }
    }

    /// Returns the share of the evidence that each unit is expected to hold, 0 to 1.
    pub fn as_slice(&self) -> &[f64] {
        &self.shares
    }

    /// Returns the share of the evidence that the taken units are estimated to hold, 0 to 1.
    pub fn recall(&self, taken: &[bool]) -> f64 {
        let held: f64 = self
            .shares
            .iter()
            .zip(taken)
            .filter(|(_, taken)| **taken)
            .map(|(share, _)| share)
            .sum();
        held.clamp(0.0, 1.0).powf(self.caution)
    }
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
