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
    /// one reads well.
    pub(super) fn parts_of(&self, spans: &[KeptSpan]) -> Vec<KeptSpan> {
        let mut parts: Vec<KeptSpan> = spans.iter().flat_map(|span| self.parts(span)).collect();
        parts.sort_by_key(|part| part.start);
        parts
    }

    /// Returns whether the hole between two parts costs no more than the mark behind it.
    fn touch(&self, one: &KeptSpan, next: &KeptSpan) -> bool {
        let hole = self.document.get(one.end as usize..next.start as usize);
        hole.is_some_and(|hole| tokens::estimate(hole) <= MARK)
    }

    fn tokens(&self, bytes: Range<u64>) -> f64 {
        let text = self.document.get(bytes.start as usize..bytes.end as usize);
        text.map_or(0, tokens::estimate) as f64
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

/// How many tokens a turn may be given of documents of earlier ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// Tokens that are left.
    pub(super) left: f64,
    /// Tokens by which the last stretch's best part may exceed them: a long one is not cut.
    pub(super) over: f64,
}

impl Allowance {
    fn pay(&mut self, cost: f64) -> bool {
        let pays = cost <= self.left;
        self.left -= if pays { cost } else { 0.0 };
        pays
    }

    fn pay_best(&mut self, cost: f64) -> bool {
        if self.pay(cost) {
            return true;
        }
        let exceeds = self.left > 0.0 && cost <= self.left + self.over;
        if exceeds {
            (self.left, self.over) = (0.0, 0.0);
        }
        exceeds
    }
}

/// Parts of a document that touch: what was found of one stretch of text.
struct Stretch<'p, 'd> {
    /// Its position among the documents.
    document: usize,
    missing: &'p Missing<'d>,
    best: &'p KeptSpan,
    /// The parts on both sides of the best one, in order.
    before: &'p [KeptSpan],
    behind: &'p [KeptSpan],
}

impl<'p, 'd> Stretch<'p, 'd> {
    fn new(document: usize, missing: &'p Missing<'d>, parts: &'p [KeptSpan]) -> Option<Self> {
        let ranked = parts.iter().enumerate().rev();
        let (at, best) = ranked.max_by(|(_, one), (_, other)| one.score.total_cmp(&other.score))?;
        Some(Self {
            document,
            missing,
            best,
            before: parts.get(..at)?,
            behind: parts.get(at + 1..)?,
        })
    }

    /// Takes the best part and its neighbours as one span, the better side first, until the next one costs more than is
    /// left.
    fn take(&self, allowance: &mut Allowance) -> Option<KeptSpan> {
        let mut taken = *self.best;
        let cost = self.missing.tokens(taken.start..taken.end);
        if !allowance.pay_best(cost + MARK as f64) {
            return None;
        }
        let (mut before, mut behind) = (self.before, self.behind);
        loop {
            // The span with the neighbour in it, and the bytes that come with that.
            let (wider, new) = match (before.split_last(), behind.split_first()) {
                (Some((one, rest)), other) if other.is_none_or(|(other, _)| one.score >= other.score) => {
                    before = rest;
                    let KeptSpan { end, score, .. } = taken;
                    (KeptSpan { end, score, ..*one }, one.start..taken.start)
                }
                (_, Some((other, rest))) => {
                    behind = rest;
                    let end = other.end;
                    (KeptSpan { end, ..taken }, taken.end..end)
                }
                _ => return Some(taken),
            };
            if !allowance.pay(self.missing.tokens(new)) {
                return Some(taken);
            }
            taken = wider;
        }
    }
}

/// Takes the best of the parts that are missing of each document, as many as the allowance is enough for with their
/// marks: stretch by stretch, the one with the best part first, each whole where it fits. So a passage between two good
/// ones comes with them, as it does in a pack. What is taken is in order, and joined where it touches.
pub(super) fn take_best(
    parts: &[Vec<KeptSpan>],
    documents: &[Option<Missing<'_>>],
    mut allowance: Allowance,
) -> Vec<Vec<KeptSpan>> {
    let mut stretches = Vec::new();
    for (document, (parts, missing)) in parts.iter().zip(documents).enumerate() {
        let Some(missing) = missing else { continue };
        let runs = parts.chunk_by(|one, next| missing.touch(one, next));
        stretches.extend(runs.filter_map(|parts| Stretch::new(document, missing, parts)));
    }
    stretches.sort_by(|one, other| other.best.score.total_cmp(&one.best.score));
    let mut best: Vec<Vec<KeptSpan>> = vec![Vec::new(); parts.len()];
    for stretch in stretches {
        if let Some(spans) = best.get_mut(stretch.document) {
            spans.extend(stretch.take(&mut allowance));
        }
    }
    for spans in &mut best {
        spans.sort_by_key(|span| span.start);
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        let missing = [Some(Missing::new(
            &document,
            &[span(100, 200, 1.0), span(300, 310, 1.0)],
        ))];
        let allowance = Allowance {
            left: f64::INFINITY,
            over: 0.0,
        };
        let parts = |spans: &[KeptSpan]| {
            let parts = missing.iter().flatten().map(|missing| missing.parts_of(spans));
            ranges(&take_best(&parts.collect::<Vec<_>>(), &missing, allowance)[0])
        };
        assert_eq!(parts(&[span(120, 180, 1.0)]), []);
        assert_eq!(parts(&[span(90, 150, 1.0)]), [(90, 99)]);
        assert_eq!(parts(&[span(50, 250, 1.0)]), [(50, 99), (200, 249)]);
        assert_eq!(
            parts(&[span(250, 350, 1.0)]),
            [(250, 349)],
            "a small hole is filled"
        );
    }

    /// Takes of two documents, of which nothing is held.
    fn taken(parts: [Vec<KeptSpan>; 2], left: f64) -> Vec<Vec<(u64, u64)>> {
        taken_with(parts, Allowance { left, over: 0.0 })
    }

    fn taken_with(parts: [Vec<KeptSpan>; 2], allowance: Allowance) -> Vec<Vec<(u64, u64)>> {
        let document = document();
        let documents = [
            Some(Missing::new(&document, &[])),
            Some(Missing::new(&document, &[])),
        ];
        let taken = take_best(&parts, &documents, allowance);
        taken.iter().map(|spans| ranges(spans)).collect()
    }

    fn tokens_of(bytes: usize) -> f64 {
        tokens::estimate(&document()[..bytes]) as f64
    }

    #[test]
    fn the_best_spans_are_taken_first() {
        let all = || {
            [
                vec![span(0, 50, 1.0), span(200, 250, 3.0)],
                vec![span(0, 50, 2.0)],
            ]
        };
        let each = tokens_of(50) + MARK as f64;
        assert_eq!(taken(all(), 3.0 * each), all().map(|spans| ranges(&spans)));
        assert_eq!(taken(all(), 2.5 * each), [vec![(200, 250)], vec![(0, 50)]]);
        assert_eq!(taken(all(), 1.0 * each), [vec![(200, 250)], Vec::new()]);
        assert_eq!(taken(all(), 0.0), [Vec::new(), Vec::new()]);
    }

    #[test]
    fn a_long_part_may_exceed_what_is_left_and_is_then_the_last() {
        let parts = || {
            [
                vec![span(0, 100, 2.0), span(200, 300, 3.0)],
                vec![span(0, 50, 1.0)],
            ]
        };
        let each = tokens_of(100) + MARK as f64;
        let over = |left, over| taken_with(parts(), Allowance { left, over });
        let both = [vec![(0, 100), (200, 300)], Vec::new()];
        assert_eq!(over(1.9 * each, 0.2 * each), both);
        assert_eq!(over(1.9 * each, 0.0), [vec![(200, 300)], vec![(0, 50)]]);
        assert_eq!(over(1.0 * each, 9.0 * each), [vec![(200, 300)], Vec::new()]);
        assert_eq!(over(-1.0, 9.0 * each), [Vec::new(), Vec::new()]);
    }

    #[test]
    fn what_was_found_between_two_good_passages_comes_with_them() {
        let talk = || {
            let stretch = [(0, 50, 2.9), (50, 100, 0.1), (100, 150, 3.0), (150, 200, 1.0)];
            let alone = span(300, 350, 2.0);
            let stretch = stretch.map(|(start, end, score)| span(start, end, score));
            [stretch.to_vec(), vec![alone]]
        };
        let each = |parts: usize| tokens_of(50 * parts) + MARK as f64 + 1.0;
        assert_eq!(taken(talk(), each(4)), [vec![(0, 200)], Vec::new()]);
        assert_eq!(
            taken(talk(), each(4) + each(1)),
            [vec![(0, 200)], vec![(300, 350)]]
        );
        assert_eq!(
            taken(talk(), each(2)),
            [vec![(100, 200)], Vec::new()],
            "from the best part on, to the better side first"
        );
        assert_eq!(taken(talk(), MARK as f64), [Vec::new(), Vec::new()]);
    }

    proptest! {
        #[test]
        fn what_is_taken_costs_no_more_than_it_may_and_stays_in_order(
            lengths in prop::collection::vec((1_u64..90, 0_u64..90, -3.0_f32..9.0), 1..40),
            most in 0.0_f64..400.0,
        ) {
            let document = "a word, and another one. ".repeat(400);
            let mut at = 0;
            let mut parts = Vec::new();
            for (length, hole, score) in lengths {
                parts.push(span(at, at + length, score));
                at += length + hole;
            }
            let missing = [Some(Missing::new(&document, &[]))];
            let allowance = Allowance { left: most, over: 0.0 };
            let taken = take_best(std::slice::from_ref(&parts), &missing, allowance).remove(0);
            let cost: f64 = taken
                .iter()
                .map(|span| tokens::estimate(&document[span.start as usize..span.end as usize]) as f64 + MARK as f64)
                .sum();
            // Tokens are estimated piece by piece.
            prop_assert!(cost <= most + parts.len() as f64, "{cost} of {most}");
            prop_assert!(taken.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert!(taken.iter().all(|span| parts.iter().any(|part| part.start == span.start)));
        }
    }
}
