//! Cuts a document into units: the pieces that are scored and kept or dropped as a whole.
//!
//! First step of an extraction; `scoring` and `select` see units only. A unit is a byte range of the source:
//! a sentence, a table row, a heading, a speaker's label, a list item, a block of code, a JSON element. Units
//! are ordered and disjoint, lie on character boundaries, begin and end with a character that is not white
//! space, and cover every such character of the document. A unit may have a lead: the unit that tells what it
//! is about (the header of its table, its heading, the label of its speaker).
//!
//! A document may be made of several texts. Each is cut by itself, so no unit and no lead crosses the end of one.
//!
//! The work is linear in the document's length: every detector either consumes the lines that it reads, or
//! looks at a bounded number of them, or remembers where it failed.

mod abbreviations;
mod blobs;
mod blocks;
mod cutter;
mod json;
mod lines;
mod pages;
mod passages;
mod runs;
mod sentences;
mod speakers;
mod stamps;
mod subtitles;
mod tables;
#[cfg(test)]
mod tests;
mod texts;
mod words;

use std::ops::Range;

use cutter::Cutter;
pub use texts::{Text, Texts};
pub use words::{is_white_space, stands_alone, word_count};

/// Longest unit, in words. A longer sentence, row or element is cut.
pub const MAX_UNIT_WORDS: usize = 150;

/// Longest unit, in bytes: bounds text that has hardly any words, such as base64.
pub const MAX_UNIT_BYTES: usize = 4096;

/// The kind of a unit, and of a span made of such units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// A sentence, or a part of a very long one.
    Sentence,
    /// A row of a table.
    Row,
    /// The header of a table.
    Header,
    /// A heading.
    Heading,
    /// A speaker's turn in a transcript, or a part of it.
    SpeakerTurn,
    /// An item of a list.
    ListItem,
    /// A block of code, or a part of a long one.
    Code,
    /// A whole element of a JSON array or object.
    JsonElement,
}

impl SpanKind {
    /// Returns the name under which reports show the kind, in snake case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sentence => "sentence",
            Self::Row => "row",
            Self::Header => "header",
            Self::Heading => "heading",
            Self::SpeakerTurn => "speaker_turn",
            Self::ListItem => "list_item",
            Self::Code => "code",
            Self::JsonElement => "json_element",
        }
    }
}

/// A piece of the document that is kept or dropped as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Words of the unit.
    pub words: u32,
    /// The unit's kind.
    pub kind: SpanKind,
    /// Index of the unit that says what this one is about; always smaller than the unit's own index.
    pub lead: Option<u32>,
    /// Number of the paragraph, turn, table or list that the unit belongs to.
    pub block: u32,
    /// Number of the text that the unit belongs to.
    pub text: u32,
    /// Number of the run of texts that the unit belongs to. A text that begins in the middle of a sentence is in the run
    /// of the text before it.
    pub run: u32,
    /// Whether the unit is evidence for nothing: encoded data, minified code, what stands on every page. It is
    /// kept only if the question asks for such a thing.
    pub filler: bool,
}

impl Unit {
    /// Returns the unit's text in the document that it was cut from.
    pub fn text<'a>(&self, document: &'a str) -> &'a str {
        document.get(self.start..self.end).unwrap_or_default()
    }
}

/// The units of one of the texts that a document is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextUnits {
    /// Units of the text; empty if it is blank.
    pub units: Range<usize>,
    /// Whether the text is kept whole or left out whole.
    pub whole: bool,
}

/// A document cut into units.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    /// Text of the document.
    pub text: &'a str,
    /// Units of the document, in order.
    pub units: Vec<Unit>,
    /// The texts that the document is made of, in order: at least one.
    pub texts: Vec<TextUnits>,
    /// Words of the document.
    pub words: usize,
    /// The words that a ratio divides: those between white space where the text is mostly written with
    /// spaces, so that a few ideographs in it do not buy room for other words; else `words`.
    pub budget_words: usize,
    /// True if most of the document is a transcript of speakers' turns.
    pub transcript: bool,
}

impl<'a> Document<'a> {
    /// Cuts a document of a single text into units. Never fails: what is not recognised as anything else is cut
    /// as prose.
    pub fn parse(text: &'a str) -> Self {
        Self::parse_texts(text, &Texts::default())
    }

    /// Cuts a document into units, text by text.
    pub fn parse_texts(text: &'a str, texts: &Texts) -> Self {
        let mut document = Self {
            text,
            units: Vec::new(),
            texts: Vec::new(),
            words: word_count(text),
            budget_words: 0,
            transcript: false,
        };
        let mut of_transcripts = 0;
        let mut run = 0;
        for part in texts.ranges(text) {
            let bytes = part.bytes.clone();
            let own = text.get(part.bytes).unwrap_or_default();
            let before = text.get(..bytes.start).unwrap_or_default();
            if !before.is_empty() && !runs::goes_on(before, own) {
                run += 1;
            }
            let mut cutter = Cutter::new(own);
            if blocks::cut(&mut cutter) {
                of_transcripts += bytes.len();
            }
            document.add_text(bytes.start, cutter.units, part.whole, run);
        }
        if document.units.iter().all(|unit| unit.filler) {
            document.units.iter_mut().for_each(|unit| unit.filler = false);
        }
        let spaced = text.split(is_white_space).filter(|word| !word.is_empty()).count();
        document.budget_words = if 2 * spaced >= document.words {
            spaced
        } else {
            document.words
        };
        document.transcript = 2 * of_transcripts > text.len();
        document
    }

    /// Returns whether the document is the log of a program: most lines begin with a time or a level, and no person
    /// speaks.
    pub fn is_log(&self) -> bool {
        stamps::is_log(self.text, self.transcript)
    }

    /// Adds the units of the next text, which begins at a byte of the document and is in a run of texts.
    fn add_text(&mut self, start: usize, units: Vec<Unit>, whole: bool, run: u32) {
        let text = self.texts.len() as u32;
        let first = self.units.len();
        let first_block = self.units.last().map_or(0, |unit| unit.block + 1);
        let placed = units.into_iter().map(|unit| Unit {
            start: start + unit.start,
            end: start + unit.end,
            lead: unit.lead.map(|lead| first as u32 + lead),
            block: first_block + unit.block,
            text,
            run,
            ..unit
        });
        self.units.extend(placed);
        self.texts.push(TextUnits {
            units: first..self.units.len(),
            whole,
        });
    }
}
