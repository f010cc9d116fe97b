//! Facts in a pack: what a worker's language model says, each with the part of the document that proves it.

use liquid_contract::PackStyle;

use super::manifest::{FactRecord, KeptSpan, SpanKind};

/// Longest fact, in characters.
const MOST_CHARS: usize = 500;

/// A fact about a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// One line, not blank.
    pub text: String,
    /// The first byte of its quote.
    pub start: u64,
    /// The byte after the last one.
    pub end: u64,
    /// How sure the model is: 0 to 1, not calibrated.
    pub confidence: f32,
    /// How the worker read it, such as `constrained`.
    pub origin: &'static str,
}

impl Fact {
    /// Makes a text one line of at most 500 characters.
    pub fn one_line(text: &str) -> String {
        let words = text.split(|c: char| c.is_whitespace() || c.is_control());
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        words.join(" ").chars().take(MOST_CHARS).collect()
    }

    /// Returns what the manifest says of it.
    pub fn record(&self) -> FactRecord {
        FactRecord {
            start: self.start,
            end: self.end,
            confidence: self.confidence,
            origin: self.origin.to_owned(),
        }
    }
}

/// Returns what a pack of a style keeps of a document, in source order: its evidence, the facts' quotes, or both. Without
/// facts it is the evidence. `spans` are in order and disjoint.
pub fn keep(style: PackStyle, spans: Vec<KeptSpan>, facts: &[Fact]) -> Vec<KeptSpan> {
    if facts.is_empty() || style == PackStyle::Quotes {
        return spans;
    }
    let quote = |fact: &Fact| KeptSpan {
        start: fact.start,
        end: fact.end,
        score: 0.0,
        kind: SpanKind::Text,
    };
    let mut all: Vec<KeptSpan> = facts.iter().map(quote).collect();
    if style == PackStyle::Both {
        all.extend(spans);
    }
    all.sort_by_key(|span| (span.start, span.end));
    let mut kept: Vec<KeptSpan> = Vec::with_capacity(all.len());
    for span in all {
        match kept.last_mut() {
            Some(last) if span.start < last.end => {
                last.end = last.end.max(span.end);
                if span.score > last.score {
                    (last.score, last.kind) = (span.score, span.kind);
                }
            }
            _ => kept.push(span),
        }
    }
    kept
}
