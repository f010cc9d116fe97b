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
