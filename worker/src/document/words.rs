//! Counts words, and cuts runs of them that are too long for one unit.

/// Returns true for white space that separates words: Unicode's, and the four information separators of
/// ASCII, as Python's `str.split` has it.
pub fn is_white_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Returns true for a character that counts as a word of its own, because its script writes no spaces:
/// ideographs, kana, hangul syllables, letters of Thai, Lao, Khmer and Myanmar.
pub fn stands_alone(c: char) -> bool {
    if (c as u32) < 0x0E00 {
        return false;
    }
    matches!(c as u32,
        0x0E01..=0x0E30 | 0x0E32..=0x0E33 | 0x0E40..=0x0E46
        | 0x0E81..=0x0EB0 | 0x0EB2..=0x0EB3 | 0x0EBD | 0x0EC0..=0x0EC6 | 0x0EDC..=0x0EDF
        | 0x1000..=0x102A | 0x103F | 0x1050..=0x1055 | 0x105A..=0x105D | 0x1061 | 0x1065..=0x1066
        | 0x106E..=0x1070 | 0x1075..=0x1081 | 0x108E
        | 0x1780..=0x17B3 | 0x17D7 | 0x17DC
        | 0x3005..=0x3007 | 0x3041..=0x3096 | 0x309D..=0x309F | 0x30A1..=0x30FA | 0x30FC..=0x30FF
        | 0x31F0..=0x31FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF
        | 0xFF66..=0xFF9D | 0x20000..=0x3FFFF)
}

/// Returns true for the signs that Thai, Lao, Khmer and Myanmar letters carry: alphabetic, but no word of
/// their own.
fn is_vowel_sign(c: char) -> bool {
    matches!(c as u32, 0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF) && c.is_alphabetic()
}

/// ScanState of the scan; see [`WordScan::step`].
#[derive(Clone, Copy, PartialEq)]
enum ScanState {
    /// The last character was white space.
    Outside,
    /// The scan is in a word that has only punctuation so far.
    Punctuation,
    /// The scan is in a word with a letter or digit.
    Word,
    /// The last character is a word of its own; punctuation that follows belongs to it.
    Alone,
}

/// A word counter that is fed one character at a time.
struct WordScan(ScanState);

impl WordScan {
    /// Takes the next character; returns true if a word begins with it.
    fn step(&mut self, c: char) -> bool {
        let (next, begins) = if is_white_space(c) {
            (ScanState::Outside, false)
        } else if stands_alone(c) {
            (ScanState::Alone, self.0 != ScanState::Punctuation)
        } else {
            match self.0 {
                ScanState::Outside if c.is_alphanumeric() => (ScanState::Word, true),
                ScanState::Outside => (ScanState::Punctuation, true),
                ScanState::Punctuation if c.is_alphanumeric() => (ScanState::Word, false),
                ScanState::Alone if c.is_alphanumeric() && !is_vowel_sign(c) => (ScanState::Word, true),
                same => (same, false),
            }
        };
        self.0 = next;
        begins
    }
}

/// Counts words: runs of characters between white space, where every character that [`stands_alone`] is a
/// word of its own.
pub fn word_count(text: &str) -> usize {
    if text.is_ascii() {
        let blank = |b: &u8| matches!(b, b'\t'..=b'\r' | 0x1c..=0x1f | b' ');
        return text
            .as_bytes()
            .split(blank)
            .filter(|word| !word.is_empty())
            .count();
    }
    let mut scan = WordScan(ScanState::Outside);
    text.chars().filter(|&c| scan.step(c)).count()
}

/// Cuts a text into pieces of at most `max_words` words and `max_bytes` bytes (at least one character each),
/// preferably after a mark that ends a clause. The ranges are trimmed and cover all that is not white space.
pub(super) fn cut_long(text: &str, max_words: usize, max_bytes: usize) -> Vec<(usize, usize)> {
    let mut pieces = Vec::new();
    let mut scan = WordScan(ScanState::Outside);
    let (mut start, mut words, mut clause, mut last_word) = (0, 0, None, None);
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        let begins = scan.step(c);
        if begins {
            if at > start {
                last_word = Some((at, words));
                if matches!(
                    previous,
                    ',' | ';' | ':' | '，' | '；' | '、' | '：' | '،' | ')' | '|'
                ) {
                    clause = Some((at, words));
                }
            }
            words += 1;
        }
        if words > max_words || at + c.len_utf8() - start > max_bytes {
            // A clause mark in the second half makes the better cut; within a word that never ends, cut here.
            let fallback = last_word.unwrap_or((at, words));
            let (cut, before) = clause.filter(|&(_, w)| 2 * w > max_words).unwrap_or(fallback);
            pieces.push((start, cut));
            start = cut;
            words -= before.min(words);
            (clause, last_word) = (None, None);
        }
        if !is_white_space(c) {
            previous = c;
        }
    }
    pieces.push((start, text.len()));
    pieces
        .into_iter()
        .filter_map(|(from, to)| trim(text, from, to))
        .collect()
}

/// Returns the range without white space at its ends; `None` if nothing is left.
pub(super) fn trim(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let slice = text.get(start..end)?;
    let trimmed = slice.trim();
    let start = start + (slice.len() - slice.trim_start().len());
    (!trimmed.is_empty()).then_some((start, start + trimmed.len()))
}
