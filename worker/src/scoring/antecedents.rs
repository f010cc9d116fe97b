//! Sentences that speak of a person by a pronoun say little without the sentence that names the person, which opens the
//! paragraph as a rule. On documents kept out of the ranker's training this costs nothing; where a question asks for
//! that person it finds the name.

use crate::document::{Document, SpanKind};

/// How far below the sentence that speaks of the person the one that opens its paragraph is lifted to, in standard
/// deviations.
const BELOW: f32 = 1.0;

/// Pronouns that stand for a person who was named before.
const PRONOUNS: [&str; 4] = ["he", "she", "his", "her"];

/// Longest clause before a pronoun at the beginning of a sentence, in bytes: "In 1964, she".
const CLAUSE_BYTES: usize = 40;

/// Lifts the sentence that opens a paragraph to a little below the best one of it that speaks of a person by a pronoun.
pub fn lift_antecedents(document: &Document<'_>, scores: &mut [f32]) {
    let mut opening: Option<(u32, usize)> = None;
    for (number, unit) in document.units.iter().enumerate() {
        if unit.kind != SpanKind::Sentence {
            continue;
        }
        match opening {
            Some((block, first)) if block == unit.block => {
                let (Some(&score), Some(of_first)) = (scores.get(number), scores.get(first)) else {
                    return;
                };
                let lifted = score - BELOW;
                let speaks = |number: usize| {
                    let unit = document.units.get(number);
                    unit.is_some_and(|unit| begins_with_pronoun(unit.text(document.text)))
                };
                if lifted > *of_first && speaks(number) && !speaks(first) {
                    scores[first] = lifted;
                }
            }
            _ => opening = Some((unit.block, number)),
        }
    }
}

/// Returns whether a sentence begins with a pronoun for a person, or does so behind a short clause.
fn begins_with_pronoun(sentence: &str) -> bool {
    let begins = |text: &str| {
        let text = text.trim_start_matches(|c: char| !c.is_alphanumeric());
        let word = text.split(|c: char| !c.is_alphanumeric()).next();
        word.is_some_and(|word| PRONOUNS.iter().any(|pronoun| word.eq_ignore_ascii_case(pronoun)))
    };
    let behind_clause = |(clause, rest): (&str, &str)| {
        clause.len() <= CLAUSE_BYTES && !clause.contains(['.', ';']) && begins(rest)
    };
    begins(sentence) || sentence.split_once(", ").is_some_and(behind_clause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pronouns_are_found_where_a_sentence_begins() {
        for sentence in [
            "She was best known for her role in the film.",
            "\"He reappears,\" it says.",
            "In 1964, she began playing Morticia.",
            "HIS films won prizes.",
        ] {
            assert!(begins_with_pronoun(sentence), "{sentence}");
        }
        for sentence in [
            "Hermann was here.",
            "Darlene Cates was an actress, and she was known.",
            "The contract, which her lawyer wrote, ends.",
            "",
            "It is caused by smoking.",
        ] {
            assert!(!begins_with_pronoun(sentence), "{sentence}");
        }
    }

    #[test]
    fn the_sentence_that_names_the_person_comes_close_behind() {
        let document = Document::parse(
            "Anna Berg was an actress. She played the title role in the film. The film won a prize.\n\nHe sang. His songs were \
             sold.\n\nAnother paragraph is here. It ends.",
        );
        let mut scores = vec![-1.0, 3.0, 0.0, -1.0, 3.0, -1.0, 3.0];
        assert_eq!(document.units.len(), scores.len());
        lift_antecedents(&document, &mut scores);
        assert_eq!(scores, [2.0, 3.0, 0.0, -1.0, 3.0, -1.0, 3.0]);
        let mut better = vec![2.5, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        lift_antecedents(&document, &mut better);
        assert_eq!(better[0], 2.5);
    }
}
