//! Several questions in one request: what each keeps of its evidence when they share a budget.

use std::fmt::Write;

use liquid_worker::engine::{Ask, Asks};
use serde::Serialize;

use super::data::{Item, Set};
use super::report::{Row, mean, percent};

/// What was measured of requests with several questions.
#[derive(Serialize)]
pub(super) struct Together {
    /// Questions of a request.
    pub(super) asks: usize,
    /// Means over the items of each set at each ratio.
    pub(super) rows: Vec<Row>,
}

/// Returns `count` questions to ask about an item's document: its own, then others about the same document, then
/// those of the items behind it.
pub(super) fn asks(set: &Set, item: &Item, count: usize) -> anyhow::Result<Asks> {
    let (before, behind) = set.items.split_at(item.index);
    let others = || behind.iter().skip(1).chain(before);
    let same = others().filter(|other| other.document == item.document);
    let mut questions = vec![item.question.as_str()];
    for other in same.chain(others()) {
        if questions.len() < count && !questions.contains(&other.question.as_str()) {
            questions.push(&other.question);
        }
    }
    let asks = questions.into_iter().map(|question| Ask::new(question, 1.0));
    Ok(Asks::new(asks.collect::<Result<_, _>>()?))
}

impl Together {
    /// Returns the recall of each set at each ratio beside that of `alone`, which has the same sets and ratios.
    pub(super) fn table(&self, alone: &[Row]) -> String {
        let mut out = format!(
            "\n{} questions in a request: evidence recall in %, alone and together\n\n",
            self.asks
        );
        let ratio = |row: &Row| row.ratio.unwrap_or(f64::NAN);
        for (row, alone) in self.rows.iter().zip(alone) {
            let (alone, together) = (percent(alone.evidence_recall), percent(row.evidence_recall));
            let _ = writeln!(out, "{:10} 1/{:<6}{alone:>8}{together:>8}", row.set, ratio(row));
        }
        let mut ratios: Vec<f64> = self.rows.iter().map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.dedup();
        for at in ratios {
            let of = |rows: &[Row]| {
                let rows = rows.iter().filter(|row| ratio(row) == at);
                percent(mean(rows.map(|row| row.evidence_recall)))
            };
            let _ = writeln!(out, "mean       1/{at:<6}{:>8}{:>8}", of(alone), of(&self.rows));
        }
        out
    }
}
