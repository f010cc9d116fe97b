//! Collects the units of a document; every detector writes to it.

use std::ops::Range;

use super::{MAX_UNIT_BYTES, MAX_UNIT_WORDS, SpanKind, Unit, blobs, sentences, word_count, words};

/// What the units of one range have in common.
#[derive(Clone, Copy)]
struct UnitParts {
    kind: SpanKind,
    lead: Option<u32>,
    filler: bool,
}

/// The text to cut, and the units cut from it so far.
pub(super) struct Cutter<'a> {
    pub(super) text: &'a str,
    pub(super) units: Vec<Unit>,
    block: u32,
    /// Heading that the following units belong to.
    pub(super) heading: Option<u32>,
    /// Label of the passage that the following units belong to.
    pub(super) passage: Option<u32>,
    /// Ranges that are no text, in order.
    blobs: Vec<Range<usize>>,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            units: Vec::new(),
            block: 0,
            heading: None,
            passage: None,
            blobs: blobs::find(text),
        }
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    pub(super) fn next_block(&mut self) {
        self.block += 1;
    }

    /// Adds the non-blank part of a range as one unit, or as several if it is too long or holds what is no text.
    /// Returns the index of the first one.
    pub(super) fn push(
        &mut self,
        start: usize,
        end: usize,
        kind: SpanKind,
        lead: Option<u32>,
    ) -> Option<u32> {
        let first = self.units.len();
        let mut from = start;
        let mut next = self.blobs.partition_point(|blob| blob.end <= start);
        while let Some(blob) = self.blobs.get(next).filter(|blob| blob.start < end).cloned() {
            self.push_part(
                from..blob.start,
                UnitParts {
                    kind,
                    lead,
                    filler: false,
                },
            );
            from = blob.end.min(end);
            self.push_part(
                blob.start.max(start)..from,
                UnitParts {
                    kind,
                    lead,
                    filler: true,
                },
            );
            next += 1;
        }
        self.push_part(
            from..end,
            UnitParts {
                kind,
                lead,
                filler: false,
            },
        );
        (self.units.len() > first).then_some(first as u32)
    }

    /// Adds a range that no question asks for, such as the title that stands on each page.
    pub(super) fn push_filler(&mut self, start: usize, end: usize) {
        let parts = UnitParts {
            kind: SpanKind::Sentence,
            lead: None,
            filler: true,
        };
        self.push_part(start..end, parts);
    }

    /// Adds a range whose first words tell what it is, such as the row of a table. If it is too long for one
    /// unit, the first one leads the others.
    pub(super) fn push_record(&mut self, start: usize, end: usize, kind: SpanKind, lead: Option<u32>) {
        if let Some(first) = self.push(start, end, kind, lead) {
            for unit in self.units.iter_mut().skip(first as usize + 1) {
                unit.lead = Some(first);
            }
        }
    }

    fn push_part(&mut self, range: Range<usize>, parts: UnitParts) {
        let Some((start, end)) = words::trim(self.text, range.start, range.end) else {
            return;
        };
        let slice = self.slice(start, end);
        let words = word_count(slice);
        if words <= MAX_UNIT_WORDS && slice.len() <= MAX_UNIT_BYTES {
            self.add(start..end, words, parts);
            return;
        }
        for (from, to) in words::cut_long(slice, MAX_UNIT_WORDS, MAX_UNIT_BYTES) {
            self.add(start + from..start + to, word_count(&slice[from..to]), parts);
        }
    }

    fn add(&mut self, range: Range<usize>, words: usize, parts: UnitParts) {
        self.units.push(Unit {
            start: range.start,
            end: range.end,
            words: words as u32,
            kind: parts.kind,
            lead: parts.lead,
            block: self.block,
            text: 0,
            run: 0,
            filler: parts.filler,
        });
    }

    /// Adds the sentences of a range.
    pub(super) fn push_prose(&mut self, start: usize, end: usize, kind: SpanKind, lead: Option<u32>) {
        for (from, to) in sentences::cut(self.slice(start, end)) {
            self.push(start + from, start + to, kind, lead);
        }
    }
}
