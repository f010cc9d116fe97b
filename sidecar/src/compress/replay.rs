//! Documents in earlier turns: the identical pack again, if it is still known and holds the evidence for what
//! is asked now; else the document as it is.
//!
//! A client sends the whole conversation each time. A new pack for an old turn would change the prefix that
//! the provider has cached; the old pack for a new question might lack its answer. So the new question is
//! asked too, and its best passages must be in the old pack.

use std::sync::Arc;

use crate::api::Reason;
use crate::extract::{Client, ExtractError, Extraction, Query};
use crate::pack::KeptSpan;
use crate::policy::{Need, assess_need_of};

/// The number of best passages for the new question that must be in the old pack.
const BEST: usize = 3;

/// Why a pack cannot be replayed.
pub(super) enum ReplayError {
    /// The document stays, for this reason.
    Pass(Reason),
    /// The workers gave no answer to the new question.
    Failed(ExtractError),
}

/// Returns the extraction behind the earlier turn's pack, if it may be used again. `ask` is what was asked
/// then.
pub(super) async fn replay(
    client: &Client,
    query: &Query,
    follow_up: &str,
) -> Result<Arc<Extraction>, ReplayError> {
    let Some(earlier) = client.cached(&query.key()) else {
        return Err(ReplayError::Pass(Reason::EarlierTurn));
    };
    let follow_up = follow_up.trim();
    if follow_up.is_empty() || follow_up == query.question {
        return Ok(earlier);
    }
    if assess_need_of(follow_up, &query.document) != Need::Evidence {
        return Err(ReplayError::Pass(Reason::FollowUp));
    }
    let query = Query {
        question: follow_up.to_owned(),
        ..query.clone()
    };
    let now = client.extract(query).await.map_err(ReplayError::Failed)?;
    if holds(&earlier.spans, &now.extraction.spans) {
        Ok(earlier)
    } else {
        Err(ReplayError::Pass(Reason::FollowUp))
    }
}

/// Returns true if the best of `wanted` are within `kept`.
fn holds(kept: &[KeptSpan], wanted: &[KeptSpan]) -> bool {
    let mut best: Vec<_> = wanted.iter().collect();
    best.sort_by(|a, b| b.score.total_cmp(&a.score));
    best.truncate(BEST);
    !best.is_empty()
        && best.iter().all(|span| {
            let covered: u64 = kept
                .iter()
                .map(|kept| kept.end.min(span.end).saturating_sub(kept.start.max(span.start)))
                .sum();
            covered == span.end - span.start
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::SpanKind;

    fn span(start: u64, end: u64, score: f32) -> KeptSpan {
        KeptSpan {
            start,
            end,
            score,
            kind: SpanKind::Sentence,
        }
    }

    #[test]
    fn holds_when_the_best_passages_are_there() {
        let kept = [span(0, 10, 1.0), span(10, 20, 1.0), span(50, 60, 1.0)];
        let filler = span(90, 99, 0.1);
        assert!(holds(
            &kept,
            &[span(5, 15, 3.0), span(50, 60, 2.0), span(0, 9, 1.5), filler]
        ));
        assert!(!holds(&kept, &[span(5, 15, 3.0), span(55, 61, 2.0)]));
        assert!(!holds(&kept, &[]));
    }
}
