//! Prices: the cached prefix, the history that it depends on, what a pack must save, and what a token is.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::policy::{
    Budget, CachedPrefix, HeldSize, History, Settings, TextSize, accept, expected_ratio, further_tokens,
    tokens,
};

#[test]
fn history_counts_different_questions_and_forgets() {
    let prefix = CachedPrefix {
        documents: 2,
        ttl_s: 60,
        ..CachedPrefix::default()
    };
    let history = History::new(&prefix);
    let now = Instant::now();
    let counts = [1, 2, 2, 3].map(|question| history.note(&[1; 32], &[question; 32], now));
    assert_eq!(counts, [1, 2, 2, 3]);
    assert_eq!(history.note(&[2; 32], &[1; 32], now), 1);
    assert_eq!(history.note(&[1; 32], &[9; 32], now + Duration::from_secs(61)), 1);
    history.note(&[2; 32], &[1; 32], now);
    history.note(&[3; 32], &[1; 32], now);
    assert_eq!(history.note(&[2; 32], &[2; 32], now), 2);
    assert_eq!(
        history.note(&[1; 32], &[8; 32], now),
        1,
        "the least recently asked document is forgotten"
    );
}

#[test]
fn packs_and_further_excerpts_share_a_limit_that_each_later_question_widens() {
    let budget = Budget {
        ratio: 5.0,
        further_ratio: 20.0,
        ..Budget::default()
    };
    let allowed = |held, later| {
        let documents = 10_000;
        further_tokens(HeldSize { documents, held }, later, &budget).round()
    };
    assert_eq!(allowed(2_000, 1), 1_400.0);
    assert_eq!(allowed(2_600, 1), 800.0, "a wide pack leaves less");
    assert_eq!(allowed(3_400, 2), 1_000.0);
    assert_eq!(
        allowed(2_000, 2),
        2_400.0,
        "what one question left is the next one's"
    );
    assert_eq!(
        allowed(9_000, 1),
        500.0,
        "one word in further_ratio is always allowed"
    );
}

#[test]
fn expects_the_ratio_that_the_budget_says() {
    let budget = Budget {
        ratio: 7.0,
        ..Budget::default()
    };
    assert_eq!(expected_ratio(&budget, 10_000), 7.0);
    assert_eq!(
        expected_ratio(
            &Budget {
                max_tokens: Some(500),
                ..budget.clone()
            },
            10_000
        ),
        20.0
    );
    assert_eq!(
        expected_ratio(
            &Budget {
                auto: true,
                min_ratio: 2.0,
                max_ratio: 8.0,
                ..budget
            },
            10_000
        ),
        4.0
    );
}

proptest! {
    #[test]
    fn what_is_accepted_is_smaller(tokens in any::<(u32, u32)>(), bytes in any::<(u32, u32)>()) {
        let size = |tokens: u32, bytes: u32| TextSize { tokens: tokens.into(), bytes: bytes as usize };
        let accepted = accept(size(tokens.0, bytes.0), size(tokens.1, bytes.1), &Settings::default());
        prop_assert!(!accepted || (tokens.1 < tokens.0 && bytes.1 < bytes.0));
        prop_assert!(!accepted || tokens.0 - tokens.1 >= 500);
    }

    #[test]
    fn a_token_estimate_is_bounded_by_the_text(text in ".{0,200}") {
        let tokens = tokens::estimate(&text);
        prop_assert!(tokens <= 2 * text.chars().count() as u64 + 1);
        prop_assert_eq!(tokens == 0, text.is_empty());
    }
}

/// Counts of `o200k_base` for short texts of several kinds.
#[test]
fn estimates_tokens_about_as_o200k_counts_them() {
    for (text, o200k) in GOLDEN {
        let error = tokens::estimate(text) as f64 / f64::from(*o200k) - 1.0;
        assert!(error.abs() <= 0.26, "{:+.0} %: {text}", 100.0 * error);
    }
}

#[test]
fn samples_long_texts() {
    let text = super::report(40_000);
    let whole: u64 = text
        .as_bytes()
        .chunks(200_000)
        .map(|piece| tokens::estimate(str::from_utf8(piece).unwrap()))
        .sum();
    let error = tokens::estimate(&text) as f64 / whole as f64 - 1.0;
    assert!(error.abs() < 0.05, "{error}");
}

include!("golden_tokens.rs");
