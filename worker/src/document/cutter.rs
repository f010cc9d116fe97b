//! Collects the units of a document; every detector writes to it.

use super::{MAX_UNIT_BYTES, MAX_UNIT_WORDS, SpanKind, Unit, sentences, word_count, words};

/// The text to cut, and the units cut from it so far.
pub(super) struct Cutter<'a> {
    pub(super) text: &'a str,
    pub(super) units: Vec<Unit>,
    block: u32,
    /// Heading that the following units belong to.
    pub(super) heading: Option<u32>,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            units: Vec::new(),
            block: 0,
            heading: None,
        }
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    pub(super) fn next_block(&mut self) {
        self.block += 1;
    }

    /// Adds the non-blank part of a range as one unit, or as several if it is too long. Returns the index of
    /// the first one.
    pub(super) fn push(
        &mut self,
        start: usize,
        end: usize,
        kind: SpanKind,
        lead: Option<u32>,
    ) -> Option<u32> {
        let slice = self.slice(start, end);
        let trimmed = slice.trim();
        if trimmed.is_empty() {
            return None;
        }
        let start = start + (slice.len() - slice.trim_start().len());
        let end = start + trimmed.len();
        let first = self.units.len() as u32;
        let words = word_count(trimmed);
        if words <= MAX_UNIT_WORDS && trimmed.len() <= MAX_UNIT_BYTES {
            self.add(start, end, words, kind, lead);
        } else {
            for (from, to) in words::cut_long(trimmed, MAX_UNIT_WORDS, MAX_UNIT_BYTES) {
                self.add(
                    start + from,
                    start + to,
                    word_count(&trimmed[from..to]),
                    kind,
                    lead,
                );
            }
        }
        Some(first)
    }

    fn add(&mut self, start: usize, end: usize, words: usize, kind: SpanKind, lead: Option<u32>) {
        self.units.push(Unit {
            start,
            end,
            words: words as u32,
            kind,
            lead,
            block: self.block,
        });
    }

    /// Adds the sentences of a range.
    pub(super) fn push_prose(&mut self, start: usize, end: usize, kind: SpanKind, lead: Option<u32>) {
        for (from, to) in sentences::cut(self.slice(start, end)) {
            self.push(start + from, start + to, kind, lead);
        }
    }
}
