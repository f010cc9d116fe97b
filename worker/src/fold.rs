//! Sees through the form of a text, so that words are compared by what they say and not by how they are coded.
//!
//! Extractors of PDF hand out ligatures, presentation forms of Arabic and hyphens at the ends of lines; macOS
//! and some OCR give accents as characters of their own; East Asian documents mix in full-width letters; HTML
//! brings soft hyphens and characters without width. [`Folded`] is such a text in one form, with the place in
//! the source of each of its bytes: question and document are folded where they are compared, and what is kept
//! are ranges of the source.
//!
//! The form is NFKC (Unicode Standard Annex 15) with the differences that [`fold_char`] explains. Plain ASCII
//! is in that form already and is not copied.

use std::borrow::Cow;

use unicode_normalization::char::{decompose_canonical, is_combining_mark};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Letters before a raised digit up to which it is a power ("m²"); behind a longer word it marks a footnote.
const UNIT_LETTERS: usize = 3;

/// A text in one form.
#[derive(Debug)]
pub(crate) struct Folded<'a> {
    text: Cow<'a, str>,
    /// Where runs of the folded text begin, in order; empty if nothing was folded.
    runs: Vec<Run>,
}

/// A run of the folded text: a copy of the source, or what was made of one cluster of characters.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// First byte in the folded text.
    folded: usize,
    /// First byte in the source.
    source: usize,
    copied: bool,
}

/// What becomes of a hyphen at the end of a line, with a lower-case letter on the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LineEnds {
    /// The hyphen goes, and the halves are one word.
    Join,
    /// The hyphen stays: the reader decides.
    Keep,
}

impl<'a> Folded<'a> {
    /// Folds a text, and joins the words that a hyphen cuts at the end of a line.
    pub(crate) fn new(text: &'a str) -> Self {
        let hyphenated = || {
            ["-\n", "-\r\n"]
                .iter()
                .any(|end| memchr::memmem::find(text.as_bytes(), end.as_bytes()).is_some())
        };
        if text.is_ascii() && !hyphenated() {
            return Self {
                text: Cow::Borrowed(text),
                runs: Vec::new(),
            };
        }
        Folder::fold(text, LineEnds::Join)
    }

    /// Returns the folded text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Replaces byte positions of the folded text, in order, by those of the source that they come from.
    pub(crate) fn restore<'p>(&self, positions: impl Iterator<Item = &'p mut u32>) {
        let mut next = 0;
        for position in positions {
            let at = *position as usize;
            while self.runs.get(next).is_some_and(|run| run.folded <= at) {
                next += 1;
            }
            if let Some(run) = next.checked_sub(1).and_then(|last| self.runs.get(last)) {
                let inside = if run.copied { at - run.folded } else { 0 };
                *position = (run.source + inside) as u32;
            }
        }
    }
}

/// Folds the characters of a text; hyphens at the ends of lines stay. Plain ASCII is not copied.
pub(crate) fn fold_characters(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        Cow::Borrowed(text)
    } else {
        Folder::fold(text, LineEnds::Keep).text
    }
}

/// Finds the continuation of a word that a hyphen cuts at the end of a line: `rest` is the text behind the
/// hyphen. Returns how many bytes lie between: one line break, and the indentation of the next line.
pub(crate) fn find_continuation(rest: &str) -> Option<usize> {
    let ended = rest.strip_prefix('\r').unwrap_or(rest).strip_prefix('\n')?;
    let next = ended.trim_start_matches([' ', '\t']);
    next.starts_with(char::is_lowercase)
        .then_some(rest.len() - next.len())
}

struct Folder<'a> {
    source: &'a str,
    out: String,
    runs: Vec<Run>,
    line_ends: LineEnds,
}

impl<'a> Folder<'a> {
    fn fold(source: &'a str, line_ends: LineEnds) -> Folded<'a> {
        let mut folder = Self {
            source,
            out: String::with_capacity(source.len()),
            runs: Vec::new(),
            line_ends,
        };
        let mut at = 0;
        while at < source.len() {
            at = folder.step(at);
        }
        Folded {
            text: Cow::Owned(folder.out),
            runs: folder.runs,
        }
    }

    /// Folds what begins at a byte; returns where the next step begins.
    fn step(&mut self, at: usize) -> usize {
        let rest = &self.source[at..];
        let plain = find_special(rest, self.line_ends);
        if plain > 0 {
            self.copy(at, plain);
            return at + plain;
        }
        let Some(c) = rest.chars().next() else {
            return self.source.len();
        };
        let width = c.len_utf8();
        if let Some(skipped) = self.skip_hyphen(c, &rest[width..]) {
            return at + width + skipped;
        }
        let cluster = width + rest[width..].find(|c| !joins(c)).unwrap_or(rest.len() - width);
        if cluster == width && is_folded(c) {
            self.copy(at, width);
        } else {
            self.runs.push(Run {
                folded: self.out.len(),
                source: at,
                copied: false,
            });
            let next = rest[cluster..].chars().next();
            let mut folded = String::with_capacity(cluster);
            for c in rest[..cluster].chars() {
                fold_char(c, &self.out, next, &mut folded);
            }
            self.out
                .extend(folded.chars().filter(|&c| !is_unwritten(c)).nfc());
        }
        at + cluster
    }

    /// Returns how much of `rest` goes with a hyphen that joins a word to the next line; `None` if it does not.
    fn skip_hyphen(&self, hyphen: char, rest: &str) -> Option<usize> {
        // A soft hyphen at the end of a line, and the sign that some extractors make of it, are never part of
        // the word; a plain hyphen may be.
        let certain = matches!(hyphen, '\u{ad}' | '¬');
        let plain = matches!(hyphen, '-' | '\u{2010}') && self.line_ends == LineEnds::Join;
        let in_word = self.out.ends_with(char::is_alphabetic);
        (in_word && (certain || plain))
            .then(|| find_continuation(rest))
            .flatten()
    }

    fn copy(&mut self, at: usize, width: usize) {
        if !self
            .runs
            .last()
            .is_some_and(|run| run.copied && run.source + (self.out.len() - run.folded) == at)
        {
            self.runs.push(Run {
                folded: self.out.len(),
                source: at,
                copied: true,
            });
        }
        self.out.push_str(&self.source[at..at + width]);
    }
}

/// Returns how many leading bytes of a text are ASCII that is copied as it is, without a letter that the mark
/// behind it changes.
fn find_special(rest: &str, line_ends: LineEnds) -> usize {
    let special = |&(at, b): &(usize, &u8)| {
        !b.is_ascii()
            || (*b == b'-'
                && line_ends == LineEnds::Join
                && matches!(rest.as_bytes().get(at + 1), Some(b'\n' | b'\r')))
    };
    let end = rest
        .as_bytes()
        .iter()
        .enumerate()
        .find(special)
        .map_or(rest.len(), |(at, _)| at);
    match rest[end..].chars().next() {
        Some(c) if joins(c) => end.saturating_sub(1),
        _ => end,
    }
}

/// Returns true for a character that is folded together with the one before it.
fn joins(c: char) -> bool {
    (c as u32) >= 0x300
        && (matches!(c, '\u{ff9e}' | '\u{ff9f}')
            || is_unwritten(c)
            || is_combining_mark(c)
            || is_nfc_quick(std::iter::once(c)) == IsNormalized::Maybe)
}

/// Returns true for a character that folds to itself when no mark follows, by the cheapest test that says so.
fn is_folded(c: char) -> bool {
    matches!(c as u32,
        0..=0x7f
        | 0xc0..=0x131 | 0x150..=0x17e | 0x4e00..=0x9fff | 0xac00..=0xd7a3 | 0x400..=0x4ff
        | 0x3041..=0x3096 | 0x30a1..=0x30fa)
}

/// Returns true for characters that a word has or lacks without being another one: soft hyphens, marks of
/// direction, joiners without width, variation selectors, the stroke that stretches Arabic words, and the
/// vowel signs of Arabic and Hebrew. The marks that make another Arabic letter are kept.
fn is_unwritten(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{640}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0100}'..='\u{e01ef}'
        | '\u{64b}'..='\u{652}' | '\u{670}' | '\u{fe70}'..='\u{fe7f}'
        | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}' | '\u{5c2}')
}

/// Adds the folded form of a character. `before` is the folded text so far, `next` what follows in the source.
///
/// Letters and digits take their compatibility form. Other signs stay as they are, because what NFKC makes of
/// them joins words that it should not ("Acme™" becomes "AcmeTM", "1½" becomes "11⁄2"); inside a word, though,
/// an apostrophe is an apostrophe and a hyphen a hyphen.
fn fold_char(c: char, before: &str, next: Option<char>, out: &mut String) {
    let in_word = || before.ends_with(char::is_alphanumeric) && next.is_some_and(char::is_alphanumeric);
    match c {
        _ if is_unwritten(c) => {}
        '\'' | '’' | '‘' | '‛' | 'ʼ' | '′' | '＇' if in_word() => out.push('\''),
        '‐' | '‑' | '‒' | '–' | '−' | '－' | '﹣' if in_word() => out.push('-'),
        '\u{2010}' => out.push('-'),
        // Marks of a footnote, and of an ordinal.
        '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' if ends_with_word(before) => out.push(' '),
        'º' | 'ª' if before.ends_with(|c: char| c.is_ascii_digit()) => {}
        '¼' | '½' | '¾' | '⅐'..='⅟' | '↉' => out.push(c),
        '\u{ff01}'..='\u{ffee}' => out.extend(std::iter::once(c).nfkc()),
        _ if c.is_alphanumeric() || c.is_whitespace() => out.extend(std::iter::once(c).nfkc()),
        _ => decompose_canonical(c, |part| out.push(part)),
    }
}

/// Returns true if a text ends with a word that is longer than the sign of a unit.
fn ends_with_word(text: &str) -> bool {
    text.chars()
        .rev()
        .take(UNIT_LETTERS + 1)
        .filter(|c| c.is_alphabetic())
        .count()
        > UNIT_LETTERS
}

/// Adds the lower case of a letter, so that words which differ in case alone are equal in it: the full case
/// folding of the Unicode Standard for letters that people write in both ways, without the accents that Greek
/// leaves out in capitals.
pub(crate) fn push_case_folded(c: char, word: &mut String) {
    match c {
        'ß' | 'ẞ' => word.push_str("ss"),
        'ς' => word.push('σ'),
        'İ' | 'ı' => word.push('i'),
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => {
            let mut base = None;
            decompose_canonical(c, |part| base = base.or(Some(part)));
            for lower in base.unwrap_or(c).to_lowercase() {
                word.push(if lower == 'ς' { 'σ' } else { lower });
            }
        }
        _ => word.extend(c.to_lowercase()),
    }
}

#[cfg(test)]
mod tests;
