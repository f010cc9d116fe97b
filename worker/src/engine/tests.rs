#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::document::word_count;

/// A single text.
static ONE_TEXT: LazyLock<Texts> = LazyLock::new(Texts::default);

fn request<'a>(document: &'a str, asks: &'a Asks, budget: Budget) -> Request<'a> {
    Request {
        document,
        texts: &ONE_TEXT,
        asks,
        budget,
        tier: TierChoice::among(&[Tier::Lexical], None),
        deadline: None,
        cancelled: &|| false,
    }
}

fn extractor() -> Extractor {
    Extractor::new(None, Settings::default())
}

fn document() -> String {
    let filler = (0..200).map(|i| format!("Paragraph {i} speaks of ordinary things and says little. "));
    let mut text: String = filler.collect();
    text.push_str("The warranty lasts for twenty-four months from delivery. ");
    text.push_str(&text.clone());
    text
}

#[test]
fn finds_the_sentence_within_the_budget() {
    let text = document();
    let extraction = extractor()
        .extract(&request(
            &text,
            &Asks::from_question("How long is the warranty?"),
            Budget::ratio(20.0).unwrap(),
        ))
        .unwrap();
    let kept: String = extraction
        .spans
        .iter()
        .map(|span| &text[span.start..span.end])
        .collect::<Vec<_>>()
        .join("\n");
    assert!(kept.contains("twenty-four months"));
    assert!(word_count(&kept) <= word_count(&text) / 20);
    assert_eq!(extraction.counts.kept_words as usize, word_count(&kept));
    assert_eq!((extraction.tier, extraction.encoded_tokens), (Tier::Lexical, 0));
    assert!(
        extraction
            .estimated_recall
            .is_some_and(|share| (0.0..=1.0).contains(&share))
    );
}

#[test]
fn an_automatic_budget_says_when_even_its_largest_pack_is_below_the_floor() {
    let text = document();
    let misses = |floor, min_ratio| {
        let budget = Budget::Auto(AutoBudget::new(floor, min_ratio, 40.0).unwrap());
        let asks = Asks::from_question("How long is the warranty?");
        let extraction = extractor().extract(&request(&text, &asks, budget)).unwrap();
        let recall = extraction.estimated_recall.unwrap();
        assert_eq!(extraction.below_floor, recall < floor);
        assert!(!extraction.spans.is_empty());
        extraction.below_floor
    };
    assert!(misses(1.0, 30.0));
    assert!(!misses(0.3, 1.25));
    let asks = Asks::from_question("warranty");
    let fixed = request(&text, &asks, Budget::ratio(40.0).unwrap());
    assert!(!extractor().extract(&fixed).unwrap().below_floor);
}

#[test]
fn the_same_request_has_the_same_answer() {
    let text = document();
    let mut spans = (0..2).map(|_| {
        extractor()
            .extract(&request(
                &text,
                &Asks::from_question("warranty"),
                Budget::max_words(90).unwrap(),
            ))
            .unwrap()
            .spans
    });
    assert_eq!(spans.next(), spans.next());
}

#[test]
fn without_a_question_the_document_is_represented() {
    let text = document();
    let extraction = extractor()
        .extract(&request(
            &text,
            &Asks::from_question(" "),
            Budget::ratio(10.0).unwrap(),
        ))
        .unwrap();
    assert!(!extraction.spans.is_empty());
    assert_eq!(extraction.estimated_recall, None);
}

#[test]
fn token_budgets_hold_in_the_estimate() {
    let text = document();
    let extraction = extractor()
        .extract(&request(
            &text,
            &Asks::from_question("warranty"),
            Budget::max_tokens(100).unwrap(),
        ))
        .unwrap();
    assert!((1..=100).contains(&extraction.counts.kept_tokens));
}

#[test]
fn automatic_budgets_stay_within_their_ratios() {
    let text = document();
    let auto = AutoBudget::new(0.95, 4.0, 8.0).unwrap();
    let counts = extractor()
        .extract(&request(
            &text,
            &Asks::from_question("warranty"),
            Budget::Auto(auto),
        ))
        .unwrap()
        .counts;
    assert!(counts.kept_words <= counts.document_words / 4);
}

#[test]
fn a_missing_model_is_named_as_the_reason() {
    let asks = Asks::from_question("text");
    let asked = Request {
        tier: TierChoice::as_asked(Tier::Encoder),
        ..request("Some text.", &asks, Budget::ratio(1.0).unwrap())
    };
    let extraction = extractor().extract(&asked).unwrap();
    assert_eq!(
        (extraction.tier, extraction.tier_reason),
        (Tier::Lexical, TierReason::NoModel)
    );
}

#[test]
fn a_caller_who_left_and_a_deadline_that_passed_end_the_request() {
    let asks = Asks::from_question("q");
    let gone = Request {
        cancelled: &|| true,
        ..request("Text.", &asks, Budget::ratio(2.0).unwrap())
    };
    assert!(matches!(extractor().extract(&gone), Err(ExtractError::Cancelled)));
    let late = Request {
        deadline: Some(Instant::now()),
        ..request("Text.", &asks, Budget::ratio(2.0).unwrap())
    };
    assert!(matches!(
        extractor().extract(&late),
        Err(ExtractError::DeadlineExceeded)
    ));
}

proptest! {
    #[test]
    fn spans_are_ordered_parts_of_any_document(
        text in "(\\PC|[ \n|:.,{}\\[\\]\"#a-z]){0,300}",
        question in "\\PC{0,30}",
        ratio in 1.0_f64..12.0,
    ) {
        let budget = Budget::ratio(ratio).unwrap();
        let extraction = extractor().extract(&request(&text, &Asks::from_question(question), budget)).unwrap();
        let mut end = 0;
        for span in &extraction.spans {
            prop_assert!(span.start >= end && span.end > span.start);
            prop_assert!(text.get(span.start..span.end).is_some());
            end = span.end;
        }
        prop_assert!(extraction.counts.kept_words as f64 <= (word_count(&text) as f64 / ratio).floor());
    }
}
