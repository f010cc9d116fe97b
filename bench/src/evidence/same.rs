//! Whether two devices, or two builds, choose the same spans: the ones just chosen against packs that were written with
//! `--packs`.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Outcome;
use super::data::{self, Set};

#[derive(Deserialize)]
struct Line {
    id: String,
    ratio: f64,
    spans: Vec<[usize; 2]>,
}

/// Spans by item and ratio (its bits).
type Spans = HashMap<(String, u64), Vec<[usize; 2]>>;

/// A running comparison.
pub(super) struct Same {
    other: Spans,
    rows: Vec<Row>,
}

/// A set at a ratio.
struct Row {
    set: String,
    ratio: f64,
    packs: usize,
    same: usize,
    /// Sum over the packs of the bytes in both by the bytes in either.
    overlap: f64,
}

impl Same {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let lines = data::lines::<Line>(path)?;
        let other = lines
            .into_iter()
            .map(|line| ((line.id, line.ratio.to_bits()), line.spans))
            .collect();
        Ok(Self {
            other,
            rows: Vec::new(),
        })
    }

    pub(super) fn compare(&mut self, set: &Set, ratio: f64, outcomes: &[Outcome]) -> Result<()> {
        let mut row = Row {
            set: set.name.clone(),
            ratio,
            packs: 0,
            same: 0,
            overlap: 0.0,
        };
        for (item, outcome) in set.items.iter().zip(outcomes) {
            let other = self
                .other
                .get(&(item.id.clone(), ratio.to_bits()))
                .with_context(|| format!("the other packs have no {} at ratio {ratio}", item.id))?;
            row.packs += 1;
            row.same += usize::from(*other == outcome.spans);
            row.overlap += overlap(other, &outcome.spans);
        }
        self.rows.push(row);
        Ok(())
    }
}

/// Bytes in both by bytes in either; spans are in order and disjoint.
fn overlap(a: &[[usize; 2]], b: &[[usize; 2]]) -> f64 {
    let length = |spans: &[[usize; 2]]| spans.iter().map(|[start, end]| end - start).sum::<usize>();
    let (mut i, mut j, mut both) = (0, 0, 0);
    while let (Some([a_start, a_end]), Some([b_start, b_end])) = (a.get(i), b.get(j)) {
        both += a_end.min(b_end).saturating_sub(*a_start.max(b_start));
        if a_end < b_end { i += 1 } else { j += 1 }
    }
    let either = length(a) + length(b) - both;
    if either == 0 {
        1.0
    } else {
        both as f64 / either as f64
    }
}

impl fmt::Display for Same {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nset          ratio  packs  same spans  bytes in both")?;
        for row in &self.rows {
            let packs = row.packs.max(1) as f64;
            let (same, overlap) = (100.0 * row.same as f64 / packs, 100.0 * row.overlap / packs);
            writeln!(
                f,
                "{:12} {:>5} {:>6} {same:>10.2}% {overlap:>13.3}%",
                row.set, row.ratio, row.packs
            )?;
        }
        let packs: usize = self.rows.iter().map(|row| row.packs).sum();
        let same: usize = self.rows.iter().map(|row| row.same).sum();
        writeln!(
            f,
            "all: {same} of {packs}, {:.2}%",
            100.0 * same as f64 / packs.max(1) as f64
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_counts_bytes() {
        assert!((overlap(&[[0, 10], [20, 30]], &[[0, 10], [20, 30]]) - 1.0).abs() < 1e-12);
        assert!((overlap(&[[0, 10]], &[[5, 15]]) - 5.0 / 15.0).abs() < 1e-12);
        assert!((overlap(&[[0, 10], [12, 14]], &[[8, 13]]) - 3.0 / 14.0).abs() < 1e-12);
        assert!(overlap(&[[0, 10]], &[]) < 1e-12 && overlap(&[], &[]) > 0.5);
    }
}
