//! Measures an engine: answers at once, and a second question about a document.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use liquid_decoder::engine::{Answer, Engine, EngineOptions};
use liquid_decoder::{Event, KvCache, Model, Request, Tokenizer};

/// Answers at once.
const ANSWERS: [usize; 3] = [1, 4, 16];
/// Tokens of their prompts, and of each answer.
const PROMPT: usize = 64;
const ANSWER: usize = 48;
/// Tokens of a document, and of a question about it.
const DOCUMENT: usize = 2048;
const QUESTION: usize = 32;
/// Repetitions, of which the quickest one counts.
const TRIES: u32 = 3;

pub(crate) fn measure(model: Model, tokenizer: Tokenizer) -> Result<(), Box<dyn Error>> {
    let vocabulary = model.architecture().vocab_size as u32;
    let context_tokens = DOCUMENT + 2 * QUESTION;
    let pages = (4 * context_tokens).div_ceil(KvCache::PAGE_TOKENS) as u64;
    let options = EngineOptions {
        context_tokens,
        memory_bytes: pages * KvCache::page_bytes(&model),
        ..EngineOptions::default()
    };
    let engine = Engine::start(model, Arc::new(tokenizer), options)?;
    let mut seed = 0;
    let mut tokens = |count: usize| {
        seed += 1;
        let mut random = fastrand::Rng::with_seed(seed);
        (0..count)
            .map(|_| random.u32(0..vocabulary))
            .collect::<Vec<u32>>()
    };
    let mut one = None;
    for count in ANSWERS {
        let mut best = 0.0_f64;
        for _ in 0..TRIES {
            let prompts: Vec<Vec<u32>> = (0..count).map(|_| tokens(PROMPT)).collect();
            best = best.max(write(&engine, prompts)?);
        }
        let one = *one.get_or_insert(best);
        println!(
            "{count} answers at once: {best:.1} tokens/s, {:.2} times one",
            best / one
        );
    }
    let mut best = [Duration::MAX; 2];
    for _ in 0..TRIES {
        let document = tokens(DOCUMENT);
        for best in &mut best {
            let mut prompt = document.clone();
            prompt.extend(tokens(QUESTION));
            *best = (*best).min(first_token(&engine, prompt)?);
        }
    }
    let [first, second] = best.map(|time| time.as_secs_f64() * 1e3);
    println!(
        "first token about a document of {DOCUMENT} tokens: {first:.0} ms, for a second question {second:.1} ms, \
         {:.0} times quicker",
        first / second
    );
    Ok(())
}

fn submit(engine: &Engine, prompt: Vec<u32>, max_tokens: usize) -> Result<Answer, Box<dyn Error>> {
    let request = Request {
        prompt,
        max_tokens,
        ignore_end: true,
        ..Request::default()
    };
    Ok(engine.submit(request, None)?)
}

/// Returns the tokens a second that are written from when all answers have begun to when the first one ends.
fn write(engine: &Engine, prompts: Vec<Vec<u32>>) -> Result<f64, Box<dyn Error>> {
    let mut answers = Vec::new();
    for prompt in prompts {
        answers.push(submit(engine, prompt, ANSWER)?);
    }
    let times: Vec<Vec<Instant>> = std::thread::scope(|scope| {
        let readers: Vec<_> = answers
            .into_iter()
            .map(|answer| scope.spawn(move || token_times(answer)))
            .collect();
        let times = readers
            .into_iter()
            .map(|reader| reader.join().unwrap_or_default());
        times.collect()
    });
    let begin = times.iter().filter_map(|times| times.first()).max();
    let end = times.iter().filter_map(|times| times.last()).min();
    let (begin, end) = begin.zip(end).ok_or("an answer without tokens")?;
    let between = |time: &&Instant| *begin < **time && **time <= *end;
    let count = times.iter().flatten().filter(between).count();
    Ok(count as f64 / end.saturating_duration_since(*begin).as_secs_f64())
}

fn token_times(mut answer: Answer) -> Vec<Instant> {
    let mut times = Vec::new();
    while let Some(Ok(Event::Token { .. })) = answer.blocking_next() {
        times.push(Instant::now());
    }
    times
}

fn first_token(engine: &Engine, prompt: Vec<u32>) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    let mut answer = submit(engine, prompt, 1)?;
    match answer.blocking_next() {
        Some(event) => event?,
        None => return Err("no token".into()),
    };
    let time = start.elapsed();
    while answer.blocking_next().is_some() {}
    Ok(time)
}
