//! The order in which units are worth taking: for one thing that is asked, for several, and for none.

use super::{EvidenceShares, WholeTexts};
use crate::document::{Document, Unit};

/// Returns the units in the order in which they are worth taking: by score, earlier units first among equals.
pub fn rank(scores: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_unstable_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
    order
}

/// The scores of the units for one of the things that are asked.
#[derive(Clone, Copy)]
pub struct RankedAsk<'a> {
    /// Score of each unit.
    pub scores: &'a [f32],
    /// How much the ask counts beside the others.
    pub weight: f32,
}

/// Ranks units for several asks, in stages: those that are among the first nine units of any ask, then those among
/// its first 99, and so on, so that each ask gets its best units before any gets its tenth. Within a stage the units
/// come first that hold most of what all asks look for, by their words; `shares` are those of the units. An ask of a
/// tenth of the weight comes a stage later.
pub fn rank_by_asks(units: &[Unit], asks: &[RankedAsk<'_>], shares: &EvidenceShares) -> Vec<u32> {
    if let [ask] = asks {
        return rank(ask.scores);
    }
    let mut stages = vec![i32::MAX; units.len()];
    for ask in asks {
        for (place, &unit) in rank(ask.scores).iter().enumerate() {
            let turn = (1.0 + place as f64) / f64::from(ask.weight);
            let stage = &mut stages[unit as usize];
            *stage = turn.log10().floor().min((*stage).into()) as i32;
        }
    }
    let density: Vec<f64> = shares
        .as_slice()
        .iter()
        .zip(units)
        .map(|(share, unit)| share / f64::from(unit.words.max(1)))
        .collect();
    let mut order: Vec<u32> = (0..units.len() as u32).collect();
    order.sort_unstable_by(|&a, &b| {
        let (i, j) = (a as usize, b as usize);
        let by_density = density[j].total_cmp(&density[i]);
        stages[i].cmp(&stages[j]).then(by_density).then(a.cmp(&b))
    });
    order
}

/// Ranks units so that each beginning of the order holds about the same share of the words of every text. A single
/// text is in the order of its scores; those that are kept whole are together ranked like one text.
pub fn rank_in_proportion(document: &Document<'_>, whole: &WholeTexts, scores: &[f32]) -> Vec<u32> {
    let mut order = rank(scores);
    if document.texts.len() < 2 {
        return order;
    }
    let pools = document.texts.len();
    let pool_of = |unit: usize| match whole.units_of(&document.units[unit]) {
        Some(_) => pools,
        None => document.units[unit].text as usize,
    };
    let mut words = vec![0.0_f64; pools + 1];
    for (unit, content) in document.units.iter().enumerate() {
        words[pool_of(unit)] += f64::from(content.words);
    }
    let mut before = vec![0.0_f64; pools + 1];
    let mut share = vec![f64::INFINITY; scores.len()];
    let mut seen = vec![false; scores.len()];
    for &unit in &order {
        let unit = unit as usize;
        if seen[unit] {
            continue;
        }
        let together = whole.units_of(&document.units[unit]).unwrap_or(unit..unit + 1);
        let own: f64 = document.units[together.clone()]
            .iter()
            .map(|unit| f64::from(unit.words))
            .sum();
        let pool = pool_of(unit);
        share[unit] = (before[pool] + own / 2.0) / words[pool].max(1.0);
        before[pool] += own;
        seen[together].fill(true);
    }
    order.sort_by(|&a, &b| share[a as usize].total_cmp(&share[b as usize]));
    order
}
