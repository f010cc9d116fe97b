//! What a later turn is given of documents that were packed before it: which of the evidence is new.
//!
//! A client sends the whole conversation each time. What stood in a call before stands in every later one, the same
//! bytes, since a provider has cached it; what a later question needs beyond that is added to its own turn.

use std::ops::Range;

use crate::pack::{KeptSpan, SpanKind};

/// So many of the best passages for what is asked must be there already, or further excerpts are added.
const BEST: usize = 3;

/// Returns the spans of a query's document that lie in one of its texts, counted from that text's first byte.
pub(super) fn within(spans: &[KeptSpan], text: &Range<u64>) -> Vec<KeptSpan> {
    let cut = |span: &KeptSpan| KeptSpan {
        start: span.start.max(text.start),
        end: span.end.min(text.end),
        ..*span
    };
    let inside = spans.iter().map(cut).filter(|span| span.start < span.end);
    inside
        .map(|span| KeptSpan {
            start: span.start - text.start,
            end: span.end - text.start,
            ..span
        })
        .collect()
}

/// Returns whether the best of what was found in the documents is held by the call already. A document without a pack
/// stands there whole.
pub(super) fn is_answered(found: &[Vec<KeptSpan>], held: &[Option<Vec<KeptSpan>>]) -> bool {
    let mut best: Vec<(usize, &KeptSpan)> = found
        .iter()
        .enumerate()
        .flat_map(|(document, spans)| spans.iter().map(move |span| (document, span)))
        .collect();
    best.sort_by(|a, b| b.1.score.total_cmp(&a.1.score));
    best.truncate(BEST);
    best.iter().all(|(document, span)| match held.get(*document) {
        Some(Some(held)) => news(std::slice::from_ref(*span), held).is_empty(),
        _ => true,
    })
}

/// Returns the spans that are not held yet. One of which a part is held is new as a whole, so that it reads well.
pub(super) fn news(found: &[KeptSpan], held: &[KeptSpan]) -> Vec<KeptSpan> {
    let is_held = |span: &KeptSpan| {
        let covered: u64 = held
            .iter()
            .map(|held| held.end.min(span.end).saturating_sub(held.start.max(span.start)))
            .sum();
        covered >= span.end - span.start
    };
    found.iter().filter(|span| !is_held(span)).copied().collect()
}

/// Returns the ranges of a document of `bytes` that are not held, as spans.
pub(super) fn complement(held: &[KeptSpan], bytes: u64) -> Vec<KeptSpan> {
    let mut held: Vec<_> = held.iter().map(|span| span.start..span.end).collect();
    held.sort_by_key(|range| range.start);
    let (mut gaps, mut at) = (Vec::new(), 0);
    held.push(Range {
        start: bytes,
        end: bytes,
    });
    for range in held {
        if at < range.start {
            gaps.push(KeptSpan {
                start: at,
                end: range.start,
                score: 0.0,
                kind: SpanKind::Text,
            });
        }
        at = at.max(range.end);
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, end: u64, score: f32) -> KeptSpan {
        KeptSpan {
            start,
            end,
            score,
            kind: SpanKind::Sentence,
        }
    }

    fn ranges(spans: &[KeptSpan]) -> Vec<(u64, u64)> {
        spans.iter().map(|span| (span.start, span.end)).collect()
    }

    #[test]
    fn spans_belong_to_the_text_that_holds_them() {
        let spans = [span(0, 4, 1.0), span(8, 14, 1.0), span(20, 30, 1.0)];
        assert_eq!(ranges(&within(&spans, &(10..22))), [(0, 4), (10, 12)]);
        assert_eq!(ranges(&within(&spans, &(4..8))), []);
    }

    #[test]
    fn a_question_is_answered_when_its_best_passages_are_there() {
        let held = [
            Some(vec![span(0, 10, 1.0), span(10, 20, 1.0), span(50, 60, 1.0)]),
            None,
        ];
        let filler = span(90, 99, 0.1);
        let best = vec![span(5, 15, 3.0), span(50, 60, 2.0), span(0, 9, 1.5), filler];
        assert!(is_answered(&[best, Vec::new()], &held));
        assert!(!is_answered(
            &[vec![span(5, 15, 3.0), span(55, 61, 2.0)], Vec::new()],
            &held
        ));
        assert!(
            is_answered(&[Vec::new(), vec![span(5, 15, 3.0)]], &held),
            "it stands there whole"
        );
        assert!(is_answered(&[Vec::new(), Vec::new()], &held));
    }

    #[test]
    fn news_and_gaps_are_what_is_not_held() {
        let held = [span(10, 20, 1.0), span(0, 5, 1.0)];
        assert_eq!(
            ranges(&news(
                &[span(2, 4, 1.0), span(4, 6, 1.0), span(30, 31, 1.0)],
                &held
            )),
            [(4, 6), (30, 31)]
        );
        assert_eq!(ranges(&complement(&held, 25)), [(5, 10), (20, 25)]);
        assert_eq!(ranges(&complement(&[span(0, 25, 1.0)], 25)), []);
    }
}
