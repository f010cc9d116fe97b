//! What a later turn is given of documents that were packed before it: which of the evidence is new.
//!
//! A client sends the whole conversation each time. What stood in a call before stands in every later one, the same
//! bytes, since a provider has cached it; what a later question needs beyond that is added to its own turn.

use std::ops::Range;

use crate::pack::{KeptSpan, MARK, SpanKind};
use crate::policy::tokens;

/// So much of what was found for a question must be there already, by weight, or further excerpts are added.
const SHARE: f32 = 0.8;

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

/// What of a document neither its pack nor a turn has.
#[derive(Debug)]
pub(super) struct Missing<'d> {
    document: &'d str,
    /// In order, disjoint, each with something to read in it.
    gaps: Vec<KeptSpan>,
}

impl<'d> Missing<'d> {
    /// Finds what is missing of a document of which `held` is held.
    pub(super) fn new(document: &'d str, held: &[KeptSpan]) -> Self {
        let mut held: Vec<Range<u64>> = held.iter().map(|span| span.start..span.end).collect();
        held.sort_by_key(|range| range.start);
        let end = document.len() as u64;
        held.push(Range { start: end, end });
        let mut missing = Self {
            document,
            gaps: Vec::new(),
        };
        let mut at = 0;
        for range in held {
            let gap = KeptSpan {
                start: at,
                end: range.start,
                score: 0.0,
                kind: SpanKind::Text,
            };
            let gap = missing.trim(gap);
            missing.gaps.extend(gap);
            at = at.max(range.end);
        }
        missing
    }

    /// Returns all that is missing.
    pub(super) fn all(&self) -> &[KeptSpan] {
        &self.gaps
    }

    /// Returns the missing parts of spans, in order. Spans end where sentences, rows and the like do, so what is left of
    /// one reads well. A hole between two parts that costs no more than the mark behind it is filled.
    pub(super) fn parts_of(&self, spans: &[KeptSpan]) -> Vec<KeptSpan> {
        let mut parts: Vec<KeptSpan> = spans.iter().flat_map(|span| self.parts(span)).collect();
        parts.sort_by_key(|part| part.start);
        let mut joined: Vec<KeptSpan> = Vec::new();
        for part in parts {
            let hole = |last: &KeptSpan| self.document.get(last.end as usize..part.start as usize);
            match joined.last_mut() {
                Some(last) if hole(last).is_some_and(|hole| tokens::estimate(hole) <= MARK) => {
                    last.end = part.end;
                    last.score = last.score.max(part.score);
                }
                _ => joined.push(part),
            }
        }
        joined
    }

    fn parts(&self, span: &KeptSpan) -> impl Iterator<Item = KeptSpan> {
        let from = self.gaps.partition_point(|gap| gap.end <= span.start);
        let gaps = self.gaps.iter().skip(from).take_while(|gap| gap.start < span.end);
        gaps.filter_map(|gap| {
            self.trim(KeptSpan {
                start: gap.start.max(span.start),
                end: gap.end.min(span.end),
                ..*span
            })
        })
    }

    /// Takes white space off a span's ends. Returns `None` where nothing is left to read.
    fn trim(&self, span: KeptSpan) -> Option<KeptSpan> {
        let text = self.document.get(span.start as usize..span.end as usize)?;
        let start = span.start + (text.len() - text.trim_start().len()) as u64;
        let trimmed = KeptSpan {
            start,
            end: start + text.trim().len() as u64,
            ..span
        };
        text.contains(char::is_alphanumeric).then_some(trimmed)
    }
}

/// Returns whether most of what was found in the documents is held by the call already, each passage weighted by the
/// exponential of its score. A document of which nothing is missing by a pack stands there whole.
pub(super) fn is_answered(found: &[Vec<KeptSpan>], missing: &[Option<Missing<'_>>]) -> bool {
    let spans = found.iter().flatten();
    let highest = spans.map(|span| span.score).fold(f32::MIN, f32::max);
    let (mut held, mut all) = (0.0, 0.0);
    for (spans, missing) in found.iter().zip(missing) {
        for span in spans {
            let weight = (span.score - highest).exp();
            let is_held = missing
                .as_ref()
                .is_none_or(|missing| missing.parts(span).next().is_none());
            all += weight;
            held += if is_held { weight } else { 0.0 };
        }
    }
    held >= SHARE * all
}

/// Takes the best spans of all documents, as many as `most` tokens are enough for with their marks. They stay in order.
pub(super) fn take_best(spans: &mut [Vec<KeptSpan>], documents: &[Option<Missing<'_>>], most: f64) {
    let mut ranked: Vec<(usize, KeptSpan)> = Vec::new();
    for (document, spans) in spans.iter_mut().enumerate() {
        ranked.extend(spans.drain(..).map(|span| (document, span)));
    }
    ranked.sort_by(|a, b| b.1.score.total_cmp(&a.1.score));
    let mut left = most;
    for (document, span) in ranked {
        let text = documents.get(document).and_then(Option::as_ref);
        let text = text.and_then(|missing| missing.document.get(span.start as usize..span.end as usize));
        left -= (text.map_or(0, tokens::estimate) + MARK) as f64;
        if left < 0.0 {
            break;
        }
        if let Some(spans) = spans.get_mut(document) {
            spans.push(span);
        }
    }
    for spans in spans {
        spans.sort_by_key(|span| span.start);
    }
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

    /// Hundred words of four letters.
    fn document() -> String {
        "word ".repeat(100)
    }

    #[test]
    fn spans_belong_to_the_text_that_holds_them() {
        let spans = [span(0, 4, 1.0), span(8, 14, 1.0), span(20, 30, 1.0)];
        assert_eq!(ranges(&within(&spans, &(10..22))), [(0, 4), (10, 12)]);
        assert_eq!(ranges(&within(&spans, &(4..8))), []);
    }

    #[test]
    fn a_question_is_answered_when_its_best_passages_are_there() {
        let document = document();
        let held = [span(0, 10, 1.0), span(10, 20, 1.0), span(50, 60, 1.0)];
        let missing = [Some(Missing::new(&document, &held)), None];
        let filler = span(90, 99, 0.1);
        let best = vec![span(5, 15, 3.0), span(50, 60, 2.0), span(0, 9, 1.5), filler];
        assert!(is_answered(&[best, Vec::new()], &missing));
        let new = vec![span(5, 15, 3.0), span(55, 65, 2.0)];
        assert!(!is_answered(&[new, Vec::new()], &missing));
        let whole = vec![span(5, 15, 3.0)];
        assert!(
            is_answered(&[Vec::new(), whole], &missing),
            "it stands there whole"
        );
        assert!(is_answered(&[Vec::new(), Vec::new()], &missing));
    }

    #[test]
    fn missing_is_what_is_not_held() {
        let document = document();
        let missing = |held: &[KeptSpan]| ranges(Missing::new(&document, held).all());
        assert_eq!(
            missing(&[span(100, 200, 1.0), span(0, 50, 1.0)]),
            [(50, 99), (200, 499)]
        );
        assert_eq!(missing(&[span(0, 50, 1.0), span(40, 495, 1.0)]), [(495, 499)]);
        assert_eq!(
            missing(&[span(0, 499, 1.0)]),
            [],
            "white space alone is not missing"
        );
    }

    #[test]
    fn of_spans_the_missing_parts_are_new() {
        let document = document();
        let missing = Missing::new(&document, &[span(100, 200, 1.0), span(300, 310, 1.0)]);
        let parts = |spans: &[KeptSpan]| ranges(&missing.parts_of(spans));
        assert_eq!(parts(&[span(120, 180, 1.0)]), []);
        assert_eq!(parts(&[span(90, 150, 1.0)]), [(90, 99)]);
        assert_eq!(parts(&[span(50, 250, 1.0)]), [(50, 99), (200, 249)]);
        assert_eq!(
            parts(&[span(250, 350, 1.0)]),
            [(250, 349)],
            "a small hole is filled"
        );
    }

    #[test]
    fn the_best_spans_are_taken_first() {
        let document = document();
        let documents = [
            Some(Missing::new(&document, &[])),
            Some(Missing::new(&document, &[])),
        ];
        let all = || {
            [
                vec![span(0, 50, 1.0), span(100, 150, 3.0)],
                vec![span(0, 50, 2.0)],
            ]
        };
        let taken = |most| {
            let mut spans = all();
            take_best(&mut spans, &documents, most);
            spans.map(|spans| ranges(&spans))
        };
        let each = (tokens::estimate(&document[..50]) + MARK) as f64;
        assert_eq!(taken(3.0 * each), all().map(|spans| ranges(&spans)));
        assert_eq!(taken(2.5 * each), [vec![(100, 150)], vec![(0, 50)]]);
        assert_eq!(taken(1.0 * each), [vec![(100, 150)], Vec::new()]);
        assert_eq!(taken(0.0), [Vec::new(), Vec::new()]);
    }
}
