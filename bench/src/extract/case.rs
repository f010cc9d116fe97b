//! One case: a tier and a document length, in this process.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use liquid_worker::engine::{
    Asks, Budget, Extraction, Extractor, Memory, Request, Settings, Texts, Tier, TierChoice,
};
use liquid_worker::model::Models;

use super::document::{self, Document};
use super::{Arguments, Row, memory};

/// Extractions that a median is taken of, fewer where they take long.
const RUNS: usize = 9;
const LEAST_RUNS: usize = 3;
const TIME_FOR_RUNS: Duration = Duration::from_secs(10);

pub(super) fn run(arguments: &Arguments) -> Result<Row> {
    let (Some(tier), Some(tokens)) = (arguments.tier.first(), arguments.tokens.first()) else {
        anyhow::bail!("a case needs one tier and one length");
    };
    let tier = *tier;
    let mut models = load(arguments, tier)?;
    let device = models
        .as_ref()
        .map_or_else(String::new, |models| models.card.device.clone());
    let started = Instant::now();
    let warmed = match &mut models {
        Some(models) if tier.runs_model() => warm_up(models)?,
        _ => false,
    };
    let warm_up = if warmed { started.elapsed() } else { Duration::ZERO };
    let document = document::build(&arguments.sets, *tokens)?;
    let settings = Settings {
        encode_tokens: arguments.encode_tokens,
        ranker_tokens: arguments.ranker_tokens,
        ..Settings::default()
    };
    let mut extractor = Extractor::new(models, settings);
    // First touches of pages and tables are the start's cost, not a request's.
    extract(&mut extractor, &document::build(&arguments.sets, 1000)?, tier)?;
    let before = memory::current()?;
    memory::reset_peak()?;
    let mut cold = Samples::default();
    let mut encoding = Samples::default();
    let encoded_tokens = loop {
        extractor = extractor.with_memory(Memory::new(settings.memory_bytes));
        let extraction = cold.time(|| extract(&mut extractor, &document, tier))?;
        encoding.0.push(extraction.timing.encode);
        if cold.enough() {
            break extraction.encoded_tokens;
        }
    };
    let mut warm = Samples::default();
    let counted = loop {
        let extraction = warm.time(|| extract(&mut extractor, &document, tier))?;
        if warm.enough() {
            break extraction.counts;
        }
    };
    let peak = memory::peak()?;
    Ok(Row {
        tier: tier.name().to_owned(),
        tokens: counted.document_tokens,
        bytes: document.text.len(),
        cold_ms: cold.median_ms(),
        warm_ms: warm.median_ms(),
        encoded_tokens,
        encode_ms: encoding.median_ms(),
        warm_up_ms: warm_up.as_secs_f64() * 1000.0,
        device,
        peak_mib: mib(peak),
        extra_mib: mib(peak.saturating_sub(before)),
    })
}

/// Loads what a tier needs.
fn load(arguments: &Arguments, tier: Tier) -> Result<Option<Models>> {
    let Arguments {
        model,
        ranker,
        device,
        ..
    } = arguments;
    Ok(match tier {
        Tier::Lexical => None,
        Tier::Static | Tier::Encoder => Some(Models::load(model, *device)?),
        Tier::Ranker => Some(Models::load_with_ranker(model, ranker, *device)?),
        Tier::Decoder => anyhow::bail!("--tier decoder: measured by `liquid-bench facts`"),
    })
}

/// Warms the models up. Returns whether their device does that.
fn warm_up(models: &mut Models) -> Result<bool> {
    let encoder = models.encoder.warm_up()?;
    let ranker = match &mut models.ranker {
        Some(model) => model.ranker.warm_up()?,
        None => None,
    };
    Ok(encoder.or(ranker).is_some())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn extract(extractor: &mut Extractor, document: &Document, tier: Tier) -> Result<Extraction> {
    let extraction = extractor.extract(&Request {
        document: &document.text,
        texts: &Texts::default(),
        asks: &Asks::from_question(document.question.as_str()),
        budget: Budget::ratio(10.0)?,
        tier: TierChoice::as_asked(tier),
        deadline: None,
        cancelled: &|| false,
    })?;
    ensure!(
        extraction.tier == tier,
        "{} ran instead: {}",
        extraction.tier.name(),
        extraction.tier_reason.explanation()
    );
    Ok(extraction)
}

/// Times of one extraction after the other.
#[derive(Default)]
struct Samples(Vec<Duration>);

impl Samples {
    fn time<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let result = work()?;
        self.0.push(started.elapsed());
        Ok(result)
    }

    fn enough(&self) -> bool {
        let total: Duration = self.0.iter().sum();
        self.0.len() >= RUNS || (self.0.len() >= LEAST_RUNS && total >= TIME_FOR_RUNS)
    }

    fn median_ms(&self) -> f64 {
        let mut times = self.0.clone();
        times.sort_unstable();
        times
            .get(times.len() / 2)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }
}
