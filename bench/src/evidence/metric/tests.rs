//! The metric agrees with the scorer that comes with the sets: `golden.json` holds that scorer's figures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Golden {
    answers: Vec<String>,
    evidence: Vec<String>,
    pack: String,
    answer: Option<f64>,
    kept: Option<f64>,
    words: usize,
}

#[test]
fn agrees_with_the_scorer_of_the_sets() {
    let golden: Vec<Golden> = serde_json::from_str(include_str!("golden.json")).unwrap();
    assert!(!golden.is_empty());
    for case in golden {
        let score = score(&case.answers, &case.evidence, &case.pack);
        assert_eq!(
            score,
            Score {
                answer: case.answer,
                evidence: case.kept,
                words: case.words
            },
            "{}",
            case.pack
        );
    }
}
