#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::document::Document;
use crate::model::EmbeddingTable;

const TEXT: &str = "The cat sat on the mat. It was a sunny day in May. Dogs bark at night. \
    The governing law is the law of Delaware. Nothing else happened that year.";

fn scores_of(text: &str, question: &str) -> (Document<'static>, Vec<f32>) {
    let document = Document::parse(Box::leak(text.to_owned().into_boxed_str()));
    let lexical = TermCounts::count(&document, &[Question::parse(question)]);
    let scores = recipe::finish(&document, recipe::sum_lexical(&document, &lexical[0]));
    (document, scores)
}

fn best(scores: &[f32]) -> usize {
    (0..scores.len())
        .max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
        .unwrap()
}

#[test]
fn the_sentence_with_the_questions_words_is_best() {
    let (document, scores) = scores_of(TEXT, "Which law governs?");
    assert!(
        document.units[best(&scores)]
            .text(document.text)
            .contains("Delaware")
    );
}

#[test]
fn scores_are_finite_whatever_the_question() {
    for question in ["", "the of and", "?!", "中文", "zebra", "law"] {
        for text in ["", "One sentence.", TEXT] {
            let (document, scores) = scores_of(text, question);
            assert_eq!(scores.len(), document.units.len());
            assert!(scores.iter().all(|score| score.is_finite()), "{question:?}");
        }
    }
}

#[test]
fn questions_lose_their_instructions_unless_nothing_else_is_left() {
    let question = Question::parse("Please summarize the discussion about batteries");
    assert!(question.term("battery").is_some() && question.term("discussion").is_none());
    assert!(!Question::parse("summarize").is_empty());
}

#[test]
fn words_are_found_in_whatever_form_they_are_written() {
    let filler = "Nothing of note was seen on that day at the old harbour. ";
    for (asked, written) in [
        ("indemnity", "The indem-\nnity is due."),
        ("postmaster", "The post-\r\nmaster is due."),
        ("well known", "A well-\nknown sum is due."),
        ("offline affidavit", "The oﬄine aﬃdavit is due."),
        ("résiliation", "La re\u{301}siliation est due."),
        ("Straße", "DIE STRASSE IST NASS."),
        ("अनुबन्ध", "यह अनुबन्ध है।"),
        ("عقد", "هذا ﻋﻘﺪ جديد."),
        ("ABC123", "ＡＢＣ１２３ is due."),
        ("termination", "On ter\u{ad}mi\u{ad}na\u{ad}tion it is due."),
        ("ter\u{200b}mination", "On termination it is due."),
    ] {
        let text = format!("{}{written} {}", filler.repeat(8), filler.repeat(8));
        let (document, scores) = scores_of(&text, asked);
        let found = document.units[best(&scores)].text(document.text);
        assert!(!found.contains("harbour"), "{asked}: {found}");
    }
}

#[test]
fn data_is_evidence_only_if_it_is_asked_for() {
    assert!(asks_for_data("What is the SHA256 checksum?") && asks_for_data("Auf welcher Seite steht das?"));
    assert!(asks_for_data("Print the base64 of the logo") && !asks_for_data("How hot may the water be?"));
}

#[test]
fn questions_that_are_counted_together_score_as_each_alone() {
    let document = Document::parse(TEXT);
    let questions = [
        "Which law governs?",
        "Do dogs bark at night?",
        "Which law of the night?",
    ];
    let questions = questions.map(Question::parse);
    let score = |lexical: &TermCounts| recipe::finish(&document, recipe::sum_lexical(&document, lexical));
    let together = TermCounts::count(&document, &questions);
    for (question, counts) in questions.into_iter().zip(&together) {
        let alone = TermCounts::count(&document, &[question]);
        assert_eq!(score(counts), score(&alone[0]));
    }
}

#[test]
fn windows_cover_all_units() {
    let document = Document::parse(TEXT);
    for (words, stride) in [(0, 0), (1, 1), (10, 5), (10, 10), (1000, 500)] {
        let windows = windows(&document.units, words, stride);
        let mut covered = vec![false; document.units.len()];
        for window in &windows {
            covered[window.start..window.end].fill(true);
        }
        assert!(
            covered.iter().all(|&covered| covered),
            "{words} words every {stride}"
        );
    }
}

proptest! {
    #[test]
    fn standardised_scores_have_mean_0_and_deviation_1(
        mut scores in prop::collection::vec(-9.0_f32..9.0, 2..60),
    ) {
        prop_assume!(scores.iter().any(|&score| (score - scores[0]).abs() > 0.1));
        standardise(&mut scores);
        let n = scores.len() as f32;
        let mean = scores.iter().sum::<f32>() / n;
        let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f32>() / n;
        prop_assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-3);
    }

    #[test]
    fn smoothing_in_two_passes_is_the_convolution(scores in prop::collection::vec(-3.0_f32..3.0, 5)) {
        let document = Document::parse(TEXT);
        let (temperature, reach) = (0.7, 8.0);
        let fast = smooth(&document.units, &scores, temperature, reach);
        let words: Vec<f64> = document.units.iter().map(|unit| f64::from(unit.words)).collect();
        let middle: Vec<f64> = (0..5).map(|i| words[..i].iter().sum::<f64>() + words[i] / 2.0).collect();
        let max = scores.iter().copied().fold(f32::MIN, f32::max);
        for i in 0..5 {
            let (mut sum, mut mass) = (0.0, 0.0);
            for j in 0..5 {
                let weight = words[j] * (-(middle[i] - middle[j]).abs() / f64::from(reach)).exp();
                sum += weight * f64::from((scores[j] - max) / temperature).exp();
                mass += weight;
            }
            prop_assert!(((sum / mass + 1e-6).ln() - f64::from(fast[i])).abs() < 1e-4);
        }
    }
}

#[test]
fn matches_are_weighted_by_rarity() {
    // Three orthogonal embeddings: a piece matches itself only.
    let table = EmbeddingTable::new(3, vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    let windows: [&[u32]; 4] = [&[0, 1], &[0], &[0], &[2]];
    let question = [0, 1];
    let weights = rarity(&question, &windows);
    assert!(weights[1] > weights[0]);
    let matches = WindowMatches::of_embeddings(&table, &question, weights, &windows);
    assert!((matches.score(0, 1) - 1.0).abs() < 1e-6);
    assert!(matches.score(1, 2) < matches.score(0, 1) && matches.score(3, 4) < matches.score(1, 2));
    assert!((matches.score(0, 4) - 1.0).abs() < 1e-6);
}

#[test]
fn coverage_spreads_over_the_document() {
    let part = |topic: &str| {
        (0..30)
            .map(|i| format!("The {topic} has {topic} of kind {i}. "))
            .collect::<String>()
    };
    let text = ["budget", "garden", "music", "river"].map(part).join("\n\n");
    let document = Document::parse(&text);
    let scores = score_coverage(&document);
    assert_eq!(scores, score_coverage(&document));
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let quarters: std::collections::HashSet<usize> = order
        .iter()
        .take(scores.len() / 5)
        .map(|&unit| 4 * document.units[unit].start / text.len())
        .collect();
    assert_eq!(quarters.len(), 4);
}
