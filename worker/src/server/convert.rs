//! Between the contract's messages and the engine's types.

use std::time::Duration;

use liquid_process::Invalid;
use liquid_proto::worker::v1 as proto;
use tonic::Status;

use super::status::invalid;
use crate::document::SpanKind;
use crate::engine::{Ask, Asks, AutoBudget, Budget, Fact, FactOrigin, Facts, Text, Texts, Tier};
use crate::runtime::{JobAnswer, Load};

/// Durations that only the server knows.
pub(super) struct ServerTimes {
    /// Time from the header to the document's last byte.
    pub(super) receive: Duration,
    /// Time from the document's last byte to the answer.
    pub(super) total: Duration,
}

/// Reads the budget of a header, with the defaults filled in.
pub(super) fn parse_budget(budget: Option<proto::Budget>) -> Result<Budget, Status> {
    use proto::budget::Limit;
    let Some(limit) = budget.and_then(|budget| budget.limit) else {
        let remedy = "is not set; set ratio, max_tokens, max_words or auto";
        return Err(invalid("budget", remedy));
    };
    let budget = match limit {
        Limit::Ratio(ratio) => Budget::ratio(ratio),
        Limit::MaxTokens(tokens) => Budget::max_tokens(tokens),
        Limit::MaxWords(words) => Budget::max_words(words),
        Limit::Auto(auto) => parse_auto_budget(auto),
    };
    budget.map_err(|error| refuse(&error))
}

/// Reads an automatic budget, in which 0 is the default.
fn parse_auto_budget(asked: proto::AutoBudget) -> Result<Budget, Invalid> {
    let default = AutoBudget::default();
    let or = |value: f64, default: f64| if value == 0.0 { default } else { value };
    let min_ratio = or(asked.min_ratio, default.min_ratio().get());
    let max_ratio = or(asked.max_ratio, default.max_ratio().get().max(min_ratio));
    AutoBudget::new(or(asked.floor, default.floor()), min_ratio, max_ratio)
        .map(Budget::Auto)
        .map_err(|mut error| {
            error.remedy.push_str(", or 0 for the default");
            error
        })
}

/// Reads all that a header asks: its asks if there are any, else its question.
pub(super) fn parse_asks(header: &proto::ExtractHeader) -> Result<Asks, Status> {
    if header.asks.is_empty() {
        return Ok(Asks::from_question(header.question.as_str()));
    }
    let parse = |(number, ask): (usize, &proto::Ask)| {
        let weight = if ask.weight == 0.0 { 1.0 } else { ask.weight };
        Ask::new(ask.text.as_str(), weight).map_err(|mut error| {
            if error.field == "weight" {
                error.remedy.push_str(", or 0 for 1");
            }
            refuse(&error.within(&format!("header.asks[{number}]")))
        })
    };
    let asks = header.asks.iter().enumerate().map(parse);
    asks.collect::<Result<_, Status>>().map(Asks::new)
}

/// Reads the texts of a header, which the document is made of.
pub(super) fn parse_texts(header: &proto::ExtractHeader, document: &str) -> Result<Texts, Status> {
    let texts = header.texts.iter().map(|text| Text {
        bytes: text.bytes,
        whole: text.whole,
    });
    Texts::new(document, texts.collect()).map_err(|error| refuse(&error.within("header")))
}

fn refuse(error: &Invalid) -> Status {
    invalid(&error.field, format!("is {}; {}", error.value, error.remedy))
}

/// Reads the tier of a header.
pub(super) fn parse_tier(tier: i32) -> Result<Option<Tier>, Status> {
    match proto::Tier::try_from(tier) {
        Ok(proto::Tier::Unspecified) => Ok(None),
        Ok(proto::Tier::Lexical) => Ok(Some(Tier::Lexical)),
        Ok(proto::Tier::Static) => Ok(Some(Tier::Static)),
        Ok(proto::Tier::Encoder) => Ok(Some(Tier::Encoder)),
        Ok(proto::Tier::Ranker) => Ok(Some(Tier::Ranker)),
        Ok(proto::Tier::Decoder) => Ok(Some(Tier::Decoder)),
        Err(_) => Err(invalid(
            "tier",
            format!("is {tier}; send one that the contract names, or 0"),
        )),
    }
}

/// Converts a tier to the contract's.
pub(super) fn tier_message(tier: Tier) -> proto::Tier {
    match tier {
        Tier::Lexical => proto::Tier::Lexical,
        Tier::Static => proto::Tier::Static,
        Tier::Encoder => proto::Tier::Encoder,
        Tier::Ranker => proto::Tier::Ranker,
        Tier::Decoder => proto::Tier::Decoder,
    }
}

fn kind_message(kind: SpanKind) -> proto::SpanKind {
    match kind {
        SpanKind::Sentence => proto::SpanKind::Sentence,
        SpanKind::Row => proto::SpanKind::Row,
        SpanKind::Header => proto::SpanKind::Header,
        SpanKind::Heading => proto::SpanKind::Heading,
        SpanKind::SpeakerTurn => proto::SpanKind::SpeakerTurn,
        SpanKind::ListItem => proto::SpanKind::ListItem,
        SpanKind::Code => proto::SpanKind::Code,
        SpanKind::JsonElement => proto::SpanKind::JsonElement,
    }
}

/// Converts the load to the contract's message.
pub(super) fn load_message(load: Load) -> proto::Load {
    proto::Load {
        queue_depth: load.queue_depth,
        queue_limit: load.queue_limit,
        tokens_in_flight: load.tokens_in_flight,
        requests_in_flight: load.requests_in_flight,
    }
}

fn fact_message(fact: &Fact) -> proto::Fact {
    let origin = match fact.origin {
        FactOrigin::Constrained => proto::FactOrigin::Constrained,
        FactOrigin::Strict => proto::FactOrigin::Strict,
        FactOrigin::Repaired => proto::FactOrigin::Repaired,
        FactOrigin::Picked => proto::FactOrigin::Picked,
        FactOrigin::Evidence => proto::FactOrigin::Evidence,
    };
    proto::Fact {
        text: fact.text.clone(),
        start: fact.quote.start as u64,
        end: fact.quote.end as u64,
        confidence: fact.confidence,
        ask: fact.ask.to_string(),
        passage_start: fact.passage.start as u64,
        passage_end: fact.passage.end as u64,
        origin: origin.into(),
    }
}

/// Says what facts took; of a remembered answer that was not now.
fn fact_counts(facts: &Facts, cached: bool) -> proto::FactCounts {
    let now = |count: u64| if cached { 0 } else { count };
    proto::FactCounts {
        passages: facts.passages as u32,
        passages_wanted: facts.wanted as u32,
        dropped: facts.dropped as u32,
        read_tokens: now(facts.read_tokens as u64),
        written_tokens: now(facts.written_tokens as u64),
        facts_us: now(to_micros(facts.time)),
    }
}

fn to_micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

/// Makes the answer to `Extract`.
pub(super) fn response_message(
    answer: &JobAnswer,
    times: &ServerTimes,
    load: Load,
) -> proto::ExtractResponse {
    let extraction = &answer.extraction;
    let facts = extraction.facts.as_ref();
    let span = |span: &crate::engine::Span| proto::Span {
        start: span.start as u64,
        end: span.end as u64,
        score: span.score,
        kind: kind_message(span.kind).into(),
    };
    // What a remembered answer once took is not this request's time.
    let once = |time: Duration| if answer.cached { 0 } else { to_micros(time) };
    let timing = proto::Timing {
        receive_us: to_micros(times.receive),
        queue_us: to_micros(answer.queue),
        prepare_us: once(extraction.timing.prepare),
        score_us: once(extraction.timing.score),
        select_us: once(extraction.timing.select),
        total_us: to_micros(times.total),
    };
    proto::ExtractResponse {
        spans: extraction.spans.iter().map(span).collect(),
        document_units: extraction.counts.document_units,
        kept_units: extraction.counts.kept_units,
        document_words: extraction.counts.document_words,
        kept_words: extraction.counts.kept_words,
        document_tokens: extraction.counts.document_tokens,
        kept_tokens: extraction.counts.kept_tokens,
        tier: tier_message(extraction.tier).into(),
        tier_reason: extraction.tier_reason.explanation().to_owned(),
        tier_reason_code: extraction.tier_reason.into(),
        estimated_recall: extraction.estimated_recall.unwrap_or(0.0),
        below_floor: extraction.below_floor,
        timing: Some(timing),
        load: Some(load_message(load)),
        cached: answer.cached,
        encoded_tokens: if answer.cached {
            0
        } else {
            extraction.encoded_tokens
        },
        provisional: answer.provisional,
        facts: facts
            .into_iter()
            .flat_map(|facts| facts.facts.iter().map(fact_message))
            .collect(),
        fact_counts: facts.map(|facts| fact_counts(facts, answer.cached)),
    }
}
