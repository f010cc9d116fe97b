//! Several texts, several asks, one budget: what every answer keeps to, whatever is sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::ops::Range;

use liquid_worker::document::{is_white_space, word_count};
use liquid_worker::engine::{
    Ask, Asks, AutoBudget, Budget, Extraction, Extractor, Request, Settings, Text, Texts, Tier, TierChoice,
};
use proptest::prelude::*;

/// Texts to join, each with whether it is kept whole.
type Parts = Vec<(String, bool)>;

fn join(parts: &Parts) -> (String, Texts) {
    let document: String = parts.iter().map(|(text, _)| text.as_str()).collect();
    let text = |(text, whole): &(String, bool)| Text {
        bytes: text.len() as u64,
        whole: *whole,
    };
    let texts = Texts::new(&document, parts.iter().map(text).collect()).unwrap();
    (document, texts)
}

fn ranges(parts: &Parts) -> Vec<Range<usize>> {
    let mut end = 0;
    let place = |(text, _): &(String, bool)| {
        end += text.len();
        end - text.len()..end
    };
    parts.iter().map(place).collect()
}

fn asks(asks: &[(&str, f32)]) -> Asks {
    Asks::new(
        asks.iter()
            .map(|(text, weight)| Ask::new(*text, *weight).unwrap())
            .collect(),
    )
}

fn extract(parts: &Parts, asks: &Asks, budget: Budget) -> (String, Extraction) {
    let (document, texts) = join(parts);
    let request = Request {
        document: &document,
        texts: &texts,
        asks,
        budget,
        tier: TierChoice::as_asked(Tier::Lexical),
        deadline: None,
        cancelled: &|| false,
    };
    let extraction = Extractor::new(None, Settings::default())
        .extract(&request)
        .unwrap();
    (document, extraction)
}

fn kept(document: &str, extraction: &Extraction) -> String {
    let kept: Vec<&str> = extraction
        .spans
        .iter()
        .map(|span| &document[span.start..span.end])
        .collect();
    kept.join("\n")
}

/// Paragraphs that answer nothing.
fn filler(paragraphs: usize) -> String {
    (0..paragraphs)
        .map(|i| {
            format!(
                "Paragraph {i} speaks of ordinary things, says little and goes on for a while about it.\n\n"
            )
        })
        .collect()
}

fn any_parts() -> impl Strategy<Value = Parts> {
    let text = "(\\PC|[ \n|:.,{}\\[\\]\"#a-z]|the law|Ann: |[0-9]+\\. |\n\n){1,60}";
    prop::collection::vec((text, any::<bool>()), 1..8)
}

fn any_asks() -> impl Strategy<Value = Vec<(String, f32)>> {
    prop::collection::vec(("[a-z#]\\PC{0,12}( the law| page| Ann)?", 0.01_f32..1.0), 0..5)
}

fn make(asks: &[(String, f32)]) -> Asks {
    let make = |(text, weight): &(String, f32)| Ask::new(text.as_str(), *weight).unwrap();
    Asks::new(asks.iter().map(make).collect())
}

proptest! {
    #[test]
    fn no_span_crosses_the_end_of_a_text_and_budgets_hold(
        parts in any_parts(),
        asked in any_asks(),
        words in 1_u64..120,
    ) {
        let (_, extraction) = extract(&parts, &make(&asked), Budget::max_words(words).unwrap());
        let ranges = ranges(&parts);
        let mut end = 0;
        for span in &extraction.spans {
            prop_assert!(span.start >= end && span.end > span.start);
            end = span.end;
            let holds = |range: &Range<usize>| range.start <= span.start && span.end <= range.end;
            prop_assert!(ranges.iter().any(holds), "{span:?} {ranges:?}");
        }
        prop_assert!(extraction.counts.kept_words <= words);
    }

    #[test]
    fn a_whole_text_that_fits_is_kept_whole_or_left_out(
        parts in any_parts(),
        asked in any_asks(),
        words in 1_u64..120,
    ) {
        let (document, extraction) = extract(&parts, &make(&asked), Budget::max_words(words).unwrap());
        for ((text, whole), range) in parts.iter().zip(ranges(&parts)) {
            // A word has a character at least.
            if !whole || text.chars().count() as u64 > words {
                continue;
            }
            let inside: Vec<_> = extraction
                .spans
                .iter()
                .filter(|span| range.contains(&span.start))
                .map(|span| &document[span.start..span.end])
                .collect();
            let all = text.trim_matches(is_white_space);
            prop_assert!(inside.is_empty() || inside == [all], "{inside:?} {all:?}");
        }
    }

    #[test]
    fn the_order_of_asks_changes_nothing(
        parts in any_parts(),
        asked in any_asks(),
        words in 1_u64..120,
    ) {
        let budget = Budget::max_words(words).unwrap();
        let (_, mut first) = extract(&parts, &make(&asked), budget);
        let turned: Vec<(String, f32)> = asked.into_iter().rev().collect();
        let (_, second) = extract(&parts, &make(&turned), budget);
        first.timing = second.timing;
        prop_assert_eq!(first, second);
    }

    #[test]
    fn automatic_budgets_reach_their_floor_or_their_limit(
        asked in prop::collection::vec(("(law|tide|harbour|warranty) [a-z]{0,6}", 0.1_f32..1.0), 1..5),
        floor in 0.1_f64..1.0,
    ) {
        let mut parts = vec![(filler(40), false), (filler(20), false)];
        parts[1].0.push_str("The law is that of Delaware. The warranty ends when the tide reaches the harbour.");
        let auto = AutoBudget::new(floor, 1.5, 40.0).unwrap();
        let (document, extraction) = extract(&parts, &make(&asked), Budget::Auto(auto));
        let recall = extraction.estimated_recall.unwrap();
        let most = word_count(&document) as f64 / 1.5;
        prop_assert!(recall >= floor - 1e-9 || extraction.counts.kept_words as f64 > 0.9 * most);
    }
}

#[test]
fn each_ask_gets_its_best_passage() {
    let mut text = filler(60);
    for fact in [
        "The warranty on the warranty covers every warranty claim for twenty-four months.\n\n",
        "A second warranty note says that the warranty is void when the seal of the warranty is broken.\n\n",
        "The harbour master counts boats at dawn.\n\n",
    ] {
        text.push_str(fact);
        text.push_str(&filler(20));
    }
    let parts = vec![(text, false)];
    let both = asks(&[("How long is the warranty?", 1.0), ("Who counts boats?", 1.0)]);
    let (document, extraction) = extract(&parts, &both, Budget::max_words(24).unwrap());
    let kept = kept(&document, &extraction);
    assert!(
        kept.contains("twenty-four months") && kept.contains("harbour master"),
        "{kept}"
    );
}

#[test]
fn the_heavier_ask_comes_first() {
    let parts = vec![(
        format!(
            "{}The warranty lasts for twenty-four months.\n\n{}The harbour master counts boats at dawn.\n\n{}",
            filler(20),
            filler(20),
            filler(20)
        ),
        false,
    )];
    for (warranty, expected) in [(1.0, "twenty-four"), (0.2, "harbour")] {
        let weighted = asks(&[
            ("How long is the warranty?", warranty),
            ("Who counts boats?", 0.5),
        ]);
        let (document, extraction) = extract(&parts, &weighted, Budget::max_words(8).unwrap());
        let kept = kept(&document, &extraction);
        assert!(kept.contains(expected), "{warranty}: {kept}");
    }
}

#[test]
fn a_whole_text_longer_than_the_budget_is_cut() {
    let parts = vec![(format!("{}The law is that of Delaware.", filler(30)), true)];
    let law = Asks::from_question("Which law?");
    let (document, extraction) = extract(&parts, &law, Budget::max_words(30).unwrap());
    assert!(kept(&document, &extraction).contains("Delaware"));
    assert!((1..=30).contains(&extraction.counts.kept_words));
}

#[test]
fn without_asks_every_text_keeps_its_share() {
    let long = (filler(80), false);
    let short = (filler(20), false);
    let parts = vec![long.clone(), short.clone(), short, long];
    let (_, extraction) = extract(&parts, &Asks::default(), Budget::ratio(5.0).unwrap());
    for range in ranges(&parts) {
        let inside = |start: usize| range.contains(&start);
        let kept: usize = extraction
            .spans
            .iter()
            .filter(|span| inside(span.start))
            .map(|span| span.end - span.start)
            .sum();
        let share = kept as f64 / range.len() as f64;
        assert!((0.1..0.3).contains(&share), "{share} of {range:?}");
    }
}
