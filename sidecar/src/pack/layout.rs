//! A document cut into what is kept of it and what is not, for those who show a pack laid over its text.

use std::ops::Range;

use serde::Serialize;

use super::manifest::{KeptSpan, PackRecord};

/// What became of a stretch of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StretchKind {
    /// It is in the pack.
    Kept,
    /// A later turn was given it.
    Further,
    /// It is left out.
    Dropped,
}

/// A stretch of a document, all of which has one fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// What became of it.
    pub kind: StretchKind,
    /// Its bytes of the document.
    pub range: Range<usize>,
}

/// Cuts a document into what became of its bytes. The stretches are in order and cover all of it; white space between
/// two stretches of one kind is a part of them.
///
/// Spans that are not on character boundaries of the document count as dropped.
pub fn lay_out(document: &str, record: &PackRecord) -> Vec<Stretch> {
    let kept = record.kept.iter().map(|span| (span, StretchKind::Kept));
    let further = record.further.iter().map(|span| (span, StretchKind::Further));
    let mut held: Vec<(&KeptSpan, StretchKind)> = kept.chain(further).collect();
    held.sort_by_key(|(span, _)| span.start);
    let (mut stretches, mut at) = (Vec::new(), 0);
    for (span, kind) in held {
        let range = (span.start as usize).max(at)..span.end as usize;
        if document.get(range.clone()).is_none_or(str::is_empty) {
            continue;
        }
        push(&mut stretches, document, StretchKind::Dropped, at..range.start);
        at = range.end;
        push(&mut stretches, document, kind, range);
    }
    push(&mut stretches, document, StretchKind::Dropped, at..document.len());
    stretches
}

/// Appends a stretch, or lengthens the last one where nothing but white space lies between them.
fn push(stretches: &mut Vec<Stretch>, document: &str, kind: StretchKind, range: Range<usize>) {
    if range.is_empty() {
        return;
    }
    let is_blank = |range: &Range<usize>| {
        document
            .get(range.clone())
            .is_some_and(|text| text.trim().is_empty())
    };
    if let [.., before, between] = stretches.as_mut_slice()
        && between.kind == StretchKind::Dropped
        && before.kind == kind
        && is_blank(&between.range)
    {
        before.range.end = range.end;
        stretches.pop();
        return;
    }
    match stretches.last_mut() {
        Some(last) if last.kind == kind => last.range.end = range.end,
        _ => stretches.push(Stretch { kind, range }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::pack::{PackSize, SourceDocument, SpanKind, WorkerTiming};

    fn record(kept: &[(u64, u64)], further: &[(u64, u64)]) -> PackRecord {
        let spans = |ranges: &[(u64, u64)]| {
            let span = |&(start, end): &(u64, u64)| KeptSpan {
                start,
                end,
                score: 1.0,
                kind: SpanKind::Sentence,
            };
            ranges.iter().map(span).collect()
        };
        PackRecord {
            site: 0,
            source: SourceDocument {
                sha256: String::new(),
                start: 0,
                bytes: 0,
                tokens: 0,
            },
            question_sha256: String::new(),
            pack: PackSize {
                sha256: String::new(),
                bytes: 0,
                tokens: 0,
                kept_bytes: 0,
            },
            kept: spans(kept),
            dropped: Vec::new(),
            further: spans(further),
            facts: Vec::new(),
            facts_dropped: 0,
            reason: String::new(),
            tier: String::new(),
            tier_reason: String::new(),
            estimated_recall: 0.0,
            worker: String::new(),
            timing: WorkerTiming::default(),
        }
    }

    /// The stretches as text, each behind the first letter of its kind.
    fn show(document: &str, record: &PackRecord) -> Vec<String> {
        let stretches = lay_out(document, record);
        let letter = |kind| match kind {
            StretchKind::Kept => 'k',
            StretchKind::Further => 'f',
            StretchKind::Dropped => 'd',
        };
        let shown = stretches
            .iter()
            .map(|stretch| format!("{}:{}", letter(stretch.kind), &document[stretch.range.clone()]));
        shown.collect()
    }

    #[test]
    fn spans_with_white_space_between_them_are_one_stretch() {
        let record = record(&[(0, 3), (4, 7), (12, 15)], &[(8, 11)]);
        assert_eq!(
            show("One two 333 444 five", &record),
            ["k:One two", "d: ", "f:333", "d: ", "k:444", "d: five"]
        );
    }

    #[test]
    fn spans_that_are_none_of_the_document_count_as_dropped() {
        let record = record(&[(1, 2), (4, 90)], &[(3, 2)]);
        assert_eq!(show("für", &record), ["d:für"]);
        assert_eq!(show("", &record), [] as [&str; 0]);
    }

    proptest! {
        #[test]
        fn stretches_cover_a_document_in_order(
            document in "[a ü\n]{0,40}",
            kept in prop::collection::vec((0_u64..45, 0_u64..45), 0..5),
            further in prop::collection::vec((0_u64..45, 0_u64..45), 0..5),
        ) {
            let stretches = lay_out(&document, &record(&kept, &further));
            let mut at = 0;
            for stretch in &stretches {
                prop_assert_eq!(stretch.range.start, at);
                prop_assert!(document.get(stretch.range.clone()).is_some_and(|text| !text.is_empty()));
                at = stretch.range.end;
            }
            prop_assert_eq!(at, document.len());
            prop_assert!(stretches.windows(2).all(|pair| pair[0].kind != pair[1].kind));
        }
    }
}
