//! Chooses the units that fit a budget, best first, and turns them into spans.
//!
//! Last step of an extraction. Costs (words or tokens) are counted unit by unit, so a pack never exceeds its
//! budget however the spans are joined.

use std::ops::Range;

use crate::document::Unit;

mod auto;
#[cfg(test)]
mod tests;

pub use auto::{EvidenceShares, take_smallest};

/// Gaps up to this many words between chosen units are closed: what stands between two hits often belongs to
/// them, and a text with fewer holes reads better.
pub const GAP_WORDS: usize = 40;

/// Gaps up to this many words are closed in a conversation, whose evidence is whole stretches of talk.
pub const TRANSCRIPT_GAP_WORDS: usize = 150;

/// Most units in a gap that is looked across; units without words do not fill gaps for ever.
const GAP_UNITS: usize = 64;

/// A lead up to this many words is cheap enough for any unit: the header of a table or the label of a passage,
/// without which a row or a sentence says nothing.
const LEAD_WORDS: u32 = 40;

/// Most leads that a unit brings: a row its header, that its heading, and that the label of its passage.
const MAX_LEADS: usize = 4;

/// Units that do not fit any more before a pack counts as full.
const MAX_MISSES: usize = 64;

/// The units that are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Flags of the units that are taken.
    pub taken: Vec<bool>,
    /// Cost of the units that are taken.
    pub cost: usize,
}

/// Returns the units in the order in which they are worth taking: by score, earlier units first among equals.
pub fn rank(scores: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_unstable_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
    order
}

/// Takes units in order until the budget is full. A unit comes with the gap to its neighbours, of up to
/// `gap_words` words, and with its lead where they fit.
pub fn take(units: &[Unit], costs: &[u32], order: &[u32], budget: usize, gap_words: usize) -> Selection {
    let mut selection = Selection {
        taken: vec![false; units.len()],
        cost: 0,
    };
    let mut misses = 0;
    for &unit in order {
        let unit = unit as usize;
        if selection.taken[unit] || units[unit].filler {
            continue;
        }
        if selection.cost + costs[unit] as usize > budget {
            misses += 1;
            if misses > MAX_MISSES || selection.cost >= budget {
                break;
            }
            continue;
        }
        selection.add(costs, unit);
        for gap in [
            selection.gap_before(units, unit, gap_words),
            selection.gap_after(units, unit, gap_words),
        ]
        .into_iter()
        .flatten()
        {
            selection.add_gap(units, costs, gap, budget);
        }
        selection.add_lead(units, costs, unit, budget);
    }
    selection
}

impl Selection {
    fn add(&mut self, costs: &[u32], unit: usize) {
        if !self.taken[unit] {
            self.taken[unit] = true;
            self.cost += costs[unit] as usize;
        }
    }

    /// Closes a gap if it fits. What is no evidence stays out of it.
    fn add_gap(&mut self, units: &[Unit], costs: &[u32], gap: Range<usize>, budget: usize) {
        let text = || gap.clone().filter(|&unit| !units[unit].filler);
        let cost: usize = text().map(|unit| costs[unit] as usize).sum();
        if self.cost + cost <= budget {
            text().for_each(|unit| self.add(costs, unit));
        }
    }

    /// Adds the lead of a unit, and what leads that one, if it costs less than the unit itself, or little.
    fn add_lead(&mut self, units: &[Unit], costs: &[u32], unit: usize, budget: usize) {
        let most = LEAD_WORDS.max(units[unit].words);
        let lead_of = |&unit: &usize| units[unit].lead.map(|lead| lead as usize);
        for lead in std::iter::successors(lead_of(&unit), lead_of).take(MAX_LEADS) {
            let fits = self.taken[lead] || self.cost + costs[lead] as usize <= budget;
            if units[lead].words <= most && fits {
                self.add(costs, lead);
            }
        }
    }

    fn gap_before(&self, units: &[Unit], unit: usize, most: usize) -> Option<Range<usize>> {
        let mut words = 0;
        for i in (0..unit).rev().take(GAP_UNITS) {
            if self.taken[i] {
                return Some(i + 1..unit);
            }
            words += if units[i].filler {
                0
            } else {
                units[i].words as usize
            };
            if words > most {
                return None;
            }
        }
        None
    }

    fn gap_after(&self, units: &[Unit], unit: usize, most: usize) -> Option<Range<usize>> {
        let mut words = 0;
        for i in (unit + 1..units.len()).take(GAP_UNITS) {
            if self.taken[i] {
                return Some(unit + 1..i);
            }
            words += if units[i].filler {
                0
            } else {
                units[i].words as usize
            };
            if words > most {
                return None;
            }
        }
        None
    }
}
