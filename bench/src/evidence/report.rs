//! Means over items and sets, as a table, as JSON, and as lines to draw.

use std::fmt::{self, Write};

use liquid_worker::engine::{Settings, Tier};
use serde::Serialize;

use super::calibration::Calibration;
use super::data::Half;
use super::metric::Score;
use super::together::Together;
use crate::chart::Series;

/// Share of the evidence from which it counts as kept.
const KEPT: f64 = 0.9;

/// One pack.
pub(super) struct Cell {
    pub(super) half: Half,
    pub(super) score: Score,
    pub(super) document_words: usize,
    /// Share that the engine estimated to keep.
    pub(super) estimated: Option<f64>,
    /// Whether the whole document passed, since no pack within the budget holds enough.
    pub(super) passed: bool,
}

/// Means over the items of a set at one budget. Shares are 0 to 1.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) set: String,
    pub(super) ratio: Option<f64>,
    pub(super) items: usize,
    pub(super) answer_recall: Option<f64>,
    pub(super) evidence_recall: Option<f64>,
    /// The same on each half of the documents.
    pub(super) halves: [Option<f64>; 2],
    /// Share of items that keep at least 90 % of their evidence.
    pub(super) evidence_kept: Option<f64>,
    pub(super) estimated_recall: Option<f64>,
    pub(super) achieved_ratio: f64,
    /// Words kept by words of the document.
    pub(super) kept_share: f64,
    /// Share of items whose documents passed whole.
    pub(super) passed: f64,
}

impl Row {
    pub(super) fn new<'a>(
        set: &str,
        ratio: Option<f64>,
        cells: impl Iterator<Item = &'a Cell> + Clone,
    ) -> Self {
        let words = |cell: &Cell| cell.document_words as f64;
        let evidence = || cells.clone().map(|cell| cell.score.evidence);
        Self {
            set: set.to_owned(),
            ratio,
            items: cells.clone().count(),
            answer_recall: mean(cells.clone().map(|cell| cell.score.answer)),
            evidence_recall: mean(evidence()),
            halves: Half::BOTH.map(|half| {
                let of_half = cells.clone().filter(|cell| cell.half == half);
                mean(of_half.map(|cell| cell.score.evidence))
            }),
            evidence_kept: mean(evidence().map(|e| e.map(|share| f64::from(u8::from(share >= KEPT))))),
            estimated_recall: mean(cells.clone().map(|cell| cell.estimated)),
            achieved_ratio: mean(
                cells
                    .clone()
                    .map(|c| Some(words(c) / c.score.words.max(1) as f64)),
            )
            .unwrap_or(0.0),
            kept_share: mean(
                cells
                    .clone()
                    .map(|c| Some(c.score.words as f64 / words(c).max(1.0))),
            )
            .unwrap_or(0.0),
            passed: mean(cells.clone().map(|c| Some(f64::from(u8::from(c.passed))))).unwrap_or(0.0),
        }
    }
}

pub(super) fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) = values
        .flatten()
        .fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// All that was measured.
#[derive(Serialize)]
pub(super) struct Report {
    tier: Tier,
    encode_tokens: Option<usize>,
    ranker_tokens: Option<usize>,
    pub(super) rows: Vec<Row>,
    pub(super) auto: Option<Auto>,
    pub(super) together: Option<Together>,
    pub(super) calibration: Option<Calibration>,
}

impl Report {
    pub(super) fn new(tier: Tier, settings: &Settings) -> Self {
        Self {
            tier,
            encode_tokens: settings.encode_tokens.filter(|_| tier == Tier::Encoder),
            ranker_tokens: settings.ranker_tokens.filter(|_| tier == Tier::Ranker),
            rows: Vec::new(),
            auto: None,
            together: None,
            calibration: None,
        }
    }

    fn sets(&self) -> Vec<&str> {
        let mut sets: Vec<&str> = self.rows.iter().map(|row| row.set.as_str()).collect();
        sets.dedup();
        sets
    }

    fn at(&self, ratio: f64) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.ratio == Some(ratio))
    }

    /// Evidence recall at a ratio, every set weighing alike.
    fn macro_mean(&self, ratio: f64) -> Option<f64> {
        mean(self.at(ratio).map(|row| row.evidence_recall))
    }

    /// The same on one half of the documents.
    fn half_mean(&self, half: usize, ratio: f64) -> Option<f64> {
        mean(self.at(ratio).map(|row| row.halves[half]))
    }

    pub(super) fn table(&self, ratios: &[f64]) -> String {
        let mut out = format!(
            "tier {}: answer recall / evidence recall / evidence kept >= 90 %, in %; achieved ratio\n\n{:10}",
            self.tier.name(),
            ""
        );
        for ratio in ratios {
            let _ = write!(out, "{:>32}", format!("1/{ratio}"));
        }
        for set in self.sets() {
            let _ = write!(out, "\n{set:10}");
            for row in ratios
                .iter()
                .flat_map(|&ratio| self.at(ratio))
                .filter(|row| row.set == set)
            {
                let cells = [row.answer_recall, row.evidence_recall, row.evidence_kept].map(percent);
                let text = format!(
                    "{} /{} /{}  {:5.1}",
                    cells[0], cells[1], cells[2], row.achieved_ratio
                );
                let _ = write!(out, "{text:>32}");
            }
        }
        let _ = writeln!(out, "\n\nmacro mean of evidence recall");
        let means = |of: &dyn Fn(f64) -> Option<f64>| {
            let means: Vec<Option<f64>> = ratios.iter().map(|&ratio| of(ratio)).collect();
            let cells = ratios.iter().zip(&means);
            let cells: String = cells
                .map(|(ratio, mean)| format!("  1/{ratio}:{}", percent(*mean)))
                .collect();
            format!("{cells}  all:{}", percent(mean(means.into_iter())))
        };
        let _ = writeln!(
            out,
            "{:28}{}",
            "all documents",
            means(&|ratio| self.macro_mean(ratio))
        );
        for (half, name) in ["first half of documents", "second half of documents"]
            .iter()
            .enumerate()
        {
            let _ = writeln!(out, "{name:28}{}", means(&|ratio| self.half_mean(half, ratio)));
        }
        out
    }

    /// Evidence recall by ratio: a line a set, and their mean.
    pub(super) fn series(&self) -> Vec<Series> {
        let point = |row: &Row| Some((row.ratio?, 100.0 * row.evidence_recall?));
        let line = |set: &str| Series {
            name: set.to_owned(),
            points: self
                .rows
                .iter()
                .filter(|row| row.set == set)
                .filter_map(point)
                .collect(),
        };
        let mut series: Vec<Series> = self.sets().into_iter().map(line).collect();
        let mut ratios: Vec<f64> = self.rows.iter().filter_map(|row| row.ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.dedup();
        let mean = ratios
            .iter()
            .filter_map(|&ratio| Some((ratio, 100.0 * self.macro_mean(ratio)?)));
        series.push(Series {
            name: "mean".to_owned(),
            points: mean.collect(),
        });
        series
    }
}

/// Automatic budgets beside the fixed ratio that keeps as many words.
#[derive(Serialize)]
pub(super) struct Auto {
    pub(super) floor: f64,
    pub(super) fixed_ratio: f64,
    pub(super) auto: Vec<Row>,
    pub(super) fixed: Vec<Row>,
}

impl fmt::Display for Auto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fixed_name = format!("fixed 1/{:.2}", self.fixed_ratio);
        writeln!(
            f,
            "\nautomatic budget, floor {}: evidence recall in % (words kept in %; documents that pass count as kept)\n",
            self.floor
        )?;
        writeln!(
            f,
            "{:10}{:>18}{:>12}{:>10}{fixed_name:>18}",
            "", "auto", "estimated", "passed"
        )?;
        for (auto, fixed) in self.auto.iter().zip(&self.fixed) {
            let cell = |row: &Row| {
                format!(
                    "{} ({:4.1})",
                    percent(row.evidence_recall),
                    100.0 * row.kept_share
                )
            };
            let estimated = percent(auto.estimated_recall);
            let passed = percent(Some(auto.passed));
            writeln!(
                f,
                "{:10}{:>18}{estimated:>12}{passed:>10}{:>18}",
                auto.set,
                cell(auto),
                cell(fixed)
            )?;
        }
        let all = |rows: &[Row]| mean(rows.iter().map(|row| row.evidence_recall));
        let share = |rows: &[Row]| 100.0 * mean(rows.iter().map(|row| Some(row.kept_share))).unwrap_or(0.0);
        let (auto, fixed) = (all(&self.auto), all(&self.fixed));
        let cell = |recall, share| format!("{} ({share:4.1})", percent(recall));
        let (left, right) = (cell(auto, share(&self.auto)), cell(fixed, share(&self.fixed)));
        writeln!(f, "{:10}{left:>18}{:>22}{right:>18}", "mean", "")?;
        for half in 0..2 {
            let of = |rows: &[Row]| percent(mean(rows.iter().map(|row| row.halves[half])));
            let name = ["first half", "second half"][half];
            writeln!(f, "{name:11}{:>10}{:>36}", of(&self.auto), of(&self.fixed))?;
        }
        let verdict = if auto > fixed {
            "keeps more"
        } else {
            "does not keep more"
        };
        writeln!(
            f,
            "at the same number of words the automatic budget {verdict} evidence than the fixed ratio"
        )
    }
}

pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "    -".to_owned(), |share| format!("{:5.1}", 100.0 * share))
}
