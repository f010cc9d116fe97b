//! A device that compares windows itself, in place of giving hidden states out: the same answers, and what
//! happens when its memory runs out. The device here is the processor with a limit of our making.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use liquid_worker::config::Config;
use liquid_worker::engine::{
    Ask, Asks, Budget, Extraction, Extractor, Request, Settings, Texts, Tier, TierChoice, TierReason,
};
use liquid_worker::model::{Compared, Comparer, Comparison, Device, EncodeError, Encoded, Encoder, Models};
use liquid_worker::runtime::{Job, Runtime};
use support::write_tiny_model;

/// Tokens of a step of the device.
const STEP: usize = 256;

/// A device that compares in plain arithmetic, on the hidden states of another encoder.
struct Plain {
    inner: Box<dyn Encoder>,
    full: Arc<AtomicBool>,
}

impl Encoder for Plain {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn max_tokens(&self) -> usize {
        self.inner.max_tokens()
    }

    fn encode(&mut self, windows: &[&[u32]]) -> Result<Vec<Encoded>, EncodeError> {
        self.inner.encode(windows)
    }

    fn comparer(&mut self) -> Option<&mut dyn Comparer> {
        Some(self)
    }

    fn warm_up(&mut self) -> Result<Option<f64>, EncodeError> {
        Ok(Some(1e9))
    }
}

impl Comparer for Plain {
    fn step_tokens(&self) -> usize {
        STEP
    }

    fn compare(&mut self, task: &Arc<Comparison>) -> Result<Compared, EncodeError> {
        let windows: Vec<&[u32]> = task.windows().collect();
        assert!(windows.iter().map(|ids| ids.len()).sum::<usize>() < STEP + self.max_tokens());
        if self.full.load(Ordering::Relaxed) {
            return Err(EncodeError::OutOfMemory { tokens: 3 });
        }
        let dim = self.dim();
        let said = self.inner.encode(&[&task.question])?.remove(0);
        let mut compared = Compared::default();
        for (window, states) in self.inner.encode(&windows)?.iter().enumerate() {
            compared.windows.push(cosine(&said.sentence, &states.sentence));
            for piece in said.tokens.chunks_exact(dim).take(task.pieces) {
                let cosines = states.tokens.chunks_exact(dim).map(|state| cosine(piece, state));
                compared.best.push(cosines.fold(-1.0, f32::max));
            }
            for unit in task.units_of(window) {
                let range = task.unit(unit);
                let mut mean = vec![0.0; dim];
                for state in states.tokens[range.start * dim..range.end * dim].chunks_exact(dim) {
                    mean.iter_mut().zip(state).for_each(|(mean, x)| *mean += x);
                }
                compared.units.push(cosine(&said.sentence, &mean));
            }
        }
        Ok(compared)
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum::<f64>()
    };
    (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-9)) as f32
}

/// Puts the tiny model on a device that compares; the flag takes its memory away.
fn comparing(folder: &std::path::Path) -> (Models, Arc<AtomicBool>) {
    write_tiny_model(folder);
    let mut models = Models::load(folder, Device::Cpu).unwrap();
    let full = Arc::new(AtomicBool::new(false));
    models.encoder = Box::new(Plain {
        inner: models.encoder,
        full: Arc::clone(&full),
    });
    (models, full)
}

/// Writes short and long sentences, one of them longer than the model reads, and a line without a word piece.
fn document() -> String {
    let mut text = String::new();
    for i in 0..120 {
        let sentence = "the contract ends when the parties agree on it in writing ".repeat(1 + i % 7);
        text.push_str(&format!("Section {i} says that {}.\n\n", sentence.trim()));
    }
    text.push_str("\u{200b}\n\nThe notice period is ninety days.\n");
    text
}

fn extract(models: Models, settings: Settings, text: &str) -> Extraction {
    let question = Asks::from_question("when does the contract end?");
    extract_asks(models, settings, text, &question)
}

fn extract_asks(models: Models, settings: Settings, text: &str, asks: &Asks) -> Extraction {
    let request = Request {
        document: text,
        texts: &Texts::default(),
        asks,
        budget: Budget::ratio(8.0).unwrap(),
        tier: TierChoice::as_asked(Tier::Encoder),
        deadline: None,
        cancelled: &|| false,
    };
    Extractor::new(Some(models), settings).extract(&request).unwrap()
}

#[test]
fn a_device_that_compares_gives_the_answer_of_one_that_encodes() {
    let folder = tempfile::tempdir().unwrap();
    let (models, _) = comparing(folder.path());
    let text = document();
    let ours = extract(models, Settings::default(), &text);
    let all = Settings {
        encode_tokens: Some(usize::MAX),
        ..Settings::default()
    };
    let theirs = extract(Models::load(folder.path(), Device::Cpu).unwrap(), all, &text);
    assert_eq!(
        (ours.tier, ours.limited, ours.encoded_tokens),
        (Tier::Encoder, false, theirs.encoded_tokens)
    );
    assert!(ours.encoded_tokens > 4 * STEP as u64, "{}", ours.encoded_tokens);
    let places = |extraction: &Extraction| -> Vec<_> {
        extraction
            .spans
            .iter()
            .map(|span| (span.start, span.end))
            .collect()
    };
    assert_eq!(places(&ours), places(&theirs));
    for (a, b) in ours.spans.iter().zip(&theirs.spans) {
        // The tiny model's cosines lie close together; standardising them enlarges what rounding leaves.
        assert!((a.score - b.score).abs() < 1e-2, "{} {}", a.score, b.score);
    }
}

#[test]
fn several_asks_are_compared_on_a_device_as_they_are_here() {
    let folder = tempfile::tempdir().unwrap();
    let (models, _) = comparing(folder.path());
    let text = document();
    let asks = [
        "when does the contract end?",
        "who agrees?",
        "how long is the notice?",
    ];
    let asks = Asks::new(asks.map(|ask| Ask::new(ask, 1.0).unwrap()).to_vec());
    let ours = extract_asks(models, Settings::default(), &text, &asks);
    let all = Settings {
        encode_tokens: Some(usize::MAX),
        ..Settings::default()
    };
    let theirs = extract_asks(
        Models::load(folder.path(), Device::Cpu).unwrap(),
        all,
        &text,
        &asks,
    );
    let places = |extraction: &Extraction| -> Vec<_> {
        let places = extraction.spans.iter().map(|span| (span.start, span.end));
        places.collect()
    };
    assert_eq!(places(&ours), places(&theirs));
    // Here a window is read once for all asks, there once for each.
    let read = theirs.encoded_tokens;
    assert!(ours.encoded_tokens > 2 * read && ours.encoded_tokens < 3 * read);
}

#[test]
fn a_limit_of_tokens_is_for_all_asks_together() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        encode_tokens: Some(500),
        ..Settings::default()
    };
    let asks = [
        "when does the contract end?",
        "who agrees?",
        "how long is the notice?",
    ];
    let asks = Asks::new(asks.map(|ask| Ask::new(ask, 1.0).unwrap()).to_vec());
    let (comparing, _) = comparing(folder.path());
    let encoding = Models::load(folder.path(), Device::Cpu).unwrap();
    for models in [comparing, encoding] {
        let read = extract_asks(models, settings, &document(), &asks).encoded_tokens;
        assert!((200..600).contains(&read), "{read}");
    }
}

#[test]
fn a_limit_of_tokens_holds_on_every_device() {
    let folder = tempfile::tempdir().unwrap();
    let (models, _) = comparing(folder.path());
    let settings = Settings {
        encode_tokens: Some(500),
        ..Settings::default()
    };
    let extraction = extract(models, settings, &document());
    assert!(
        (200..600).contains(&extraction.encoded_tokens),
        "{}",
        extraction.encoded_tokens
    );
}

fn job(runtime: &Runtime, text: &str) -> Job {
    Job {
        document: text.to_owned(),
        sha256: [1; 32],
        texts: Texts::default(),
        asks: Asks::from_question("when does the contract end?"),
        budget: Budget::ratio(8.0).unwrap(),
        tier: None,
        deadline: Some(Instant::now() + Duration::from_secs(600)),
        reservation: runtime.reserve(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_memory_the_static_tier_answers_until_there_is_some() {
    let folder = tempfile::tempdir().unwrap();
    let (models, full) = comparing(folder.path());
    let mut config = Config::default();
    config.model.folder = Some(folder.path().to_owned());
    let runtime = Runtime::with_models(&config, Some(models));
    let text = document();
    full.store(true, Ordering::Relaxed);
    let answer = runtime.extract(job(&runtime, &text)).await.unwrap();
    assert_eq!(
        (
            answer.extraction.tier,
            answer.extraction.tier_reason,
            answer.provisional
        ),
        (Tier::Static, TierReason::OutOfMemory, true)
    );
    assert!(!answer.extraction.spans.is_empty());
    full.store(false, Ordering::Relaxed);
    let answer = runtime.extract(job(&runtime, &text)).await.unwrap();
    assert_eq!(
        (answer.extraction.tier, answer.cached, answer.provisional),
        (Tier::Encoder, false, false)
    );
    // The answer counts the question too.
    let question = answer.extraction.encoded_tokens - runtime.encoded_tokens();
    assert!((1..64).contains(&question), "{question}");
}
