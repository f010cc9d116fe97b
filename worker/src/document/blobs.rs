//! Finds what is no text: data URLs, base64, long runs and dumps of hexadecimal digits, minified code.
//!
//! Such a thing is many tokens and hardly any words, so budgets and gaps that count words do not see it.

use std::ops::Range;

/// Shortest word that is looked at, in bytes.
const MIN_WORD: usize = 64;

/// Shortest run of encoded data, in bytes: longer than a checksum, which people ask for.
const MIN_ENCODED: usize = 130;

/// Shortest line of encoded data that is wrapped, and fewest such lines.
const MIN_WRAPPED: usize = 40;
const MIN_WRAPPED_LINES: usize = 3;

/// Fewest numbers of a line of a dump, and fewest such lines.
const MIN_DUMPED: usize = 8;
const MIN_DUMPED_LINES: usize = 4;

/// Shortest line of minified code, in bytes.
const MIN_MINIFIED: usize = 500;

/// Longest beginning of a data URL, up to its comma.
const MAX_DATA_HEAD: usize = 100;

/// Bytes before and behind a data URL in which the tag of its image is looked for.
const TAG_REACH: usize = 300;

/// Finds the ranges of a text that are no text: in order, disjoint, on character boundaries.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut run = Run::default();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]) {
        let line = &text.as_bytes()[start..end];
        let class = classify(line);
        if class != run.class {
            run.end(text, &mut found);
            run.class = class;
        }
        match class {
            LineClass::Text => find_in_line(text, start..end, &mut found),
            LineClass::Minified => found.push(start..end),
            LineClass::Wrapped | LineClass::Dump => run.add(start..end),
        }
        start = end + 1;
    }
    run.end(text, &mut found);
    merge(found)
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum LineClass {
    #[default]
    Text,
    /// A line of encoded data that goes on in the next one.
    Wrapped,
    /// A line of a dump.
    Dump,
    Minified,
}

/// Neighbouring lines of one class.
#[derive(Default)]
struct Run {
    class: LineClass,
    range: Range<usize>,
    lines: usize,
}

impl Run {
    fn add(&mut self, line: Range<usize>) {
        if self.lines == 0 {
            self.range.start = line.start;
        }
        self.range.end = line.end;
        self.lines += 1;
    }

    /// Ends the run: too short a one is text after all.
    fn end(&mut self, text: &str, found: &mut Vec<Range<usize>>) {
        let fewest = match self.class {
            LineClass::Dump => MIN_DUMPED_LINES,
            _ => MIN_WRAPPED_LINES,
        };
        if self.lines >= fewest {
            found.push(self.range.clone());
        } else if self.lines > 0 {
            for line in text[self.range.clone()].split_inclusive('\n') {
                let start = self.range.start;
                self.range.start += line.len();
                find_in_line(text, start..start + line.trim_end_matches('\n').len(), found);
            }
        }
        *self = Self::default();
    }
}

fn classify(line: &[u8]) -> LineClass {
    let line = line.trim_ascii();
    if line.len() < 2 * MIN_DUMPED {
        return LineClass::Text;
    }
    let long_word = !line.iter().take(MIN_WRAPPED).any(|b| b.is_ascii_whitespace());
    if long_word && line.len() >= MIN_WRAPPED && line.iter().all(|&b| is_encoding(b)) && is_encoded(line) {
        return LineClass::Wrapped;
    }
    if is_dump(line) {
        return LineClass::Dump;
    }
    if line.len() >= MIN_MINIFIED && is_minified(line) {
        return LineClass::Minified;
    }
    LineClass::Text
}

/// Returns true for bytes of base64, of its form for URLs, of hexadecimal digits, and of what JSON makes of
/// their line breaks.
fn is_encoding(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_' | b'\\')
}

/// Returns true if letters and digits are mixed as in encoded data; paths and names have few capitals and digits.
fn is_encoded(run: &[u8]) -> bool {
    let count = |class: fn(&u8) -> bool| run.iter().filter(|b| class(b)).count();
    let (digits, capitals) = (count(u8::is_ascii_digit), count(u8::is_ascii_uppercase));
    let small = count(u8::is_ascii_lowercase);
    let hex = run.iter().all(u8::is_ascii_hexdigit);
    let n = run.len();
    if hex {
        return digits * 5 > n && digits < n;
    }
    // Padding and zeros make long runs of one letter.
    let uniform = run.windows(2).filter(|pair| pair[0] == pair[1]).count() * 2 > n;
    uniform || ((digits + capitals) * 4 > n && small * 10 > n && digits * 50 > n)
}

/// Returns true for a line of hexadecimal numbers, some of which have letters.
fn is_dump(line: &[u8]) -> bool {
    let mut numbers = 0;
    let mut lettered = 0;
    for word in line
        .split(|b| b.is_ascii_whitespace() || *b == b':')
        .filter(|word| !word.is_empty())
    {
        let hex = word.len() <= 8 && word.len().is_multiple_of(2) && word.iter().all(u8::is_ascii_hexdigit);
        if !hex {
            break;
        }
        numbers += 1;
        lettered += usize::from(word.iter().any(u8::is_ascii_alphabetic));
    }
    numbers >= MIN_DUMPED && lettered * 5 >= numbers
}

/// Returns true for a line of code without white space to speak of. JSON is left to its own reader.
fn is_minified(line: &[u8]) -> bool {
    let count = |class: fn(&u8) -> bool| line.iter().filter(|b| class(b)).count();
    let n = line.len();
    let blank = count(u8::is_ascii_whitespace);
    let signs = count(|b| b"{}();=<>[]&|!?".contains(b));
    let keys = memchr::memmem::find_iter(line, b"\":").count();
    blank * 16 < n && signs * 12 > n && count(u8::is_ascii) == n && keys * 60 < n
}

/// Finds data URLs and long encoded runs in a line of text.
fn find_in_line(text: &str, line: Range<usize>, found: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let mut at = line.start;
    while line.end - at >= MIN_WORD {
        let blank = memchr::memchr3(b' ', b'\t', b'\r', &bytes[at..line.end]).map_or(line.end, |n| at + n);
        if blank - at >= MIN_WORD {
            find_in_word(bytes, at..blank, line.clone(), found);
        }
        at = (blank + 1).min(line.end);
    }
}

fn find_in_word(bytes: &[u8], word: Range<usize>, line: Range<usize>, found: &mut Vec<Range<usize>>) {
    let mut at = word.start;
    for url in memchr::memmem::find_iter(&bytes[word.clone()], b"data:") {
        let start = word.start + url;
        let head = &bytes[start..word.end.min(start + MAX_DATA_HEAD)];
        if start < at || !head.contains(&b',') {
            continue;
        }
        let close = bytes[start..word.end].iter().position(|b| b"\"')<>`".contains(b));
        let end = close.map_or(word.end, |n| start + n);
        if end - start >= MIN_WORD {
            find_runs(bytes, at..start, found);
            found.push(with_tag(bytes, start..end, &line));
            at = end;
        }
    }
    find_runs(bytes, at..word.end, found);
}

/// Adds the encoded runs of a word.
fn find_runs(bytes: &[u8], word: Range<usize>, found: &mut Vec<Range<usize>>) {
    let mut start = word.start;
    for at in word.start..=word.end {
        if at < word.end && is_encoding(bytes[at]) {
            continue;
        }
        if at - start >= MIN_ENCODED && is_encoded(&bytes[start..at]) {
            found.push(start..at);
        }
        start = at + 1;
    }
}

/// Widens a data URL to the whole image of Markdown or HTML, which is nothing without it.
fn with_tag(bytes: &[u8], url: Range<usize>, line: &Range<usize>) -> Range<usize> {
    let from = line.start.max(url.start.saturating_sub(TAG_REACH));
    let before = &bytes[from..url.start];
    let to = line.end.min(url.end + TAG_REACH);
    let behind = &bytes[url.end..to];
    if before.ends_with(b"](") {
        if let (Some(open), Some(close)) =
            (memchr::memmem::rfind(before, b"!["), memchr::memchr(b')', behind))
        {
            return from + open..url.end + close + 1;
        }
    } else if let (Some(open), Some(close)) = (memchr::memrchr(b'<', before), memchr::memchr(b'>', behind))
        && !before[open..].contains(&b'>')
    {
        return from + open..url.end + close + 1;
    }
    url
}

/// Joins ranges that touch.
fn merge(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for range in found {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
