//! Cuts prose into sentences.
//!
//! Marks of many scripts end a sentence. A full stop needs white space and no lower-case letter behind it, and
//! no abbreviation before it; the marks of Chinese and Japanese need nothing. Line breaks end a sentence
//! unless the line looks wrapped. Wide gaps inside a line end one too, when a capital or a number follows: that
//! is how headings look in text taken from PDF or HTML.
//!
//! Why not the sentence boundaries of Unicode (UAX #29, crate `unicode-segmentation`): they know no
//! abbreviations, so "Dr. Smith" and "J. Doe" are cut in two; they end a sentence at every line feed (rule
//! SB4), so text that an editor has wrapped falls apart; and they see no headings. UAX #29 leaves all three
//! to tailoring, which is what this is.

use super::abbreviations::ends_with_abbreviation;
use super::words;

/// A line shorter than this, in bytes, was not wrapped by an editor: its end is meant.
const WRAPPED_LINE_BYTES: usize = 50;

/// White space this wide inside a line separates sentences.
const WIDE_GAP: usize = 3;

/// Cuts a text into the ranges of its sentences: ordered, trimmed, covering all that is not white space.
pub(super) fn cut(text: &str) -> Vec<(usize, usize)> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut line_start = 0;
    while let Some(c) = text[at..].chars().next() {
        let next = at + c.len_utf8();
        let end = if c == '\n' || c.is_whitespace() {
            let gap = read_gap(text, at);
            let ends = if gap.newlines > 0 {
                breaks_line(text, line_start, at, &gap)
            } else {
                gap.width >= WIDE_GAP && gap.opens_title(text) && !text[start..at].trim_end().ends_with(',')
            };
            if gap.newlines > 0 {
                line_start = gap.end;
            }
            at = gap.end;
            ends.then_some(gap.end)
        } else if ends_anywhere(c) {
            let close = skip_closers(text, next);
            at = close;
            Some(close)
        } else if ends_before_space(c) {
            let close = skip_closers(text, next);
            at = close;
            (followed_by_new_sentence(text, close)
                && !(c == '.' && ends_with_abbreviation(text, start, close)))
            .then_some(close)
        } else {
            at = next;
            None
        };
        if let Some(end) = end {
            sentences.extend(words::trim(text, start, end));
            start = end;
        }
    }
    sentences.extend(words::trim(text, start, text.len()));
    sentences
}

/// Returns true for marks that end a sentence whatever follows.
fn ends_anywhere(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '｡' | '।' | '॥' | '។' | '။')
}

/// Returns true for marks that end a sentence if white space and no lower-case letter follow.
fn ends_before_space(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '؟' | '۔' | '։' | '።' | '‼' | '⁇')
}

/// Finds the end of the marks, quotes and brackets that close a sentence.
fn skip_closers(text: &str, from: usize) -> usize {
    let rest = &text[from..];
    let other = |c: char| {
        !(ends_anywhere(c)
            || ends_before_space(c)
            || matches!(
                c,
                '"' | '\'' | ')' | ']' | '}' | '”' | '’' | '»' | '」' | '』' | '）' | '】' | '*' | '_'
            ))
    };
    from + rest.find(other).unwrap_or(rest.len())
}

fn followed_by_new_sentence(text: &str, at: usize) -> bool {
    let mut rest = text[at..].chars();
    match rest.next() {
        None => true,
        Some(c) if !c.is_whitespace() => false,
        Some(_) => rest
            .find(|c| !c.is_whitespace())
            .is_none_or(|c| !c.is_lowercase()),
    }
}

/// A run of white space.
struct Gap {
    start: usize,
    end: usize,
    /// Characters of the run.
    width: usize,
    newlines: usize,
}

impl Gap {
    /// Returns true if what follows could open a heading or a sentence.
    fn opens_title(&self, text: &str) -> bool {
        text[self.end..]
            .chars()
            .next()
            .is_some_and(|c| !c.is_lowercase() && (c.is_alphanumeric() || "\"“(*•-–—§".contains(c)))
    }
}

fn read_gap(text: &str, start: usize) -> Gap {
    let rest = &text[start..];
    let length = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
    let blank = &rest[..length];
    let newlines = blank.bytes().filter(|&b| b == b'\n').count();
    Gap {
        start,
        end: start + length,
        width: blank.chars().count(),
        newlines,
    }
}

/// Returns true if a line break ends a sentence: always after a blank line; otherwise unless the line looks
/// wrapped (long, no closing mark) or goes on in lower case.
fn breaks_line(text: &str, line_start: usize, at: usize, gap: &Gap) -> bool {
    debug_assert_eq!(gap.start, at);
    if gap.newlines > 1 {
        return true;
    }
    let continues = text[gap.end..].chars().next().is_some_and(char::is_lowercase);
    let line = text[line_start.min(at)..at].trim_end();
    let closed = line
        .chars()
        .next_back()
        .is_some_and(|c| ends_anywhere(c) || ends_before_space(c) || ":;".contains(c));
    closed || (!continues && line.len() < WRAPPED_LINE_BYTES)
}
