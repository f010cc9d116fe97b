//! The passages that a language model is to read: overlapping pieces of the document, those that hold the most evidence.

use std::ops::Range;

use crate::document::{Document, Unit};
use crate::engine::Span;

/// Part of a piece that the next one begins with, so that what stands at the border of one is within another.
const OVERLAP: usize = 8;
/// Least weight of evidence: what closes a gap has a score below that of the mean unit.
const LEAST_WEIGHT: f64 = 0.1;

/// Cuts a document into pieces of whole units, of at most `bytes` bytes unless a unit is longer; ranges of units, in order. No
/// piece crosses the end of a text. Linear in the units.
pub(super) fn cut(document: &Document<'_>, bytes: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    for text in &document.texts {
        let units = document.units.get(text.units.clone()).unwrap_or_default();
        let first = text.units.start;
        pieces.extend(
            cut_text(units, bytes)
                .into_iter()
                .map(|piece| first + piece.start..first + piece.end),
        );
    }
    pieces
}

fn cut_text(units: &[Unit], bytes: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while let Some(begin) = units.get(start).map(|unit| unit.start) {
        let fits = |unit: &&Unit| unit.end - begin <= bytes;
        let end = start + units.iter().skip(start).take_while(fits).count().max(1);
        pieces.push(start..end);
        let (Some(last), Some(next)) = (units.get(end - 1), units.get(end)) else {
            break;
        };
        // A unit is read again only where the next one fits behind it, or the piece would hold nothing new.
        let again = |unit: &&Unit| last.end - unit.start <= bytes / OVERLAP && next.end - unit.start <= bytes;
        let inside = units.get(start + 1..end).unwrap_or_default();
        start = end - inside.iter().rev().take_while(again).count();
    }
    pieces
}

/// Evidence that no chosen piece holds yet.
struct Rest {
    start: usize,
    end: usize,
    /// Weight of each byte.
    weight: f64,
}

/// Chooses at most `most` pieces, the best first: each holds the most of the evidence that those before it do not. Without
/// evidence, where the budget keeps nothing, these are the first.
pub(super) fn choose(
    units: &[Unit],
    mut pieces: Vec<Range<usize>>,
    spans: &[Span],
    most: usize,
) -> Vec<Range<usize>> {
    if spans.is_empty() {
        pieces.truncate(most);
        return pieces;
    }
    let mut rest: Vec<Rest> = spans.iter().map(Rest::new).collect();
    let mut chosen = Vec::new();
    while chosen.len() < most {
        let weights = pieces.iter().map(|piece| held(units, piece, &rest));
        let best = weights
            .enumerate()
            .max_by(|(i, a), (j, b)| a.total_cmp(b).then(j.cmp(i)));
        let Some((index, _)) = best.filter(|(_, weight)| *weight > 0.0) else {
            break;
        };
        let piece = pieces.remove(index);
        let bytes = bytes_of(units, &piece);
        rest = rest.into_iter().flat_map(|part| part.without(&bytes)).collect();
        chosen.push(piece);
    }
    chosen
}

/// Returns the bytes from the first to the last unit of a piece.
pub(super) fn bytes_of(units: &[Unit], piece: &Range<usize>) -> Range<usize> {
    let units = units.get(piece.clone()).unwrap_or_default();
    let start = units.first().map_or(0, |unit| unit.start);
    start..units.last().map_or(start, |unit| unit.end)
}

fn held(units: &[Unit], piece: &Range<usize>, rest: &[Rest]) -> f64 {
    let bytes = bytes_of(units, piece);
    let first = rest.partition_point(|part| part.end <= bytes.start);
    let within = rest.iter().skip(first).take_while(|part| part.start < bytes.end);
    let common = |part: &Rest| {
        part.end
            .min(bytes.end)
            .saturating_sub(part.start.max(bytes.start))
    };
    within.map(|part| common(part) as f64 * part.weight).sum()
}

impl Rest {
    fn new(span: &Span) -> Self {
        let bytes = (span.end - span.start).max(1);
        Self {
            start: span.start,
            end: span.end,
            weight: f64::from(span.score).max(LEAST_WEIGHT) / bytes as f64,
        }
    }

    /// Returns what is left before and behind some bytes.
    fn without(self, bytes: &Range<usize>) -> Vec<Self> {
        let before = self.start..self.end.min(bytes.start);
        let after = self.start.max(bytes.end)..self.end;
        let left = [before, after].into_iter().filter(|part| part.start < part.end);
        let left = left.map(|part| Self {
            start: part.start,
            end: part.end,
            weight: self.weight,
        });
        left.collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::document::{SpanKind, Text, Texts};

    fn span(start: usize, end: usize, score: f32) -> Span {
        Span {
            start,
            end,
            score,
            kind: SpanKind::Sentence,
        }
    }

    #[test]
    fn the_pieces_that_hold_the_most_evidence_are_chosen_once() {
        let text = "This is a sentence of forty letters, so. ".repeat(50);
        let document = Document::parse(&text);
        let pieces = cut(&document, 400);
        let spans = [span(0, 40, 1.0), span(1000, 1100, 9.0), span(1900, 2000, 5.0)];
        let chosen = choose(&document.units, pieces, &spans, 3);
        let bytes: Vec<_> = chosen
            .iter()
            .map(|piece| bytes_of(&document.units, piece))
            .collect();
        assert_eq!(bytes.len(), 3);
        assert!(bytes[0].start <= 1000 && bytes[0].end >= 1100, "{bytes:?}");
        assert!(bytes[1].start <= 1900 && bytes[1].end >= 2000, "{bytes:?}");
        assert!(bytes[2].start == 0, "{bytes:?}");
        let first = choose(&document.units, cut(&document, 400), &[], 2);
        assert_eq!(first, cut(&document, 400)[..2]);
    }

    #[test]
    fn no_piece_lies_within_another() {
        let unit = |start, end| Unit {
            start,
            end,
            words: 1,
            kind: SpanKind::Sentence,
            lead: None,
            block: 0,
            text: 0,
            filler: false,
            run: 0,
        };
        let units = [unit(0, 40), unit(41, 81), unit(82, 87), unit(88, 186)];
        // What fits into an eighth is read again, unless the next unit has no room behind it.
        assert_eq!(cut_text(&units, 104), [0..3, 2..4]);
        assert_eq!(cut_text(&units, 100), [0..3, 3..4]);
    }

    proptest! {
        #[test]
        fn pieces_are_in_order_hold_every_unit_and_overlap(
            sentences in proptest::collection::vec("[a-z ]{1,80}[.]", 1..60),
            bytes in 1..600_usize,
            border in 0.0..1.0_f64,
        ) {
            let text = sentences.join(" ");
            let at = ((text.len() - 1) as f64 * border) as usize + 1;
            let texts = [at, text.len() - at].into_iter().filter(|bytes| *bytes > 0);
            let texts = texts.map(|bytes| Text { bytes: bytes as u64, whole: false }).collect();
            let document = Document::parse_texts(&text, &Texts::new(&text, texts).unwrap());
            let pieces = cut(&document, bytes);
            let mut next = 0;
            for (index, piece) in pieces.iter().enumerate() {
                prop_assert!(piece.start <= next && piece.end > next, "{:?}", pieces);
                next = piece.end;
                let units = &document.units[piece.clone()];
                prop_assert!(units.iter().all(|unit| unit.text == units[0].text));
                let range = bytes_of(&document.units, piece);
                prop_assert!(range.len() <= bytes || piece.len() == 1);
                if let Some(before) = index.checked_sub(1).map(|before| &pieces[before]) {
                    prop_assert!(piece.start > before.start);
                }
            }
            prop_assert_eq!(next, document.units.len());
        }
    }
}
