//! Answers of an engine against those of [`Generation`] alone, and what is refused, cancelled, late or fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::{Duration, Instant};

use burn::tensor::Device;

use super::*;
use crate::generate::{Cancellation, Event, FinishReason, Generation, Usage};
use crate::model::Model;
use crate::sample::Sampling;

mod mixed;

/// Answers that run at once.
const SEQUENCES: usize = 4;

/// Memory that holds a number of pages of the fixtures' models, and the states of all answers and three copies.
fn memory(model: &Model, pages: u64) -> u64 {
    pages * KvCache::page_bytes(model) + (SEQUENCES as u64 + 3) * KvCache::state_bytes(model)
}

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn model(name: &str) -> Model {
    Model::load(&fixtures().join(name), &Device::flex()).unwrap()
}

/// A token for each of the characters that the fixtures' models write.
fn tokenizer() -> Arc<Tokenizer> {
    let folder = tempfile::tempdir().unwrap();
    for file in ["tokenizer.json", "llama/config.json"] {
        let name = Path::new(file).file_name().unwrap();
        std::fs::copy(fixtures().join(file), folder.path().join(name)).unwrap();
    }
    Arc::new(Tokenizer::read(folder.path()).unwrap())
}

/// An engine of few pages.
fn engine(name: &str, pages: u64) -> Engine {
    let model = model(name);
    let options = EngineOptions {
        context_tokens: 256,
        memory_bytes: memory(&model, pages),
        queue: 8,
        step_tokens: 32,
        sequences: SEQUENCES,
    };
    Engine::start(model, tokenizer(), options).unwrap()
}

/// A prompt that differs from others by its seed.
fn prompt(seed: u64, length: usize) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..length).map(|_| random.u32(3..48)).collect()
}

fn request(prompt: Vec<u32>, max_tokens: usize) -> Request {
    Request {
        prompt,
        max_tokens,
        ignore_end: true,
        ..Request::default()
    }
}

/// An answer put together from its events.
#[derive(Clone, Debug, Default, PartialEq)]
struct Text {
    tokens: Vec<u32>,
    logprobs: Vec<Option<f32>>,
    text: String,
    reason: Option<FinishReason>,
    usage: Usage,
}

impl Text {
    fn add(&mut self, event: Event) {
        assert_eq!(self.reason, None, "nothing follows the end");
        match event {
            Event::Token {
                token, text, logprob, ..
            } => {
                self.tokens.push(token);
                self.logprobs.push(logprob);
                self.text.push_str(&text);
            }
            Event::Finished { text, reason, usage } => {
                self.text.push_str(&text);
                self.reason = Some(reason);
                // Alone nothing waits.
                self.usage = Usage {
                    queued: Duration::ZERO,
                    ..usage
                };
            }
        }
    }
}

fn alone(model: &Model, tokenizer: &Tokenizer, request: &Request) -> Text {
    let mut text = Text::default();
    let generation = Generation::new(model, tokenizer, request.clone(), Cancellation::default());
    for event in generation.unwrap() {
        text.add(event.unwrap());
    }
    text
}

fn read(mut answer: Answer) -> Text {
    let mut text = Text::default();
    while let Some(event) = answer.blocking_next() {
        text.add(event.unwrap());
    }
    text
}

#[test]
fn answers_beside_others_are_those_of_a_generation_alone() {
    let (engine, model, tokenizer) = (engine("mistral", 16), model("mistral"), tokenizer());
    let mut requests = Vec::new();
    for seed in 0..8 {
        let mut request = request(prompt(seed, 20 + 20 * seed as usize), 1 + 5 * seed as usize);
        if seed % 2 == 1 {
            request.sampling = Sampling {
                temperature: 1.0,
                seed: Some(seed),
                repetition_penalty: 1.2,
                logprobs: Some(2),
                ..Sampling::default()
            };
            request.ignore_end = false;
        }
        if seed == 6 {
            request.stop = vec!["a".to_owned(), "b".to_owned(), "1".to_owned()];
        }
        requests.push(request);
    }
    let answers: Vec<Answer> = requests
        .iter()
        .map(|request| engine.submit(request.clone(), None).unwrap())
        .collect();
    for (request, answer) in requests.iter().zip(answers) {
        assert_eq!(read(answer), alone(&model, &tokenizer, request));
    }
    let load = engine.load();
    assert_eq!(
        (load.waiting, load.running, load.pages, load.pages_used),
        (0, 0, 16, 0)
    );
    let prompts: usize = requests.iter().map(|request| request.prompt.len()).sum();
    assert_eq!(load.prefix_query_tokens, prompts as u64);
    assert_eq!(load.prompt_tokens, prompts as u64);
    assert_eq!(load.prefix_hit_tokens, 0);
}

#[test]
fn a_prefix_is_read_once_for_all_who_ask_about_it() {
    for name in ["qwen2", "qwen3_5"] {
        let (engine, model, tokenizer) = (engine(name, 12), model(name), tokenizer());
        let document = prompt(1, 200);
        let ask = |seed: u64| {
            let mut prompt = document.clone();
            prompt.extend(self::prompt(seed, 10));
            request(prompt, 8)
        };
        // The first two at once: the second waits for the first one's pages.
        let answers = [2, 3].map(|seed| engine.submit(ask(seed), None).unwrap());
        let [first, second] = answers.map(read);
        assert_eq!(first.usage.cached_tokens, 0);
        assert_eq!(second.usage.cached_tokens, 192);
        let third = read(engine.submit(ask(4), None).unwrap());
        assert_eq!(third.usage.cached_tokens, 192);
        for (seed, text) in [(2, first), (3, second), (4, third)] {
            let alone = alone(&model, &tokenizer, &ask(seed));
            assert_eq!(text.tokens, alone.tokens);
            assert_eq!(text.usage.prompt_tokens, alone.usage.prompt_tokens);
        }
        // The whole prompt is there: its last token is read all the same.
        let whole = request(document[..128].to_vec(), 4);
        let text = read(engine.submit(whole.clone(), None).unwrap());
        assert_eq!(text.usage.cached_tokens, 64);
        assert_eq!(text.tokens, alone(&model, &tokenizer, &whole).tokens);
        let load = engine.load();
        assert_eq!(load.prefix_hit_tokens, 192 + 192 + 64);
        assert_eq!(load.prefix_query_tokens, 3 * 210 + 128);
        assert_eq!(load.generated_tokens, 3 * 8 + 4);
    }
}

#[test]
fn states_are_kept_where_prompts_that_are_read_together_part() {
    let model = model("qwen3_next");
    let options = EngineOptions {
        context_tokens: 700,
        memory_bytes: memory(&model, 80),
        step_tokens: 32,
        sequences: SEQUENCES,
        ..EngineOptions::default()
    };
    let engine = Engine::start(model, tokenizer(), options).unwrap();
    let ask = |seed: u64| request([prompt(1, 70), prompt(seed, 600)].concat(), 4);
    let answers = [2, 3, 4].map(|seed| engine.submit(ask(seed), None).unwrap());
    let texts = answers.map(read);
    // The first prompt's own copies would be at pages 2, 6, 8, 9 and 10.
    assert_eq!(texts.each_ref().map(|text| text.usage.cached_tokens), [0, 64, 64]);
    let model = self::model("qwen3_next");
    for (seed, text) in (2..).zip(texts) {
        assert_eq!(text.tokens, alone(&model, &tokenizer(), &ask(seed)).tokens);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_numbers() {
    let engine = engine("llama", 4);
    let refuse = |request| engine.submit(request, None).unwrap_err();
    let long = refuse(request(prompt(0, 200), 57));
    assert!(
        matches!(
            long,
            Refusal::TooLong {
                prompt_tokens: 200,
                max_tokens: 57,
                context_tokens: 256
            }
        ),
        "{long}"
    );
    assert!(long.to_string().contains("are 257 together"), "{long}");
    let huge = refuse(request(prompt(0, 200), usize::MAX));
    assert!(matches!(huge, Refusal::TooLong { .. }), "{huge}");
    let unknown = refuse(request(vec![48], 1)).to_string();
    assert!(unknown.contains("token 48"), "{unknown}");
    let mut hot = request(prompt(0, 3), 1);
    hot.sampling.temperature = -1.0;
    let hot = refuse(hot).to_string();
    assert!(hot.contains("temperature = -1"), "{hot}");
    assert!(matches!(refuse(request(vec![], 1)), Refusal::Invalid(_)));
}

#[test]
fn a_full_queue_refuses_and_later_takes_again() {
    let engine = engine("llama", 4);
    // Each needs all pages: one runs, eight wait.
    let long = |seed| request(prompt(seed, 100), 156);
    let mut answers = vec![engine.submit(long(0), None).unwrap()];
    answers[0].blocking_next().unwrap().unwrap();
    let mut refusal = None;
    for seed in 1..=9 {
        match engine.submit(long(seed), None) {
            Ok(answer) => answers.push(answer),
            Err(error) => refusal = Some(error),
        }
    }
    // The first may have ended meanwhile, but not two of them.
    if let Some(refusal) = refusal {
        assert!(
            matches!(refusal, Refusal::QueueFull { waiting: 8, limit: 8 }),
            "{refusal}"
        );
    }
    assert!(answers.len() >= 9);
    drop(answers);
    let text = read(engine.submit(long(20), None).unwrap());
    assert_eq!(text.tokens.len(), 156);
}

#[test]
fn an_answer_ends_at_its_deadline_with_what_it_has() {
    let engine = engine("llama", 8);
    let past = Instant::now();
    let text = read(engine.submit(request(prompt(0, 10), 5), Some(past)).unwrap());
    assert_eq!(text.reason, Some(FinishReason::Deadline));
    assert_eq!(text.usage, Usage::default());
    // Answers follow each other until one is cut: each takes longer than nothing, and far less than this.
    let cut = (0..10_000).find_map(|try_number| {
        let deadline = Instant::now() + Duration::from_micros(200 + 50 * (try_number % 200));
        let text = read(
            engine
                .submit(request(prompt(0, 10), 240), Some(deadline))
                .unwrap(),
        );
        (text.reason == Some(FinishReason::Deadline) && !text.tokens.is_empty()).then_some(text)
    });
    let cut = cut.expect("an answer that is cut");
    let whole = alone(&model("llama"), &tokenizer(), &request(prompt(0, 10), 240));
    assert!(whole.tokens.starts_with(&cut.tokens));
    assert!(whole.text.starts_with(&cut.text));
    assert_eq!(cut.usage.completion_tokens, cut.tokens.len());
    assert_eq!(engine.load().pages_used, 0);
}

#[test]
fn a_pass_that_panics_ends_its_own_answers_alone() {
    let mut model = model("mistral");
    model.lose_embeddings(40);
    let options = EngineOptions {
        context_tokens: 256,
        memory_bytes: memory(&model, 8),
        ..EngineOptions::default()
    };
    let engine = Engine::start(model, tokenizer(), options).unwrap();
    let mut broken = engine.submit(request(vec![5, 47, 5], 4), None).unwrap();
    let error = broken.blocking_next().unwrap().unwrap_err();
    assert!(matches!(error, GenerateError::Panicked(_)), "{error}");
    assert!(broken.blocking_next().is_none());
    let good = request((0..70).map(|index| 3 + index % 30).collect(), 1);
    let text = read(engine.submit(good.clone(), None).unwrap());
    assert_eq!(text, alone(&self::model("mistral"), &tokenizer(), &good));
    assert_eq!(engine.load().pages_used, 0);
}

#[test]
fn the_last_handle_ends_the_thread_after_the_last_answer() {
    let engine = engine("llama", 8);
    let shared = Arc::downgrade(&engine.shared.queue);
    let answer = engine.submit(request(prompt(0, 10), 200), None).unwrap();
    drop(engine.clone());
    drop(engine);
    assert_eq!(read(answer).tokens.len(), 200);
    let end = Instant::now() + Duration::from_secs(20);
    while shared.strong_count() > 0 {
        assert!(Instant::now() < end, "the thread goes on");
        std::thread::yield_now();
    }
}

#[test]
fn options_out_of_range_are_named_with_what_they_need() {
    let model = || model("llama");
    let page = KvCache::page_bytes(&model());
    let good = EngineOptions {
        context_tokens: 256,
        memory_bytes: 4 * page,
        ..EngineOptions::default()
    };
    type Change<'a> = &'a dyn Fn(&mut EngineOptions);
    let cases: [(&str, Change<'_>); 6] = [
        ("context_tokens = 0", &|options| options.context_tokens = 0),
        ("context_tokens = 257: must be at most 256", &|options| {
            options.context_tokens = 257;
        }),
        ("queue = 0", &|options| options.queue = 0),
        ("sequences = 0", &|options| options.sequences = 0),
        ("step_tokens = 31: must be 32, twice sequences", &|options| {
            options.step_tokens = 31;
        }),
        ("needs 49152 bytes, 192 a token", &|options| {
            options.memory_bytes = 4 * page - 1;
        }),
    ];
    for (text, change) in cases {
        let mut options = good.clone();
        change(&mut options);
        let error = Engine::start(model(), tokenizer(), options)
            .unwrap_err()
            .to_string();
        assert!(error.contains(text), "{error}");
    }
    Engine::start(model(), tokenizer(), good).unwrap();
}
