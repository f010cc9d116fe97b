//! `liquid-bench facts`: facts that a language model writes about the evaluation sets, scored by how much of the labelled
//! evidence their quotes hold, beside the evidence that the cheaper tiers found.
//!
//! Each item's document goes through the worker's runtime as a request does, at each ratio. What is scored: the evidence
//! (its spans), the quotes, and both together; whether an accepted answer stands in the facts and their quotes; how many
//! facts came, how they were read, and what they took.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use liquid_worker::config::Config;
use liquid_worker::engine::{Asks, Budget, Extraction, Fact, Facts, Span, Texts, Tier};
use liquid_worker::runtime::{Job, Runtime};
use serde::Serialize;

use crate::evidence::data::{self, Choice, Item, Set};
use crate::evidence::metric;
use crate::results;

/// Sets, budgets and models to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Sets to measure, .jsonl or .jsonl.gz [default: all of eval/]
    files: Vec<PathBuf>,
    /// Words of the document for each word of evidence that may be kept
    #[arg(long, value_delimiter = ',', default_values_t = [5.5])]
    ratios: Vec<f64>,
    #[command(flatten)]
    choice: Choice,
    /// Most passages that the model reads of a document
    #[arg(long, default_value_t = 4)]
    passages: usize,
    /// Most facts for each passage
    #[arg(long, default_value_t = 3)]
    per_passage: usize,
    /// Let the model write freely, and read its answers as far as they can be read
    #[arg(long)]
    free: bool,
    /// The model's folder
    #[arg(long, default_value = ".cache/models/smollm2-135m-instruct")]
    decoder: PathBuf,
    /// The encoder's folder, whose tier (or that of a ranker beside it) finds the evidence
    #[arg(long, default_value = ".cache/models/all-minilm-l6-v2")]
    model: PathBuf,
    /// Write the figures there
    #[arg(long, default_value = "target/bench/facts.json")]
    json: PathBuf,
}

/// What came of one item.
#[derive(Serialize)]
struct Outcome {
    id: String,
    evidence: Option<f64>,
    quotes: Option<f64>,
    both: Option<f64>,
    /// Whether an accepted answer stands in the facts or their quotes.
    answer: Option<f64>,
    document_words: usize,
    evidence_words: usize,
    quoted_words: usize,
    facts: usize,
    dropped: usize,
    origins: BTreeMap<&'static str, usize>,
    confidence: f64,
    read_tokens: usize,
    written_tokens: usize,
    facts_seconds: f64,
    seconds: f64,
}

/// The outcomes of a set at a ratio.
#[derive(Serialize)]
struct Row {
    set: String,
    ratio: f64,
    outcomes: Vec<Outcome>,
}

/// Measures, prints, writes.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let sets = data::load_all(&arguments.files, &arguments.choice)?;
    let mut config = Config::default();
    config.model.folder = Some(arguments.model.clone());
    config.decoder.folder = Some(arguments.decoder.clone());
    config.facts.passages = arguments.passages;
    config.facts.per_passage = arguments.per_passage;
    config.facts.constrained = !arguments.free;
    let remedy = "cannot load the models; `cargo xtask model` and `cargo xtask model --decoder` fetch them";
    let runtime = Runtime::start(&config).context(remedy)?;
    let threads = tokio::runtime::Runtime::new()?;
    let mut rows = Vec::new();
    println!("{}", Row::HEAD);
    for set in &sets {
        for &ratio in &arguments.ratios {
            let row = threads.block_on(measure(&runtime, set, ratio))?;
            println!("{}", row.line());
            rows.push(row);
        }
    }
    results::write_json(&arguments.json, &rows)?;
    println!("written: {}", arguments.json.display());
    Ok(())
}

async fn measure(runtime: &Runtime, set: &Set, ratio: f64) -> anyhow::Result<Row> {
    let mut outcomes = Vec::with_capacity(set.items.len());
    for item in &set.items {
        let started = Instant::now();
        let job = Job {
            document: item.document.clone(),
            sha256: [0; 32],
            texts: Texts::default(),
            asks: Asks::from_question(item.question.as_str()),
            budget: Budget::ratio(ratio)?,
            tier: Some(Tier::Decoder),
            deadline: None,
            reservation: runtime.reserve(),
        };
        let answer = runtime.extract(job).await;
        let answer = answer.with_context(|| format!("cannot extract {}", item.id))?;
        let facts = answer.extraction.facts.as_ref();
        let facts = facts.with_context(|| format!("{}: no facts were written", item.id))?;
        let seconds = started.elapsed().as_secs_f64();
        outcomes.push(Outcome::new(item, &answer.extraction, facts, seconds)?);
    }
    Ok(Row {
        set: set.name.clone(),
        ratio,
        outcomes,
    })
}

impl Outcome {
    fn new(item: &Item, extraction: &Extraction, facts: &Facts, seconds: f64) -> anyhow::Result<Self> {
        let text = |start: usize, end: usize| item.document.get(start..end);
        let quote = |fact: &Fact| text(fact.quote.start, fact.quote.end);
        let quotes = facts.facts.iter().map(quote).collect::<Option<Vec<_>>>();
        let quotes = quotes.with_context(|| format!("{}: a quote is no part of the document", item.id))?;
        let span = |span: &Span| text(span.start, span.end);
        let spans: Vec<&str> = extraction.spans.iter().filter_map(span).collect();
        let score = |pack: &str| metric::score(&item.answers, &item.evidence, pack);
        let (of_spans, of_quotes) = (score(&spans.join("\n")), score(&quotes.join("\n")));
        let said: Vec<&str> = facts.facts.iter().map(|fact| fact.text.as_str()).collect();
        let mut origins = BTreeMap::new();
        for fact in &facts.facts {
            *origins.entry(fact.origin.name()).or_default() += 1;
        }
        let confidence: f64 = facts.facts.iter().map(|fact| f64::from(fact.confidence)).sum();
        Ok(Self {
            id: item.id.clone(),
            evidence: of_spans.evidence,
            quotes: of_quotes.evidence,
            both: score(&[spans, quotes.clone()].concat().join("\n")).evidence,
            answer: score(&[said, quotes].concat().join("\n")).answer,
            document_words: item.document.split_whitespace().count(),
            evidence_words: of_spans.words,
            quoted_words: of_quotes.words,
            facts: facts.facts.len(),
            dropped: facts.dropped,
            confidence: confidence / facts.facts.len().max(1) as f64,
            origins,
            read_tokens: facts.read_tokens,
            written_tokens: facts.written_tokens,
            facts_seconds: facts.time.as_secs_f64(),
            seconds,
        })
    }
}

impl Row {
    const HEAD: &str = "set     ratio items | evidence % quotes % both % answer % | words % evidence quotes | facts dropped \
         conf. | read written | s/document of it facts";

    fn mean(&self, of: impl Fn(&Outcome) -> Option<f64>) -> f64 {
        let values: Vec<f64> = self.outcomes.iter().filter_map(of).collect();
        values.iter().sum::<f64>() / values.len().max(1) as f64
    }

    fn line(&self) -> String {
        let percent = |of: fn(&Outcome) -> Option<f64>| 100.0 * self.mean(of);
        let share = |of: fn(&Outcome) -> usize| {
            100.0 * self.mean(|outcome| Some(of(outcome) as f64 / outcome.document_words.max(1) as f64))
        };
        let count = |of: fn(&Outcome) -> usize| self.mean(|outcome| Some(of(outcome) as f64));
        format!(
            "{:7} {:5} {:5} | {:10.1} {:8.1} {:6.1} {:8.1} | {:16.1} {:6.1} | {:5.1} {:7.2} {:5.2} | {:6.0} {:5.0} | {:8.1} {:8.1}",
            self.set,
            self.ratio,
            self.outcomes.len(),
            percent(|outcome| outcome.evidence),
            percent(|outcome| outcome.quotes),
            percent(|outcome| outcome.both),
            percent(|outcome| outcome.answer),
            share(|outcome| outcome.evidence_words),
            share(|outcome| outcome.quoted_words),
            count(|outcome| outcome.facts),
            count(|outcome| outcome.dropped),
            self.mean(|outcome| Some(outcome.confidence)),
            count(|outcome| outcome.read_tokens),
            count(|outcome| outcome.written_tokens),
            self.mean(|outcome| Some(outcome.seconds)),
            self.mean(|outcome| Some(outcome.facts_seconds)),
        )
    }
}
