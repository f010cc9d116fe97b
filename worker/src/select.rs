//! Chooses the units that fit a budget, best first, and turns them into spans.
//!
//! Last step of an extraction. Costs (words or tokens) are counted unit by unit, so a pack never exceeds its
//! budget however the spans are joined. Texts that are kept whole are taken with all their units or not at all.

use std::ops::Range;

use crate::document::{SpanKind, Unit};

mod auto;
mod order;
#[cfg(test)]
mod tests;
mod whole;

pub use auto::{EvidenceShares, take_smallest};
pub use order::{RankedAsk, rank, rank_by_asks, rank_in_proportion};
pub use whole::WholeTexts;

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

/// A heading costs at most one word in so many of a budget: in a very small one it would take the place of evidence.
const HEADING_PART: usize = 24;

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

/// The units to choose from.
#[derive(Clone, Copy)]
pub struct Candidates<'a> {
    /// Units of the document.
    pub units: &'a [Unit],
    /// Cost of each unit, in words or tokens.
    pub costs: &'a [u32],
    /// The texts of which all units or none are taken.
    pub whole: &'a WholeTexts,
    /// Numbers of the units, in the order in which they are worth taking.
    pub order: &'a [u32],
    /// Most words of a gap that is closed.
    pub gap_words: usize,
}

impl Candidates<'_> {
    /// Takes units in order until the budget is full. A unit of a text that is kept whole comes with all of it,
    /// another one with the gaps to its neighbours and with its lead where they fit.
    pub fn take(&self, budget: usize) -> Selection {
        let mut selection = Selection {
            taken: vec![false; self.units.len()],
            cost: 0,
        };
        let mut misses = 0;
        for &unit in self.order {
            let unit = unit as usize;
            if selection.taken[unit] || self.units[unit].filler {
                continue;
            }
            let whole = self.whole.units_of(&self.units[unit]);
            let cost = match &whole {
                Some(text) => self.cost_of(text.clone()),
                None => self.costs[unit] as usize,
            };
            if selection.cost + cost > budget {
                misses += 1;
                if misses > MAX_MISSES || selection.cost >= budget {
                    break;
                }
                continue;
            }
            match whole {
                Some(text) => self.add_whole(&mut selection, text, unit, budget),
                None => self.add_with_surroundings(&mut selection, unit, budget),
            }
        }
        selection
    }

    /// Adds a text that is kept whole because of one of its units. What holds the rest of that unit comes with it where it
    /// fits: whoever cut the texts may have cut a sentence.
    fn add_whole(&self, selection: &mut Selection, text: Range<usize>, unit: usize, budget: usize) {
        text.for_each(|unit| selection.add(self.costs, unit));
        if let Some(rest) = self.whole.rest_of(self.units, unit) {
            let missing = rest.clone().filter(|unit| !selection.taken[*unit]);
            let cost: usize = missing.map(|unit| self.costs[unit] as usize).sum();
            if selection.cost + cost <= budget {
                rest.for_each(|unit| selection.add(self.costs, unit));
            }
        }
    }

    fn cost_of(&self, units: Range<usize>) -> usize {
        self.costs[units].iter().map(|&cost| cost as usize).sum()
    }

    fn add_with_surroundings(&self, selection: &mut Selection, unit: usize, budget: usize) {
        selection.add(self.costs, unit);
        let gaps = [
            selection.find_gap(self.units, unit, (0..unit).rev(), self.gap_words),
            selection.find_gap(self.units, unit, unit + 1..self.units.len(), self.gap_words),
        ];
        for gap in gaps.into_iter().flatten() {
            selection.add_gap(self.units, self.costs, gap, budget);
        }
        selection.add_lead(self.units, self.costs, unit, budget);
    }
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

    /// Adds the lead of a unit, and what leads that one, if it costs less than the unit itself, or little; a heading
    /// only if it is a small part of the budget.
    fn add_lead(&mut self, units: &[Unit], costs: &[u32], unit: usize, budget: usize) {
        let most = LEAD_WORDS.max(units[unit].words);
        let lead_of = |&unit: &usize| units[unit].lead.map(|lead| lead as usize);
        for lead in std::iter::successors(lead_of(&unit), lead_of).take(MAX_LEADS) {
            let cost = costs[lead] as usize;
            let fits = self.taken[lead] || self.cost + cost <= budget;
            let dear = units[lead].kind == SpanKind::Heading && cost * HEADING_PART > budget;
            if units[lead].words <= most && fits && !dear {
                self.add(costs, lead);
            }
        }
    }

    /// Finds what is between a unit and the nearest taken one among `others`, which lead away from it. None if
    /// that one is in another text, or more than `most` words away.
    fn find_gap(
        &self,
        units: &[Unit],
        unit: usize,
        others: impl Iterator<Item = usize>,
        most: usize,
    ) -> Option<Range<usize>> {
        let mut words = 0;
        for other in others.take(GAP_UNITS) {
            if units[other].text != units[unit].text {
                return None;
            }
            if self.taken[other] {
                return Some(other.min(unit) + 1..other.max(unit));
            }
            words += if units[other].filler {
                0
            } else {
                units[other].words as usize
            };
            if words > most {
                return None;
            }
        }
        None
    }
}
