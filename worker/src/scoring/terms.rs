//! The words of a text as the lexical signals compare them: in one form and in lower case, cut to stems,
//! without those that say nothing.

use std::borrow::Cow;
use std::collections::HashSet;

use unicode_normalization::char::is_combining_mark;

use crate::document::{is_white_space, stands_alone};
use crate::fold::{find_continuation, fold_characters, push_case_folded};

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
pub fn is_stop_word(word: &str) -> bool {
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

/// Returns the distinct words of a text, in one form and in lower case.
pub fn words(text: &str) -> HashSet<String> {
    let mut words = HashSet::new();
    Terms::new(text).for_each(|word| {
        words.insert(word.to_owned());
    });
    words
}

/// Counts the words of a set, made by [`words`], that a text holds.
pub fn count_shared(words: &HashSet<String>, text: &str) -> usize {
    let mut missing: HashSet<&str> = words.iter().map(String::as_str).collect();
    Terms::new(text).for_each(|word| {
        missing.remove(word);
    });
    words.len() - missing.len()
}

/// The words of a text in one form and in lower case: runs of letters and digits; in scripts without spaces,
/// pairs of neighbouring characters. A word that a hyphen cuts at the end of a line comes whole, and its halves
/// as well: only a dictionary could tell "indem-nity" from "well-known".
pub(super) struct Terms<'a> {
    text: Cow<'a, str>,
}

impl<'a> Terms<'a> {
    /// Reads a text.
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text: fold_characters(text),
        }
    }

    /// Calls `take` with each word.
    pub(super) fn for_each(self, mut take: impl FnMut(&str)) {
        let text = self.text.as_ref();
        let mut word = Word::default();
        let mut alone: Option<char> = None;
        let mut resume = 0;
        for (at, c) in text.char_indices() {
            if at < resume {
                continue;
            }
            if c.is_ascii_alphanumeric() {
                word.text.push(c.to_ascii_lowercase());
                alone = None;
                continue;
            }
            if !c.is_ascii() && !stands_alone(c) && word.takes(c) {
                push_case_folded(c, &mut word.text);
                alone = None;
                continue;
            }
            // "1,496" and "1.5" are one number.
            let grouped = (c == ',' || c == '.')
                && word.text.ends_with(|d: char| d.is_ascii_digit())
                && text[at + 1..].starts_with(|d: char| d.is_ascii_digit());
            if grouped {
                if c == '.' {
                    word.text.push('.');
                }
                continue;
            }
            if c == '-'
                && word.text.ends_with(char::is_alphabetic)
                && let Some(width) = find_continuation(&text[at + 1..])
            {
                word.cut(&mut take);
                resume = at + 1 + width;
                continue;
            }
            word.end(&mut take);
            if stands_alone(c) {
                let mut pair = String::with_capacity(8);
                pair.extend(alone);
                pair.push(c);
                take(&pair);
                alone = Some(c);
            } else {
                alone = None;
            }
        }
        word.end(&mut take);
    }
}

/// The word that is being read.
#[derive(Default)]
struct Word {
    text: String,
    /// Bytes before the last line end that cuts the word.
    half: usize,
}

impl Word {
    /// Returns true if a character that is not ASCII belongs to a word, or goes on the one being read.
    fn takes(&self, c: char) -> bool {
        (c.is_alphanumeric() && !is_white_space(c)) || (!self.text.is_empty() && is_combining_mark(c))
    }

    /// Notes that a hyphen at the end of a line cuts the word here. A half as long as a stem says no more than
    /// the whole.
    fn cut(&mut self, take: &mut impl FnMut(&str)) {
        let half = &self.text[self.half..];
        if self.half > 0 || half.chars().nth(STEM - 1).is_none() {
            take(half);
        }
        self.half = self.text.len();
    }

    /// Ends the word, if there is one.
    fn end(&mut self, take: &mut impl FnMut(&str)) {
        if self.text.is_empty() {
            return;
        }
        take(&self.text);
        if self.half > 0 {
            take(&self.text[self.half..]);
        }
        self.text.clear();
        self.half = 0;
    }
}
