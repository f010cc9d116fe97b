//! A worker's answer, checked: nothing that a worker says about a document is used before it fits the document.

use liquid_proto::worker::v1 as wire;

use super::ExtractError;
use crate::pack::{Fact, KeptSpan, SpanKind, WorkerTiming};

/// A worker's own sentence is cut here: it goes to manifests.
const MAX_REASON_CHARS: usize = 200;

/// The evidence in a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Extraction {
    /// Spans in source order; they do not overlap and stand on character boundaries.
    pub spans: Vec<KeptSpan>,
    /// What a language model says about the document, where that was asked for, in source order of what it read.
    pub facts: Vec<Fact>,
    /// Facts that the worker left out because their quote is not in the document.
    pub facts_dropped: u32,
    /// The name of the engine that ran.
    pub tier: &'static str,
    /// The stable name of the reason for this engine, such as `as_asked`.
    pub tier_reason: String,
    /// Estimated share of the evidence in the spans; 0 when there is no estimate.
    pub estimated_recall: f64,
    /// Whether even this, the most that the budget allows, is estimated to hold less than its floor.
    pub below_floor: bool,
    /// Whether the question is in another language than the document, and no model of the worker reads both: the spans
    /// are no evidence for it.
    pub other_language: bool,
    /// Whether the worker, asked again, may answer better.
    pub provisional: bool,
    /// The time that the worker spent in each stage.
    pub timing: WorkerTiming,
    /// The worker, as `address:port`.
    pub worker: String,
}

impl Extraction {
    /// Checks an answer against the document that it is about.
    ///
    /// # Errors
    /// [`ExtractError::Invalid`] if a span or a quote is empty, out of bounds, or cuts a character, or spans are out of order.
    pub fn check(
        response: wire::ExtractResponse,
        document: &str,
        worker: &str,
    ) -> Result<Self, ExtractError> {
        let tier_reason = tier_reason(&response);
        let other_language = response.tier_reason_code() == wire::TierReason::OtherLanguage;
        let mut spans = Vec::with_capacity(response.spans.len());
        let mut end = 0;
        for span in response.spans {
            if span.start >= span.end || span.end > document.len() as u64 || span.start < end {
                return Err(invalid(worker, &span, "is empty, out of order or out of bounds"));
            }
            let boundary = |at: u64| usize::try_from(at).is_ok_and(|at| document.is_char_boundary(at));
            if !boundary(span.start) || !boundary(span.end) {
                return Err(invalid(worker, &span, "cuts a character"));
            }
            end = span.end;
            let score = if span.score.is_finite() { span.score } else { 0.0 };
            spans.push(KeptSpan {
                start: span.start,
                end: span.end,
                score,
                kind: kind(span.kind()),
            });
        }
        let facts = response
            .facts
            .iter()
            .map(|fact| check_fact(fact, document, worker));
        let facts = facts.collect::<Result<_, _>>()?;
        let tier = tier(wire::Tier::try_from(response.tier).unwrap_or_default());
        Ok(Self {
            spans,
            facts,
            facts_dropped: response.fact_counts.map_or(0, |counts| counts.dropped),
            tier,
            tier_reason,
            estimated_recall: Some(response.estimated_recall)
                .filter(|r| r.is_finite())
                .unwrap_or(0.0),
            below_floor: response.below_floor,
            other_language,
            provisional: response.provisional,
            timing: response.timing.map(timing).unwrap_or_default(),
            worker: worker.to_owned(),
        })
    }

    /// Estimates the bytes that the extraction takes in the cache.
    pub fn weight(&self) -> u64 {
        let fixed = size_of::<Self>() + self.tier_reason.len() + self.worker.len() + 128;
        let of_fact = |fact: &Fact| size_of::<Fact>() + fact.text.len();
        let facts: usize = self.facts.iter().map(of_fact).sum();
        (fixed + facts + self.spans.len() * size_of::<KeptSpan>()) as u64
    }
}

fn check_fact(fact: &wire::Fact, document: &str, worker: &str) -> Result<Fact, ExtractError> {
    let range = usize::try_from(fact.start)
        .ok()
        .zip(usize::try_from(fact.end).ok());
    let quote = range.and_then(|(start, end)| document.get(start..end));
    if quote.is_none_or(str::is_empty) {
        return Err(ExtractError::Invalid {
            worker: worker.to_owned(),
            message: format!("quote {}..{} is no part of the document", fact.start, fact.end),
        });
    }
    let confidence = Some(fact.confidence).filter(|confidence| confidence.is_finite());
    Ok(Fact {
        text: Fact::one_line(&fact.text),
        start: fact.start,
        end: fact.end,
        confidence: confidence.unwrap_or_default().clamp(0.0, 1.0),
        origin: origin(fact.origin()),
    })
}

fn origin(origin: wire::FactOrigin) -> &'static str {
    match origin {
        wire::FactOrigin::Unspecified => "unspecified",
        wire::FactOrigin::Constrained => "constrained",
        wire::FactOrigin::Strict => "strict",
        wire::FactOrigin::Repaired => "repaired",
        wire::FactOrigin::Picked => "picked",
        wire::FactOrigin::Evidence => "evidence",
    }
}

fn invalid(worker: &str, span: &wire::Span, what: &str) -> ExtractError {
    ExtractError::Invalid {
        worker: worker.to_owned(),
        message: format!("span {}..{} {what}", span.start, span.end),
    }
}

fn timing(timing: wire::Timing) -> WorkerTiming {
    WorkerTiming {
        queue_us: timing.queue_us,
        prepare_us: timing.prepare_us,
        score_us: timing.score_us,
        select_us: timing.select_us,
        total_us: timing.total_us,
    }
}

fn tier(tier: wire::Tier) -> &'static str {
    match tier {
        wire::Tier::Unspecified => "unspecified",
        wire::Tier::Lexical => "lexical",
        wire::Tier::Static => "static",
        wire::Tier::Encoder => "encoder",
        wire::Tier::Ranker => "ranker",
        wire::Tier::Decoder => "decoder",
    }
}

/// The reason's stable name; from a worker that has none yet, the sentence that it sent.
fn tier_reason(response: &wire::ExtractResponse) -> String {
    match response.tier_reason_code() {
        wire::TierReason::Unspecified => response.tier_reason.chars().take(MAX_REASON_CHARS).collect(),
        reason => reason.name().to_owned(),
    }
}

fn kind(kind: wire::SpanKind) -> SpanKind {
    match kind {
        wire::SpanKind::Unspecified => SpanKind::Text,
        wire::SpanKind::Sentence => SpanKind::Sentence,
        wire::SpanKind::Row => SpanKind::Row,
        wire::SpanKind::Header => SpanKind::Header,
        wire::SpanKind::Heading => SpanKind::Heading,
        wire::SpanKind::SpeakerTurn => SpanKind::SpeakerTurn,
        wire::SpanKind::ListItem => SpanKind::ListItem,
        wire::SpanKind::Code => SpanKind::Code,
        wire::SpanKind::JsonElement => SpanKind::JsonElement,
    }
}
