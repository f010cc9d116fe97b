#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::document::Document;
use crate::tier::Tier;

fn text_of(sentences: usize) -> String {
    (0..sentences)
        .map(|i| format!("Sentence number {i} says {}.", "something ".repeat(i % 30)))
        .collect::<Vec<_>>()
        .join(" ")
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
        let selection = take(&document.units, &costs, &order, budget, GAP_WORDS);
        let kept = costs.iter().zip(&selection.taken).filter(|(_, taken)| **taken);
        let kept: u32 = kept.map(|(cost, _)| cost).sum();
        prop_assert_eq!(kept as usize, selection.cost);
        prop_assert!(selection.cost <= budget);
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
    let selection = take(&document.units, &costs, &[1, 3, 2, 0], 1000, GAP_WORDS);
    assert!(selection.taken.iter().all(|&taken| taken));
    let best_only = take(&document.units, &costs, &[3], 14, GAP_WORDS);
    assert_eq!(best_only.taken, [true, false, false, true]);
    let no_room = take(&document.units, &costs, &[3], 5, GAP_WORDS);
    assert_eq!(no_room.taken, [false, false, false, true]);
}

#[test]
fn the_smallest_selection_holds_the_floor_within_its_limits() {
    let text = text_of(60);
    let document = Document::parse(&text);
    let costs = words(&document.units);
    let scores: Vec<f32> = (0..document.units.len())
        .map(|i| if i == 20 { 6.0 } else { 0.0 })
        .collect();
    let shares = EvidenceShares::new(&document, &scores, Tier::Static);
    let order = rank(&scores);
    let pack = |budget| take(&document.units, &costs, &order, budget, GAP_WORDS);
    let small = take_smallest(10..=600, 0.9, &shares, pack);
    assert!(small.taken[20] && small.cost < 100);
    assert!(shares.recall(&small.taken) >= 0.9);
    let flat = vec![0.0; document.units.len()];
    let unsure = EvidenceShares::new(&document, &flat, Tier::Static);
    let large = take_smallest(10..=600, 0.99, &unsure, pack);
    assert!(large.cost > 500 && large.cost <= 600);
}
