//! `liquid-worker extract --tier decoder`: evidence, and facts that a language model writes about it.

use std::time::Instant;

use serde_json::{Value, json};

use super::CliError;
use crate::config::Config;
use crate::engine::{Asks, Budget, Extraction, Fact, Texts};
use crate::runtime::{Job, JobError, Runtime};
use crate::tier::Tier;

/// What is asked about a document, and how much of it may be kept.
pub(super) struct Question {
    pub(super) document: String,
    pub(super) asks: Asks,
    pub(super) budget: Budget,
}

/// Finds evidence and facts with the models of the configuration.
pub(super) fn extract(config: &Config, question: &Question) -> Result<(Extraction, f64), CliError> {
    if config.decoder.folder.is_none() {
        return Err(CliError::NoDecoder);
    }
    let threads = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::System)?;
    let runtime = Runtime::start(config)?;
    let started = Instant::now();
    let job = Job {
        document: question.document.clone(),
        sha256: [0; 32],
        texts: Texts::default(),
        asks: question.asks.clone(),
        budget: question.budget,
        tier: Some(Tier::Decoder),
        deadline: None,
        reservation: runtime.reserve(),
    };
    let answer = threads.block_on(runtime.extract(job));
    let answer = answer.map_err(|error: JobError| CliError::Job(error))?;
    let took = started.elapsed().as_secs_f64() * 1000.0;
    Ok((Extraction::clone(&answer.extraction), took))
}

pub(super) fn format_for_people(document: &str, extraction: &Extraction) -> String {
    let Some(facts) = &extraction.facts else {
        return format!("no facts: {}\n", extraction.tier_reason.explanation());
    };
    let mut text = String::new();
    for fact in &facts.facts {
        let quote = document.get(fact.quote.clone()).unwrap_or_default();
        text.push_str(&format!(
            "{}\n  [{}..{}] {} {:.2}\n  \"{quote}\"\n\n",
            fact.text,
            fact.quote.start,
            fact.quote.end,
            fact.origin.name(),
            fact.confidence,
        ));
    }
    text.push_str(&format!(
        "{} facts of {} passages (of {}), {} left out; {} tokens read, {} written; {:.0} ms\n",
        facts.facts.len(),
        facts.passages,
        facts.wanted,
        facts.dropped,
        facts.read_tokens,
        facts.written_tokens,
        facts.time.as_secs_f64() * 1000.0,
    ));
    text
}

/// Returns the facts, and what they took, as fields of a JSON object.
pub(super) fn to_json(document: &str, extraction: &Extraction) -> Value {
    let fact = |fact: &Fact| {
        json!({
            "fact": fact.text,
            "quote": document.get(fact.quote.clone()),
            "start": fact.quote.start,
            "end": fact.quote.end,
            "confidence": fact.confidence,
            "ask": fact.ask,
            "passage": {"start": fact.passage.start, "end": fact.passage.end},
            "origin": fact.origin.name(),
        })
    };
    let facts = extraction.facts.as_ref();
    json!({
        "facts": facts.iter().flat_map(|facts| facts.facts.iter().map(fact)).collect::<Vec<_>>(),
        "counts": facts.map(|facts| json!({
            "passages": facts.passages,
            "passages_wanted": facts.wanted,
            "dropped": facts.dropped,
            "read_tokens": facts.read_tokens,
            "written_tokens": facts.written_tokens,
            "milliseconds": facts.time.as_secs_f64() * 1000.0,
        })),
    })
}
