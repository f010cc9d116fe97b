//! The words of a text as the lexical signals compare them: in lower case, cut to stems, without those that
//! say nothing.

use crate::document::{is_white_space, stands_alone};

/// Words that say nothing about the subject.
const STOP: &[&str] = &[
    "a", "about", "above", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at",
    "be", "because", "been", "before", "being", "below", "between", "both", "but", "by", "can", "could",
    "did", "do", "does", "doing", "during", "each", "for", "from", "had", "has", "have", "having", "he",
    "her", "here", "hers", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just", "may",
    "me", "might", "more", "most", "must", "my", "no", "nor", "not", "of", "on", "one", "only", "or",
    "other", "our", "out", "over", "own", "same", "shall", "she", "should", "so", "some", "such", "than",
    "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "through", "to",
    "too", "under", "until", "up", "upon", "us", "was", "we", "were", "what", "when", "where", "whether",
    "which", "while", "who", "whom", "whose", "why", "will", "with", "would", "you", "your",
];

/// Letters of a stem.
const STEM: usize = 5;

/// Returns true for a lower-case word that says nothing about any subject.
pub(super) fn is_stop_word(word: &str) -> bool {
    STOP.binary_search(&word).is_ok()
}

/// Cuts a word to its first five letters; words with a digit stay whole.
pub(super) fn stem(word: &str) -> &str {
    if word.bytes().any(|b| b.is_ascii_digit()) {
        return word;
    }
    word.char_indices()
        .nth(STEM)
        .map_or(word, |(end, _)| &word[..end])
}

/// The words of a text in lower case: runs of letters and digits; in scripts without spaces, pairs of
/// neighbouring characters.
pub(super) struct Terms<'a> {
    text: &'a str,
}

impl<'a> Terms<'a> {
    /// Reads a text.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text }
    }

    /// Calls `take` with each word's byte position and lower-case text.
    pub(super) fn for_each(self, mut take: impl FnMut(usize, &str)) {
        let mut word = String::new();
        let mut start = 0;
        let mut alone: Option<char> = None;
        for (at, c) in self.text.char_indices() {
            if c.is_ascii_alphanumeric() {
                if word.is_empty() {
                    start = at;
                }
                word.push(c.to_ascii_lowercase());
                alone = None;
                continue;
            }
            if !c.is_ascii() && !stands_alone(c) && !is_white_space(c) && c.is_alphanumeric() {
                if word.is_empty() {
                    start = at;
                }
                word.extend(c.to_lowercase());
                alone = None;
                continue;
            }
            // "1,496" and "1.5" are one number.
            let grouped = (c == ',' || c == '.')
                && word.ends_with(|d: char| d.is_ascii_digit())
                && self.text[at + 1..].starts_with(|d: char| d.is_ascii_digit());
            if grouped {
                if c == '.' {
                    word.push('.');
                }
                continue;
            }
            if !word.is_empty() {
                take(start, &word);
                word.clear();
            }
            if stands_alone(c) {
                let mut pair = String::with_capacity(8);
                pair.extend(alone);
                pair.push(c);
                take(at, &pair);
                alone = Some(c);
            } else {
                alone = None;
            }
        }
        if !word.is_empty() {
            take(start, &word);
        }
    }
}
