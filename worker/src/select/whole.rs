//! Texts that are kept whole or left out whole.

use std::ops::Range;

use crate::document::{Document, Unit};

/// The texts of a document of which all units or none are taken.
#[derive(Clone, Debug, Default)]
pub struct WholeTexts {
    /// The units of each such text, by the number of the text.
    texts: Vec<Option<Range<usize>>>,
}

impl WholeTexts {
    /// Finds the texts that ask for it and fit the budget; `costs` are those of the units. A longer one is cut.
    pub fn find(document: &Document<'_>, costs: &[u32], budget: usize) -> Self {
        let fits = |units: &Range<usize>| {
            let cost: usize = costs[units.clone()].iter().map(|&cost| cost as usize).sum();
            cost <= budget
        };
        let texts = document.texts.iter();
        Self {
            texts: texts
                .map(|text| Some(text.units.clone()).filter(|units| text.whole && fits(units)))
                .collect(),
        }
    }

    /// Returns the units of the text that a unit belongs to, if it is kept whole.
    pub fn units_of(&self, unit: &Unit) -> Option<Range<usize>> {
        self.texts.get(unit.text as usize)?.clone()
    }

    /// Returns the units of the text that is kept whole and holds the rest of a unit, which is the last of its text or the
    /// first, if a sentence of that text goes on there.
    pub fn rest_of(&self, units: &[Unit], number: usize) -> Option<Range<usize>> {
        let own = units.get(number)?;
        let at_border = |other: &&Unit| other.text != own.text && other.run == own.run;
        let neighbours = [number.checked_add(1), number.checked_sub(1)];
        let mut others = neighbours.into_iter().flatten().filter_map(|at| units.get(at));
        self.units_of(others.find(at_border)?)
    }

    /// Leaves of each such text only the first unit of an order: it brings all others.
    pub fn keep_first(&self, units: &[Unit], order: &mut Vec<u32>) {
        let mut seen = vec![false; self.texts.len()];
        order.retain(|&number| {
            let unit = &units[number as usize];
            self.units_of(unit).is_none()
                || (!unit.filler && !std::mem::replace(&mut seen[unit.text as usize], true))
        });
    }
}
