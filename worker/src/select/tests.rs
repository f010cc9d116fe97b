#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::document::{Document, Text, TextUnits, Texts};
use crate::tier::Tier;

fn text_of(sentences: usize) -> String {
    (0..sentences)
        .map(|i| format!("Sentence number {i} says {}.", "something ".repeat(i % 30)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Takes from a document without whole texts.
fn take(units: &[Unit], costs: &[u32], order: &[u32], budget: usize) -> Selection {
    Candidates {
        units,
        costs,
        whole: &WholeTexts::default(),
        order,
        gap_words: GAP_WORDS,
    }
    .take(budget)
}

fn words(units: &[Unit]) -> Vec<u32> {
    units.iter().map(|unit| unit.words).collect()
}

proptest! {
    #[test]
    fn a_budget_is_never_exceeded(scores in prop::collection::vec(-3.0_f32..3.0, 40), budget in 0_usize..500) {
        let text = text_of(40);
        let document = Document::parse(&text);
        let costs = words(&document.units);
        let order = rank(&scores[..document.units.len().min(40)]);
        let selection = take(&document.units, &costs, &order, budget);
        let kept = costs.iter().zip(&selection.taken).filter(|(_, taken)| **taken);
        let kept: u32 = kept.map(|(cost, _)| cost).sum();
        prop_assert_eq!(kept as usize, selection.cost);
        prop_assert!(selection.cost <= budget);
    }
}

proptest! {
    #[test]
    fn the_first_units_of_each_ask_come_before_the_tenth_of_any(
        scores in prop::collection::vec(prop::collection::vec(-3.0_f32..9.0, 40), 2..6),
    ) {
        let text = text_of(40);
        let document = Document::parse(&text);
        prop_assume!(document.units.len() == 40);
        let asks: Vec<RankedAsk<'_>> = scores.iter().map(|scores| RankedAsk { scores, weight: 1.0 }).collect();
        let shares = EvidenceShares::new(&document, &asks, Tier::Lexical);
        let order = rank_by_asks(&document.units, &asks, &shares);
        let place = |unit: u32| order.iter().position(|&other| other == unit).unwrap();
        let ranks: Vec<Vec<u32>> = asks.iter().map(|ask| rank(ask.scores)).collect();
        let best_rank = |unit: u32| {
            let ranks = ranks.iter().map(|rank| rank.iter().position(|&other| other == unit).unwrap());
            ranks.min().unwrap()
        };
        for tenth in (0..40).filter(|&unit| best_rank(unit) >= 9) {
            for first in ranks.iter().flat_map(|rank| &rank[..9]) {
                prop_assert!(place(*first) < place(tenth));
            }
        }
    }
}

#[test]
fn equal_scores_keep_source_order() {
    assert_eq!(rank(&[1.0, 2.0, 1.0, 2.0]), [1, 3, 0, 2]);
}

#[test]
fn closes_small_gaps_and_brings_the_header() {
    let text = "| Year | Sum |\n|---|---|\n| 2018 | 4 |\n| 2019 | 5 |\n| 2020 | 7 |\n";
    let document = Document::parse(text);
    let costs = words(&document.units);
    let selection = take(&document.units, &costs, &[1, 3, 2, 0], 1000);
    assert!(selection.taken.iter().all(|&taken| taken));
    let best_only = take(&document.units, &costs, &[3], 14);
    assert_eq!(best_only.taken, [true, false, false, true]);
    let no_room = take(&document.units, &costs, &[3], 5);
    assert_eq!(no_room.taken, [false, false, false, true]);
}

#[test]
fn a_heading_stays_out_of_a_budget_of_which_it_is_no_small_part() {
    let text = format!("# The warranty of the pump\n\n{}", text_of(20));
    let document = Document::parse(&text);
    let costs = words(&document.units);
    assert_eq!(document.units[3].lead, Some(0));
    let with_heading = |budget| take(&document.units, &costs, &[3], budget).taken[0];
    let enough = costs[0] as usize * HEADING_PART;
    assert!(with_heading(enough) && !with_heading(enough - 1));
}

#[test]
fn a_passage_brings_the_rest_of_the_sentence_that_its_border_cuts() {
    let parts = [
        "The first passage is about delivery. It has an end.\n",
        "The second one is about the fees. The supplier is liable for all dama",
        "ges that it causes. The third passage then says something else.\n",
        "The fourth passage is about the law. It has an end.\n",
    ];
    let text = parts.concat();
    let texts = parts.map(|part| Text {
        bytes: part.len() as u64,
        whole: true,
    });
    let document = Document::parse_texts(&text, &Texts::new(&text, texts.to_vec()).unwrap());
    let costs = words(&document.units);
    let whole = WholeTexts::find(&document, &costs, 100);
    let taken = |best: &str, budget| {
        let best = document
            .units
            .iter()
            .position(|unit| unit.text(&text).contains(best));
        let selection = Candidates {
            units: &document.units,
            costs: &costs,
            whole: &whole,
            order: &[best.unwrap() as u32],
            gap_words: GAP_WORDS,
        }
        .take(budget);
        let of_text = |text: &TextUnits| selection.taken[text.units.clone()].iter().all(|taken| *taken);
        document.texts.iter().map(of_text).collect::<Vec<bool>>()
    };
    assert_eq!(taken("is liable", 100), [false, true, true, false]);
    assert_eq!(taken("ges that", 100), [false, true, true, false]);
    assert_eq!(taken("is liable", 20), [false, true, false, false]);
    assert_eq!(taken("about the fees", 100), [false, true, false, false]);
    assert_eq!(taken("has an end", 100), [true, false, false, false]);
}

#[test]
fn the_smallest_selection_holds_the_floor_within_its_limits() {
    let text = text_of(60);
    let document = Document::parse(&text);
    let costs = words(&document.units);
    let scores: Vec<f32> = (0..document.units.len())
        .map(|i| if i == 20 { 6.0 } else { 0.0 })
        .collect();
    let shares = EvidenceShares::new(
        &document,
        &[RankedAsk {
            scores: &scores,
            weight: 1.0,
        }],
        Tier::Static,
    );
    let order = rank(&scores);
    let pack = |budget| take(&document.units, &costs, &order, budget);
    let small = take_smallest(10..=600, 0.9, &shares, pack);
    assert!(small.taken[20] && small.cost < 100);
    assert!(shares.recall(&small.taken) >= 0.9);
    let flat = vec![0.0; document.units.len()];
    let unsure = EvidenceShares::new(
        &document,
        &[RankedAsk {
            scores: &flat,
            weight: 1.0,
        }],
        Tier::Static,
    );
    let large = take_smallest(10..=600, 0.99, &unsure, pack);
    assert!(large.cost > 500 && large.cost <= 600);
}
