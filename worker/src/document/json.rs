//! Finds JSON values and cuts them into whole elements.
//!
//! The scan is looser than a parser (it wants matching brackets and closed strings, not valid literals) and
//! uses no recursion. A value is cut after the commas of its outermost array or object; an element that is too
//! long is cut after the commas one level deeper, and so on. Values that follow each other, as in JSON Lines, are
//! records: each is one unit if it is not too long, and else its first part leads the others.

use super::SpanKind;
use super::cutter::Cutter;
use super::{MAX_UNIT_BYTES, MAX_UNIT_WORDS, word_count};

/// Deepest level whose commas may cut.
const MAX_CUT_DEPTH: u8 = 12;

/// Scalars that follow each other are joined up to this many words: a number alone says little.
const JOINED_WORDS: usize = 24;

/// The search for JSON values; remembers where a scan failed, so that all scans together are linear.
#[derive(Default)]
pub(super) struct JsonSearch {
    hopeless_before: usize,
    /// End of the last value that was found.
    last_end: Option<usize>,
}

/// A JSON value found in the document.
pub(super) struct JsonValue {
    /// One past the last byte.
    pub(super) end: usize,
    start: usize,
    /// Whether other values stand before or behind it, with nothing between.
    record: bool,
    /// Places behind commas, with the number of brackets open there.
    commas: Vec<(usize, u8)>,
}

impl JsonSearch {
    /// Finds the array or object that begins at `start` and ends at the end of a line (a comma may follow).
    pub(super) fn find_at(&mut self, text: &str, start: usize) -> Option<JsonValue> {
        if start < self.hopeless_before || !may_open(text, start) {
            return None;
        }
        match scan(text, start) {
            Ok(mut value) => {
                let rest = text[value.end..].trim_start_matches([' ', '\t', '\r']);
                let rest = rest.strip_prefix(',').unwrap_or(rest);
                let closed = text.len() - rest.len();
                if rest
                    .trim_start_matches([' ', '\t', '\r'])
                    .chars()
                    .next()
                    .is_some_and(|c| c != '\n')
                {
                    self.hopeless_before = value.end;
                    return None;
                }
                if text[value.end..closed].contains(',') {
                    value.end = closed;
                }
                let follows = |end: usize| text[end..start].trim().is_empty();
                let goes_on = text[value.end..].trim_start().starts_with(&text[start..=start]);
                value.record = goes_on || self.last_end.is_some_and(follows);
                self.last_end = Some(value.end);
                Some(value)
            }
            Err(at) => {
                self.hopeless_before = at;
                None
            }
        }
    }
}

/// Returns true if a bracket and what follows it could begin an array or object that is not empty.
fn may_open(text: &str, start: usize) -> bool {
    let rest = &text[start..];
    let Some(inside) = rest.strip_prefix(['{', '[']) else {
        return false;
    };
    let next = inside.trim_start().chars().next();
    if rest.starts_with('{') {
        next == Some('"')
    } else {
        next.is_some_and(|c| matches!(c, '"' | '{' | '[' | '-' | '0'..='9' | 't' | 'f' | 'n'))
    }
}

/// Reads one value; an error is the place where it stops looking like JSON.
fn scan(text: &str, start: usize) -> Result<JsonValue, usize> {
    let bytes = text.as_bytes();
    let mut open = Vec::new();
    let mut commas = Vec::new();
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'}' | b']' => {
                if open.pop() != Some(byte) {
                    return Err(at);
                }
                if open.is_empty() {
                    return Ok(JsonValue {
                        start,
                        end: at,
                        record: false,
                        commas,
                    });
                }
            }
            b',' => {
                if open.len() <= MAX_CUT_DEPTH as usize {
                    commas.push((at, open.len() as u8));
                }
            }
            b'"' => at = find_string_end(bytes, at).ok_or(bytes.len())?,
            b' ' | b'\t' | b'\r' | b'\n' | b':' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E' => {}
            _ => return Err(at),
        }
    }
    Err(bytes.len())
}

/// Returns one past the quote that closes a string.
fn find_string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

impl JsonValue {
    /// Cuts the value into units.
    pub(super) fn cut(&self, cutter: &mut Cutter<'_>) {
        if self.record && !too_long(cutter.slice(self.start, self.end)) {
            let lead = cutter.heading;
            cutter.push(self.start, self.end, SpanKind::JsonElement, lead);
            return;
        }
        let mut joined: Option<Joined> = None;
        let mut leader = Leader::default();
        for element in self.cut_elements(cutter) {
            let text = cutter.slice(element.start, element.end);
            let words = word_count(text);
            let scalar = words < JOINED_WORDS && !text.contains(['{', '[']);
            match &mut joined {
                Some(last)
                    if scalar && last.words + words <= JOINED_WORDS && last.element.end == element.start =>
                {
                    last.element.end = element.end;
                    last.words += words;
                }
                _ => {
                    leader.push(cutter, joined.take());
                    let words = if scalar { words } else { JOINED_WORDS };
                    joined = Some(Joined { element, words });
                }
            }
        }
        leader.push(cutter, joined);
    }

    /// Returns ranges that cover the value, cut as deep as their length asks for.
    fn cut_elements(&self, cutter: &Cutter<'_>) -> Vec<Element> {
        let mut elements = vec![Element {
            start: self.start,
            end: self.end,
            owner: self.start,
        }];
        for depth in 1..=MAX_CUT_DEPTH {
            let mut cuts = self
                .commas
                .iter()
                .filter(|comma| comma.1 == depth)
                .map(|comma| comma.0)
                .peekable();
            if cuts.peek().is_none() {
                continue;
            }
            let mut finer = Vec::with_capacity(elements.len());
            for Element { start, end, owner } in elements {
                let long = depth == 1 || too_long(cutter.slice(start, end));
                let mut from = start;
                while let Some(cut) = cuts.next_if(|&cut| cut <= end) {
                    if long && cut < end {
                        finer.push(self.element(from, cut, owner, depth));
                        from = cut;
                    }
                }
                finer.push(self.element(from, end, owner, depth));
            }
            elements = finer;
        }
        elements
    }

    /// Makes a part of an element. Elements of the outermost array or object own themselves, unless that is a
    /// record.
    fn element(&self, start: usize, end: usize, owner: usize, depth: u8) -> Element {
        let whole = depth == 1 && !self.record;
        let owner = if whole { start } else { owner };
        Element { start, end, owner }
    }
}

/// A part of a value.
struct Element {
    start: usize,
    end: usize,
    /// Where the record or element begins of which this is a part.
    owner: usize,
}

/// Elements that are joined into one unit, and their words.
struct Joined {
    element: Element,
    words: usize,
}

/// Lets the first unit of a record lead the others.
#[derive(Default)]
struct Leader {
    owner: Option<usize>,
    unit: Option<u32>,
}

impl Leader {
    fn push(&mut self, cutter: &mut Cutter<'_>, joined: Option<Joined>) {
        let Some(Joined { element, .. }) = joined else {
            return;
        };
        let same = self.owner == Some(element.owner);
        let lead = self.unit.filter(|_| same).or(cutter.heading);
        let unit = cutter.push(element.start, element.end, SpanKind::JsonElement, lead);
        if !same {
            (self.owner, self.unit) = (Some(element.owner), unit);
        }
    }
}

fn too_long(text: &str) -> bool {
    text.len() > MAX_UNIT_BYTES || word_count(text) > MAX_UNIT_WORDS
}
