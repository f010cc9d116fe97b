//! The ranker: its numbers against PyTorch's, what loading it refuses, and the tier around it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod served;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use liquid_worker::engine::{
    Ask, Asks, Budget, Extraction, Extractor, Memory, Request, Settings, Texts, Tier, TierChoice, TierReason,
};
use liquid_worker::model::{
    Device, EncodeError, Encoded, Encoder, LoadError, Models, Ranked, Ranker, WeightsError,
};
use safetensors::Dtype;
use serde::Deserialize;
use tempfile::TempDir;

/// A pair of `data/ranker.json`, made by `data/ranker.py`.
#[derive(Deserialize)]
struct Pair {
    question: Vec<u32>,
    window: Vec<u32>,
    logit: f32,
    tokens: Vec<f32>,
}

fn pairs() -> Vec<Pair> {
    serde_json::from_str(include_str!("../data/ranker.json")).unwrap()
}

fn folders() -> (TempDir, TempDir) {
    let (encoder, ranker) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    support::write_tiny_model(encoder.path());
    support::write_tiny_ranker(ranker.path());
    (encoder, ranker)
}

fn load(encoder: &Path, ranker: &Path) -> Result<Models, LoadError> {
    Models::load_with_ranker(encoder, ranker, Device::Cpu)
}

fn models() -> Models {
    let (encoder, ranker) = folders();
    load(encoder.path(), ranker.path()).unwrap()
}

#[test]
fn logits_agree_with_those_of_pytorch() {
    let mut ranker = models().ranker.unwrap();
    assert_eq!(
        (ranker.name.as_str(), ranker.card.sha256.len()),
        ("tiny-ranker", 64)
    );
    assert_eq!(ranker.ranker.max_tokens(), 220);
    let pairs = pairs();
    for of_question in pairs.chunk_by(|a, b| a.question == b.question) {
        let windows: Vec<&[u32]> = of_question.iter().map(|pair| pair.window.as_slice()).collect();
        let ranked = ranker.ranker.rank(&of_question[0].question, &windows).unwrap();
        assert_eq!(ranked.len(), windows.len());
        for (pair, Ranked { window, tokens }) in of_question.iter().zip(ranked) {
            assert_eq!(tokens.len(), pair.window.len());
            let expected = std::iter::once(&pair.logit).chain(&pair.tokens);
            let ours = std::iter::once(&window).chain(&tokens);
            let worst = expected.zip(ours).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4, "window of {}: differs by {worst:e}", tokens.len());
        }
    }
}

#[test]
fn a_window_that_is_too_long_is_refused() {
    let error = models()
        .ranker
        .unwrap()
        .ranker
        .rank(&[110; 9], &[&[110; 3], &[110; 221]])
        .unwrap_err();
    assert!(
        matches!(
            error,
            EncodeError::TooLong {
                window: 1,
                tokens: 221,
                limit: 220
            }
        ),
        "{error}"
    );
}

#[test]
fn another_tokenizer_than_the_encoders_is_refused() {
    let (encoder, ranker) = folders();
    let path = ranker.path().join("tokenizer.json");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push('\n');
    std::fs::write(&path, text).unwrap();
    support::write_manifest(ranker.path());
    let error = load(encoder.path(), ranker.path()).unwrap_err();
    assert!(matches!(error, LoadError::OtherTokenizer { .. }), "{error}");
    assert!(error.to_string().contains("tokenizer.json"), "{error}");
}

#[test]
fn a_model_that_is_no_ranker_is_refused_by_what_it_lacks() {
    let (encoder, ranker) = folders();
    // The encoder's own folder is one of a model without room for pairs.
    let error = load(encoder.path(), encoder.path()).unwrap_err();
    assert!(
        matches!(error, LoadError::Config(_)) && error.to_string().contains("max_position_embeddings is 64"),
        "{error}"
    );
    let config = ranker.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let one_type = text.replace("\"type_vocab_size\":2", "\"type_vocab_size\":1");
    std::fs::write(&config, one_type).unwrap();
    support::write_manifest(ranker.path());
    let error = load(encoder.path(), ranker.path()).unwrap_err();
    assert!(error.to_string().contains("type_vocab_size is 1"), "{error}");
}

/// Changes the type of one of the ranker's tensors, or takes it away, with sums that fit.
fn with_tensor(name: &str, dtype: Option<Dtype>) -> LoadError {
    let (encoder, ranker) = folders();
    support::change_tensor(ranker.path(), name, dtype);
    support::write_manifest(ranker.path());
    load(encoder.path(), ranker.path()).unwrap_err()
}

#[test]
fn integers_without_scales_or_heads_without_weights_are_refused_by_name() {
    let scale = "encoder.layer.1.output.dense.weight.scale";
    for name in [scale, "token_head.weight", "window_head.bias"] {
        let LoadError::Weights(WeightsError::Missing { name: missing, .. }) = with_tensor(name, None) else {
            panic!("{name} is not missing")
        };
        assert_eq!(missing, name);
    }
    for (name, dtype) in [(scale, Dtype::F16), ("embeddings.LayerNorm.weight", Dtype::BF16)] {
        let LoadError::Weights(WeightsError::WrongType {
            name: wrong, actual, ..
        }) = with_tensor(name, Some(dtype))
        else {
            panic!("{name} is not of a wrong type")
        };
        assert_eq!((wrong.as_str(), actual), (name, dtype));
    }
}

fn document() -> String {
    support::document(3000)
}

fn extract_with(extractor: &mut Extractor, document: &str, asks: &Asks, tier: Tier) -> Extraction {
    extractor
        .extract(&Request {
            document,
            texts: &Texts::default(),
            asks,
            budget: Budget::ratio(10.0).unwrap(),
            tier: TierChoice::as_asked(tier),
            deadline: None,
            cancelled: &|| false,
        })
        .unwrap()
}

fn extractor(tokens: usize) -> Extractor {
    let settings = Settings {
        ranker_tokens: Some(tokens),
        ..Settings::default()
    };
    Extractor::new(Some(models()), settings)
}

#[test]
fn the_tier_reads_within_its_budget_and_remembers_what_it_read() {
    let (document, asks) = (document(), Asks::from_question("What is the governing law?"));
    let mut extractor = extractor(2000);
    let first = extract_with(&mut extractor, &document, &asks, Tier::Ranker);
    assert_eq!(
        (first.tier, first.tier_reason),
        (Tier::Ranker, TierReason::AsAsked)
    );
    assert!(
        (1000..=2000).contains(&first.encoded_tokens),
        "{}",
        first.encoded_tokens
    );
    assert!(!first.limited && !first.spans.is_empty());
    let again = extract_with(&mut extractor, &document, &asks, Tier::Ranker);
    assert_eq!((again.encoded_tokens, &again.spans), (0, &first.spans));
    // Its logits hold for one question only.
    let other = Asks::from_question("How much does an item weigh?");
    assert!(extract_with(&mut extractor, &document, &other, Tier::Ranker).encoded_tokens > 1000);
    let cheaper = extract_with(&mut extractor, &document, &asks, Tier::Static);
    assert_ne!(cheaper.spans, first.spans, "the ranker changes nothing");
}

/// A ranker that notes what it was given to read, call by call, and says `sign` times what the one inside says.
struct Recorded {
    inner: Box<dyn Ranker>,
    sign: f32,
    calls: Arc<Mutex<Vec<Vec<Vec<u32>>>>>,
}

impl Ranker for Recorded {
    fn max_tokens(&self) -> usize {
        self.inner.max_tokens()
    }

    fn rank(&mut self, question: &[u32], windows: &[&[u32]]) -> Result<Vec<Ranked>, EncodeError> {
        let windows_read = windows.iter().map(|ids| ids.to_vec()).collect();
        self.calls.lock().unwrap().push(windows_read);
        let turn = |ranked: Ranked| Ranked {
            window: self.sign * ranked.window,
            tokens: ranked.tokens.iter().map(|logit| self.sign * logit).collect(),
        };
        Ok(self
            .inner
            .rank(question, windows)?
            .into_iter()
            .map(turn)
            .collect())
    }
}

/// Returns the windows that the ranker reads of [`document`], call by call.
fn calls(tokens: usize, sign: f32) -> Vec<Vec<Vec<u32>>> {
    let mut models = models();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let ranker = models.ranker.as_mut().unwrap();
    let inner = std::mem::replace(&mut ranker.ranker, Box::new(Nothing));
    ranker.ranker = Box::new(Recorded {
        inner,
        sign,
        calls: Arc::clone(&calls),
    });
    let settings = Settings {
        ranker_tokens: Some(tokens),
        ..Settings::default()
    };
    let asks = Asks::from_question("What is the governing law?");
    let mut extractor = Extractor::new(Some(models), settings);
    extract_with(&mut extractor, &document(), &asks, Tier::Ranker);
    std::mem::take(&mut calls.lock().unwrap())
}

#[test]
fn a_budget_below_the_document_is_spent_in_rounds_that_follow_what_the_ranker_said() {
    let (calls_plain, calls_turned) = (calls(2000, 1.0), calls(2000, -1.0));
    assert_eq!(calls_plain.len(), 3);
    assert_eq!(calls_plain[0], calls_turned[0]);
    assert_ne!(calls_plain[1..], calls_turned[1..]);
    let mut windows = calls_plain.concat();
    let read = windows.len();
    windows.sort();
    windows.dedup();
    assert_eq!(windows.len(), read, "a window is read twice");
    let all = calls(1 << 20, 1.0).concat().len();
    assert!(all > 2 * read, "{read} of {all} windows");
}

#[test]
fn each_ask_reads_windows_of_its_own_from_one_budget() {
    let document = document();
    let ask = |text: &str| Ask::new(text, 1.0).unwrap();
    let asks = Asks::new(vec![
        ask("What is the governing law?"),
        ask("When does lot 90 ship?"),
    ]);
    let both = extract_with(&mut extractor(2000), &document, &asks, Tier::Ranker);
    assert!(
        (1000..=2000).contains(&both.encoded_tokens),
        "{}",
        both.encoded_tokens
    );
    let all = extract_with(&mut extractor(usize::MAX), &document, &asks, Tier::Ranker);
    let one = Asks::from_question("What is the governing law?");
    let of_one = extract_with(&mut extractor(usize::MAX), &document, &one, Tier::Ranker);
    let (all, of_one) = (all.encoded_tokens, of_one.encoded_tokens);
    // The encoder reads once for both.
    assert!(all > of_one * 7 / 5, "{all} tokens for both, {of_one} for one");
}

/// What both models read of [`document`] for a question, and what the ranker alone does.
struct Reads {
    both: Extraction,
    ranker: Extraction,
}

impl Reads {
    fn of(document: &str, asks: &Asks) -> Self {
        let both = extract_with(&mut extractor(usize::MAX), document, asks, Tier::Ranker);
        // Enough for the ranker, which reads about half of all, and not for both.
        let limit = both.encoded_tokens as usize * 9 / 10;
        let ranker = extract_with(&mut extractor(limit), document, asks, Tier::Ranker);
        Self { both, ranker }
    }
}

#[test]
fn the_encoder_reads_too_where_the_limit_covers_the_document_for_both() {
    let (document, asks) = (document(), Asks::from_question("What is the governing law?"));
    let Reads { both, ranker } = Reads::of(&document, &asks);
    for answer in [&both, &ranker] {
        assert_eq!((answer.tier, answer.limited), (Tier::Ranker, false));
    }
    let (all, of_ranker) = (both.encoded_tokens, ranker.encoded_tokens);
    assert!(
        of_ranker > all / 2 && of_ranker < all * 2 / 3,
        "{of_ranker} of {all}"
    );
    let with_encoder = extract_with(&mut extractor(all as usize), &document, &asks, Tier::Ranker);
    assert_eq!(
        with_encoder,
        Extraction {
            timing: with_encoder.timing,
            ..both.clone()
        }
    );
    let scores =
        |extraction: &Extraction| -> Vec<f32> { extraction.spans.iter().map(|span| span.score).collect() };
    assert_ne!(scores(&both), scores(&ranker), "the encoder changes nothing");
}

/// A ranker that takes so many tokens at a time, as a GPU does.
struct InSteps {
    inner: Box<dyn Ranker>,
    step: usize,
}

impl Ranker for InSteps {
    fn max_tokens(&self) -> usize {
        self.inner.max_tokens()
    }

    fn step_tokens(&self) -> Option<usize> {
        Some(self.step)
    }

    fn rank(&mut self, question: &[u32], windows: &[&[u32]]) -> Result<Vec<Ranked>, EncodeError> {
        let pair = |ids: &&[u32]| question.len() + ids.len() + 3;
        let before_the_last = windows.iter().rev().skip(1);
        assert!(before_the_last.map(pair).sum::<usize>() < self.step);
        self.inner.rank(question, windows)
    }
}

fn in_steps(step: usize) -> Models {
    let mut models = models();
    let ranker = models.ranker.as_mut().unwrap();
    let inner = std::mem::replace(&mut ranker.ranker, Box::new(Nothing));
    ranker.ranker = Box::new(InSteps { inner, step });
    models
}

/// What stands in a model's place while it is wrapped; and an encoder whose device has no memory.
struct Nothing;

impl Ranker for Nothing {
    fn max_tokens(&self) -> usize {
        0
    }

    fn rank(&mut self, _: &[u32], _: &[&[u32]]) -> Result<Vec<Ranked>, EncodeError> {
        Err(EncodeError::OutOfMemory { tokens: 0 })
    }
}

impl Encoder for Nothing {
    fn dim(&self) -> usize {
        1
    }

    fn max_tokens(&self) -> usize {
        60
    }

    fn encode(&mut self, _: &[&[u32]]) -> Result<Vec<Encoded>, EncodeError> {
        Err(EncodeError::OutOfMemory { tokens: 62 })
    }
}

#[test]
fn a_device_that_reads_in_large_steps_reads_everything_and_chooses_what_a_processor_does() {
    let (document, asks) = (document(), Asks::from_question("What is the governing law?"));
    let Reads { both, .. } = Reads::of(&document, &asks);
    let mut device = Extractor::new(Some(in_steps(700)), Settings::default());
    let answer = extract_with(&mut device, &document, &asks, Tier::Ranker);
    assert_eq!(
        answer,
        Extraction {
            timing: answer.timing,
            ..both
        }
    );
}

#[test]
fn an_encoder_that_fails_leaves_the_answer_to_the_ranker_and_is_named() {
    let (document, asks) = (document(), Asks::from_question("What is the governing law?"));
    let Reads { ranker, .. } = Reads::of(&document, &asks);
    let mut models = in_steps(700);
    models.encoder = Box::new(Nothing);
    let mut device = Extractor::new(Some(models), Settings::default());
    let answer = extract_with(&mut device, &document, &asks, Tier::Ranker);
    assert_eq!(
        (answer.tier, answer.tier_reason, answer.limited),
        (Tier::Ranker, TierReason::OutOfMemory, true)
    );
    assert_eq!(answer.spans, ranker.spans);
}

#[test]
fn a_deadline_without_time_for_both_models_leaves_out_the_encoder() {
    let (document, asks) = (document(), Asks::from_question("What is the governing law?"));
    let Reads { both, ranker } = Reads::of(&document, &asks);
    // At the speed that is assumed before anything is measured, 1,500 tokens a second in 80 % of the time, there is
    // time for the ranker and half of the encoder's part.
    let tokens = (both.encoded_tokens + ranker.encoded_tokens) as f64 / 2.0;
    let deadline = Instant::now() + Duration::from_secs_f64(tokens / 1500.0 / 0.8);
    let answer = extractor(usize::MAX)
        .extract(&Request {
            document: &document,
            texts: &Texts::default(),
            asks: &asks,
            budget: Budget::ratio(10.0).unwrap(),
            tier: TierChoice::as_asked(Tier::Ranker),
            deadline: Some(deadline),
            cancelled: &|| false,
        })
        .unwrap();
    assert_eq!(
        (answer.tier, answer.tier_reason, answer.limited),
        (Tier::Ranker, TierReason::FewerWindows, true)
    );
    assert_eq!(
        (answer.encoded_tokens, answer.spans),
        (ranker.encoded_tokens, ranker.spans)
    );
}

#[test]
fn a_deadline_leaves_fewer_windows_and_says_so() {
    let document = support::document(30_000);
    let asks = Asks::from_question("What is the governing law?");
    let mut extractor = extractor(usize::MAX).with_memory(Memory::new(0));
    let extraction = extractor
        .extract(&Request {
            document: &document,
            texts: &Texts::default(),
            asks: &asks,
            budget: Budget::ratio(10.0).unwrap(),
            tier: TierChoice::as_asked(Tier::Ranker),
            deadline: Some(Instant::now() + Duration::from_secs(10)),
            cancelled: &|| false,
        })
        .unwrap();
    assert_eq!(
        (extraction.tier, extraction.tier_reason),
        (Tier::Ranker, TierReason::FewerWindows)
    );
    assert!(extraction.limited);
}

#[test]
fn without_a_ranker_or_outside_its_training_the_encoder_answers() {
    let (document, asks) = (document(), Asks::from_question("What is the governing law?"));
    let (encoder, _) = folders();
    let alone = Models::load(encoder.path(), Device::Cpu).unwrap();
    let mut alone = Extractor::new(Some(alone), Settings::default());
    let answer = extract_with(&mut alone, &document, &asks, Tier::Ranker);
    assert_eq!(
        (answer.tier, answer.tier_reason),
        (Tier::Encoder, TierReason::NoModel)
    );
    let german =
        "Der Lieferant liefert die Ware innerhalb von dreißig Tagen nach der Bestellung. ".repeat(200);
    let answer = extract_with(&mut extractor(2000), &german, &asks, Tier::Ranker);
    assert_eq!(
        (answer.tier, answer.tier_reason),
        (Tier::Encoder, TierReason::OtherLanguage)
    );
    let asks = Asks::from_question("Innerhalb welcher Frist liefert der Lieferant die Ware?");
    let answer = extract_with(&mut extractor(2000), &german, &asks, Tier::Ranker);
    assert_eq!(
        (answer.tier, answer.tier_reason),
        (Tier::Encoder, TierReason::NotTrainedFor)
    );
    assert!(!answer.limited, "asked again, it would not answer better");
}
