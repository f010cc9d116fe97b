//! The metric of the DEV sets: how much of the labelled evidence stands verbatim in a pack.
//!
//! Defined by the scorer that comes with the sets; `tests` holds golden numbers that it produced.

use std::collections::{HashMap, HashSet};

use unicode_normalization::UnicodeNormalization;

#[cfg(test)]
mod tests;

/// A run of this many words must stand in the pack for its words to count as kept.
const RUN: usize = 6;

/// The score of one pack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Score {
    /// Whether the pack contains any accepted answer; `None` without answers.
    pub(crate) answer: Option<f64>,
    /// Share of the evidence's characters kept; `None` without evidence.
    pub(crate) evidence: Option<f64>,
    /// Words of the pack.
    pub(crate) words: usize,
}

/// Words as the metric sees them: lower case, no punctuation, no articles, digit groups joined
/// ("$1,496.5" is "1496.5").
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let lower: Vec<char> = text.nfkc().collect::<String>().to_lowercase().chars().collect();
    let digit = |at: Option<usize>| at.and_then(|at| lower.get(at)).is_some_and(char::is_ascii_digit);
    let ungrouped: Vec<char> = (0..lower.len())
        .filter(|&i| !(lower[i] == ',' && digit(i.checked_sub(1)) && digit(Some(i + 1))))
        .map(|i| lower[i])
        .collect();
    let digit = |at: Option<usize>| {
        at.and_then(|at| ungrouped.get(at))
            .is_some_and(char::is_ascii_digit)
    };
    let plain: String = ungrouped
        .iter()
        .enumerate()
        .map(|(i, &c)| match c {
            '.' if digit(i.checked_sub(1)) && digit(Some(i + 1)) => '.',
            c if c.is_alphanumeric() => c,
            _ => ' ',
        })
        .collect();
    plain
        .split(|c: char| c.is_whitespace())
        .filter(|word| !word.is_empty() && !matches!(*word, "a" | "an" | "the"))
        .map(str::to_owned)
        .collect()
}

/// Scores a pack against answers and evidence texts.
pub(crate) fn score(answers: &[String], evidence: &[String], pack: &str) -> Score {
    let pack_tokens = tokens(pack);
    let answer = (!answers.is_empty()).then(|| {
        let joined = format!(" {} ", pack_tokens.join(" "));
        let found = answers
            .iter()
            .map(|answer| tokens(answer))
            .any(|answer| !answer.is_empty() && joined.contains(&format!(" {} ", answer.join(" "))));
        f64::from(u8::from(found))
    });
    let mut runs: HashMap<usize, HashSet<&[String]>> = HashMap::new();
    let (mut kept, mut total) = (0, 0);
    for text in evidence {
        let words = tokens(text);
        let length = RUN.min(words.len());
        if length == 0 {
            continue;
        }
        let runs = runs
            .entry(length)
            .or_insert_with(|| pack_tokens.windows(length).collect());
        let mut hit = vec![false; words.len()];
        for (at, run) in words.windows(length).enumerate() {
            if runs.contains(run) {
                hit[at..at + length].fill(true);
            }
        }
        let letters = |word: &String| word.chars().count();
        kept += words
            .iter()
            .zip(&hit)
            .filter(|(_, hit)| **hit)
            .map(|(word, _)| letters(word))
            .sum::<usize>();
        total += words.iter().map(letters).sum::<usize>();
    }
    let evidence = (total > 0).then(|| kept as f64 / total as f64);
    Score {
        answer,
        evidence,
        words: pack.split_whitespace().count(),
    }
}
