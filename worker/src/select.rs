//! Chooses the units that fit a budget, best first, and turns them into spans.
//!
//! Last step of an extraction. Words are counted unit by unit, so a pack never exceeds its budget however the
//! spans are joined.

use crate::document::Unit;

/// Gaps up to this many words between chosen units are closed: what stands between two hits often belongs to
/// them, and a text with fewer holes reads better.
pub const GAP_WORDS: usize = 40;

/// Most units in a gap that is looked across; units without words do not fill gaps for ever.
const GAP_UNITS: usize = 64;

/// Which units are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// One flag a unit.
    pub taken: Vec<bool>,
    /// Words of the units taken.
    pub words: usize,
}

/// Units in the order in which they are worth taking: by score, earlier units first among equals.
pub fn order(scores: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_unstable_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
    order
}

/// Takes units in order until the budget is full. A unit comes with the gap to its neighbours and with its
/// lead where they fit.
pub fn take(units: &[Unit], order: &[u32], budget: usize) -> Selection {
    let mut selection = Selection { taken: vec![false; units.len()], words: 0 };
    let mut misses = 0;
    for &unit in order {
        let unit = unit as usize;
        if selection.taken[unit] {
            continue;
        }
        if selection.words + units[unit].words as usize > budget {
            misses += 1;
            // A pack that is nearly full is full.
            if misses > 64 || selection.words >= budget {
                break;
            }
            continue;
        }
        selection.add(units, unit);
        for gap in [selection.gap_before(units, unit), selection.gap_after(units, unit)].into_iter().flatten() {
            selection.add_all(units, gap, budget);
        }
        selection.add_lead(units, unit, budget);
    }
    selection
}

impl Selection {
    fn add(&mut self, units: &[Unit], unit: usize) {
        if !self.taken[unit] {
            self.taken[unit] = true;
            self.words += units[unit].words as usize;
        }
    }

    fn add_all(&mut self, units: &[Unit], range: std::ops::Range<usize>, budget: usize) {
        let words: usize = units[range.clone()].iter().map(|unit| unit.words as usize).sum();
        if self.words + words <= budget {
            range.for_each(|unit| self.add(units, unit));
        }
    }

    /// Adds the lead of a unit if it costs less than the unit itself says, or little.
    fn add_lead(&mut self, units: &[Unit], unit: usize, budget: usize) {
        let Some(lead) = units[unit].lead.map(|lead| lead as usize) else { return };
        let cost = units[lead].words as usize;
        let pays = cost <= LEAD_WORDS.max(units[unit].words as usize);
        if pays && !self.taken[lead] && self.words + cost <= budget {
            self.add(units, lead);
        }
    }

    fn gap_before(&self, units: &[Unit], unit: usize) -> Option<std::ops::Range<usize>> {
        let mut words = 0;
        for i in (0..unit).rev().take(GAP_UNITS) {
            if self.taken[i] {
                return Some(i + 1..unit);
            }
            words += units[i].words as usize;
            if words > GAP_WORDS {
                return None;
            }
        }
        None
    }

    fn gap_after(&self, units: &[Unit], unit: usize) -> Option<std::ops::Range<usize>> {
        let mut words = 0;
        for i in (unit + 1..units.len()).take(GAP_UNITS) {
            if self.taken[i] {
                return Some(unit + 1..i);
            }
            words += units[i].words as usize;
            if words > GAP_WORDS {
                return None;
            }
        }
        None
    }
}

/// A lead up to this many words is cheap enough for any unit.
const LEAD_WORDS: usize = 12;
