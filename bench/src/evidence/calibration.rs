//! The automatic budget, checked leave-one-kind-out: what it must be asked for so that every other kind of documents
//! keeps the floor, and what the kind that was left out keeps then, beside the fixed ratio that keeps as much.

use std::fmt;

use liquid_worker::engine::{Asks, AutoBudget, Budget};
use serde::Serialize;

use super::data::{Item, Set};
use super::report::{mean, percent};
use super::{Bench, Outcome};

/// Floors that are tried, besides the one that is asked for.
const FLOORS: [f64; 12] = [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.99];

/// Fixed ratios that are tried.
const RATIOS: [f64; 12] = [20.0, 14.0, 10.0, 7.5, 5.5, 4.0, 3.0, 2.5, 2.0, 1.6, 1.25, 1.0];

/// The means over the items of a kind at one budget. Shares are 0 to 1.
#[derive(Clone, Copy, Serialize)]
struct Point {
    /// The floor asked for, or the ratio.
    budget: f64,
    recall: f64,
    words: f64,
    passed: f64,
}

impl Point {
    fn new(budget: f64, outcomes: &[Outcome]) -> Self {
        let cells = || outcomes.iter().map(|outcome| &outcome.cell);
        let share = |of: &dyn Fn(&super::Cell) -> Option<f64>| mean(cells().map(of)).unwrap_or(0.0);
        Self {
            budget,
            recall: share(&|cell| cell.score.evidence),
            words: share(&|cell| Some(cell.score.words as f64 / cell.document_words.max(1) as f64)),
            passed: share(&|cell| Some(f64::from(u8::from(cell.passed)))),
        }
    }
}

/// What the budgets keep of one kind.
#[derive(Serialize)]
struct Curve {
    name: String,
    /// By floor, rising.
    auto: Vec<Point>,
    /// By ratio, falling.
    fixed: Vec<Point>,
}

impl Curve {
    /// Returns what is kept if `floor` is asked for.
    fn at(&self, floor: f64) -> Option<Point> {
        self.auto.iter().copied().find(|point| point.budget >= floor)
    }

    /// Returns the share of the words that a fixed ratio needs to keep as much; between two ratios on a line.
    fn fixed_words(&self, recall: f64) -> Option<f64> {
        let enough = self.fixed.iter().position(|point| point.recall >= recall)?;
        let above = self.fixed.get(enough)?;
        let Some(below) = enough.checked_sub(1).and_then(|below| self.fixed.get(below)) else {
            return Some(above.words);
        };
        let part = (recall - below.recall) / (above.recall - below.recall);
        Some(below.words + part * (above.words - below.words))
    }
}

/// A kind, or a set, beside the others.
#[derive(Serialize)]
struct Row {
    name: String,
    /// At the floor itself.
    plain: Point,
    /// At the smallest floor at which every other kind keeps the one that is aimed at; none if that is out of reach.
    by_others: Option<Point>,
    /// Words that a fixed ratio needs to keep as much as `plain`.
    fixed_words: Option<f64>,
}

/// The check of all kinds and sets.
#[derive(Serialize)]
pub(super) struct Calibration {
    floor: f64,
    kinds: Vec<Row>,
    sets: Vec<Row>,
    curves: Vec<Curve>,
}

impl Bench {
    /// Measures kinds and sets at all floors and ratios, and compares them.
    pub(super) fn calibrate(&self, kinds: &[Set], sets: &[Set], floor: f64) -> anyhow::Result<Calibration> {
        let mut floors: Vec<f64> = FLOORS.into_iter().chain([floor]).collect();
        floors.sort_by(f64::total_cmp);
        floors.dedup();
        let measure = |sets: &[Set]| -> anyhow::Result<Vec<Curve>> {
            sets.iter().map(|set| self.curve(set, &floors)).collect()
        };
        let (mut curves, of_sets) = (measure(kinds)?, measure(sets)?);
        let row = |curve: &Curve, left_out: Option<usize>| {
            let others = curves.iter().enumerate().filter(|(at, _)| Some(*at) != left_out);
            let others: Vec<&Curve> = others.map(|(_, other)| other).collect();
            let holds = |asked: &&f64| {
                let recall = |other: &&Curve| other.at(**asked).map_or(0.0, |point| point.recall);
                others.iter().all(|other| recall(other) >= floor)
            };
            let asked = floors.iter().find(holds);
            let plain = curve.at(floor)?;
            Some(Row {
                name: curve.name.clone(),
                by_others: asked.and_then(|asked| curve.at(*asked)),
                fixed_words: curve.fixed_words(plain.recall),
                plain,
            })
        };
        let kinds = curves
            .iter()
            .enumerate()
            .filter_map(|(at, curve)| row(curve, Some(at)));
        let (kinds, sets) = (
            kinds.collect(),
            of_sets.iter().filter_map(|curve| row(curve, None)).collect(),
        );
        curves.extend(of_sets);
        Ok(Calibration {
            floor,
            kinds,
            sets,
            curves,
        })
    }

    fn curve(&self, set: &Set, floors: &[f64]) -> anyhow::Result<Curve> {
        let default = AutoBudget::default();
        let (least, most) = (default.min_ratio().get(), default.max_ratio().get());
        let auto = floors
            .iter()
            .map(|&floor| AutoBudget::new(floor, least, most).map(Budget::Auto));
        let fixed = RATIOS.iter().map(|&ratio| Budget::ratio(ratio));
        let budgets = auto.chain(fixed).collect::<Result<Vec<Budget>, _>>()?;
        let alone = |item: &Item| Ok(Asks::from_question(item.question.as_str()));
        let outcomes = self.measure(set, &budgets, &alone)?;
        let (of_auto, of_fixed) = outcomes.split_at(floors.len());
        let points = |asked: &[f64], outcomes: &[Vec<Outcome>]| {
            let pairs = asked.iter().zip(outcomes);
            pairs
                .map(|(&budget, outcomes)| Point::new(budget, outcomes))
                .collect()
        };
        Ok(Curve {
            name: set.name.clone(),
            auto: points(floors, of_auto),
            fixed: points(&RATIOS, of_fixed),
        })
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nautomatic budget at floor {}, and at the floor by which every other kind keeps that: evidence recall in % \
             (words in %; documents that pass count as kept)\n",
            self.floor
        )?;
        writeln!(
            f,
            "{:22}{:>14}{:>10}{:>16}{:>12}{:>16}",
            "", "recall", "passed", "fixed, words", "by others", "recall"
        )?;
        for (rows, title) in [(&self.kinds, "kind left out"), (&self.sets, "set")] {
            writeln!(f, "{title}")?;
            for row in rows {
                let cell =
                    |point: Point| format!("{} ({:4.1})", percent(Some(point.recall)), 100.0 * point.words);
                let asked = row
                    .by_others
                    .map_or("none".to_owned(), |point| point.budget.to_string());
                writeln!(
                    f,
                    "  {:20}{:>14}{:>10}{:>16}{asked:>12}{:>16}",
                    row.name,
                    cell(row.plain),
                    percent(Some(row.plain.passed)),
                    percent(row.fixed_words),
                    row.by_others.map_or_else(String::new, cell),
                )?;
            }
        }
        Ok(())
    }
}
