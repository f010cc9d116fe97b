//! The figures of an engine on a GPU.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use liquid_decoder::cuda::{CudaModel, CudaOptions};
use liquid_decoder::engine::{Answer, Engine, EngineOptions, Runner};
use liquid_decoder::{Constraint, Event, Request, Sampling, Tokenizer};

use super::checkpoint::Random;
use super::report::{DECODES, Figures, Numbers, PREFILLS};

/// Tokens that a pass reads at most.
const STEP_TOKENS: usize = 8192;
/// Tokens of every answer that is timed.
const ANSWER: usize = 128;
/// Tokens of a question about a document that is in memory.
const QUESTION: usize = 60;
/// Chunks of a document of 131,072 tokens, and tokens of each.
const CHUNKS: (usize, usize) = (16, 8192);
/// Facts about each chunk.
const FACTS: usize = 6;
/// Tokens that fix a quote's place, are copied with it, and say the fact.
const PLACE: usize = 3;
const QUOTE: usize = 40;
const FACT: usize = 24;
/// Repetitions, of which the median counts.
const TRIES: usize = 3;

/// Loads a folder and measures it.
pub(super) fn measure(gpu: usize, folder: &Path, numbers: Numbers) -> Result<Figures> {
    let (started, name) = (Instant::now(), numbers.name);
    let options = CudaOptions {
        device: gpu,
        precision: numbers.projections,
        keys_values: numbers.keys_values,
        step_tokens: STEP_TOKENS,
        sequences: 64,
    };
    let model = CudaModel::load(folder, options, &|_, _| ())?;
    let loaded = started.elapsed();
    let memory_bytes = model.memory_left(0.9)?;
    let weights_bytes = model.memory_bytes();
    let context_tokens = 32_768 + 512;
    let vocabulary = model.architecture().vocab_size;
    let tokenizer = Arc::new(Tokenizer::read(folder)?);
    let options = EngineOptions {
        context_tokens,
        memory_bytes,
        queue: 256,
        step_tokens: STEP_TOKENS,
        sequences: 64,
    };
    let engine = Engine::start(model, tokenizer, options)?;
    let mut subject = Subject {
        engine,
        random: Random(11),
        vocabulary,
    };
    subject.first_token(vec![5; 4])?;
    let mut figures = Figures {
        load_s: loaded.as_secs_f64(),
        ready_s: started.elapsed().as_secs_f64(),
        model_bytes: weights_bytes,
        cache_bytes: memory_bytes,
        ..Figures::new(numbers)
    };
    println!(
        "{name}: loaded in {:.2} s, first token after {:.2} s; model and buffers {:.2} GB, keys and values {:.1} GB",
        figures.load_s,
        figures.ready_s,
        weights_bytes as f64 / 1e9,
        memory_bytes as f64 / 1e9
    );
    subject.fill(&mut figures, name)?;
    check_at_rest(&subject.engine)?;
    Ok(figures)
}

struct Subject {
    engine: Engine,
    random: Random,
    vocabulary: usize,
}

pub(super) fn request(prompt: Vec<u32>, max_tokens: usize) -> Request {
    Request {
        prompt,
        max_tokens,
        ignore_end: true,
        ..Request::default()
    }
}

pub(super) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

impl Subject {
    /// Measures all rates.
    fn fill(&mut self, figures: &mut Figures, name: &str) -> Result<()> {
        for tokens in PREFILLS {
            let rate = self.prefill(tokens)?;
            println!("{name}: prefill of {tokens}: {rate:.0} tokens/s");
            figures.prefill.push(rate);
        }
        for (count, tokens) in DECODES {
            let rate = self.decode(count, tokens, &Sampling::default())?;
            println!("{name}: decode of {count} at {tokens}: {rate:.1} tokens/s");
            figures.decode.push(rate);
        }
        let (count, tokens) = DECODES[1];
        let penalties = Sampling {
            frequency_penalty: 0.1,
            ..Sampling::default()
        };
        figures.penalised = self.decode(count, tokens, &penalties)?;
        println!(
            "{name}: decode of {count} at {tokens} with penalties: {:.1} tokens/s",
            figures.penalised
        );
        figures.extraction_s = self.extraction()?;
        println!(
            "{name}: extraction of {} chunks of {} tokens, {FACTS} facts each: {:.2} s",
            CHUNKS.0, CHUNKS.1, figures.extraction_s
        );
        figures.question_ms = self.question()?;
        println!(
            "{name}: question on 8192 tokens in memory: {:.2} ms",
            figures.question_ms
        );
        Ok(())
    }

    fn tokens(&mut self, count: usize) -> Vec<u32> {
        self.random.tokens(count, self.vocabulary)
    }

    /// Time from a request to its only token.
    fn first_token(&self, prompt: Vec<u32>) -> Result<Duration> {
        let started = Instant::now();
        let mut answer = self.engine.submit(request(prompt, 1), None)?;
        let event = answer.blocking_next().context("no answer")??;
        let time = started.elapsed();
        ensure!(matches!(event, Event::Token { .. }), "no token");
        while let Some(event) = answer.blocking_next() {
            event?;
        }
        Ok(time)
    }

    /// Tokens of a prompt a second.
    fn prefill(&mut self, tokens: usize) -> Result<f64> {
        let mut times = Vec::new();
        for _ in 0..=TRIES {
            let prompt = self.tokens(tokens);
            times.push(self.first_token(prompt)?);
        }
        // The first one plans products.
        times.remove(0);
        Ok(tokens as f64 / median(times).as_secs_f64())
    }

    /// Tokens a second that some sequences write together, from when all have begun to when the first one ends.
    fn decode(&mut self, count: usize, tokens: usize, sampling: &Sampling) -> Result<f64> {
        let answers: Vec<Answer> = (0..count)
            .map(|_| {
                let prompt = self.tokens(tokens - ANSWER / 2);
                // The first ones go on until the last one has begun.
                let request = Request {
                    sampling: sampling.clone(),
                    ..request(prompt, 4 * ANSWER)
                };
                Ok(self.engine.submit(request, None)?)
            })
            .collect::<Result<_>>()?;
        let times: Vec<Vec<Instant>> = std::thread::scope(|scope| {
            let threads: Vec<_> = answers
                .into_iter()
                .map(|answer| scope.spawn(move || times(answer)))
                .collect();
            threads
                .into_iter()
                .map(|thread| match thread.join() {
                    Ok(times) => times,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect::<Result<_>>()
        })?;
        let begun = times
            .iter()
            .filter_map(|times| times.get(2))
            .max()
            .context("no tokens")?;
        let ended = times
            .iter()
            .filter_map(|times| times.last())
            .min()
            .context("no tokens")?;
        ensure!(ended > begun, "the first answer ended before the last one began");
        let written = times
            .iter()
            .flatten()
            .filter(|time| (begun..=ended).contains(time))
            .count();
        Ok(written as f64 / ended.duration_since(*begun).as_secs_f64())
    }

    /// Seconds in which facts are written about all chunks of a document at once, by the requests that `facts` makes: for
    /// each fact a few tokens that fix a quote's place, chosen among those that may stand there; the quote's other tokens
    /// read in one pass with the choice whether it goes on; the fact's text, held to its form.
    fn extraction(&mut self) -> Result<f64> {
        let chunks: Vec<Vec<u32>> = (0..CHUNKS.0).map(|_| self.tokens(CHUNKS.1)).collect();
        let quotes = self.tokens(QUOTE);
        let started = Instant::now();
        let engine = &self.engine;
        let written = std::thread::scope(|scope| {
            let threads: Vec<_> = chunks
                .into_iter()
                .map(|chunk| scope.spawn(|| write_facts(engine, chunk, &quotes)))
                .collect();
            threads
                .into_iter()
                .map(|thread| match thread.join() {
                    Ok(written) => written,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .sum::<Result<usize>>()
        })?;
        let seconds = started.elapsed().as_secs_f64();
        let expected = CHUNKS.0 * FACTS * (PLACE + 1 + FACT);
        ensure!(
            written == expected,
            "{written} tokens were written, not {expected}"
        );
        Ok(seconds)
    }

    /// Milliseconds to the first token of a second question about a document.
    fn question(&mut self) -> Result<f64> {
        let mut times = Vec::new();
        let document = self.tokens(8192);
        for number in 0..=TRIES {
            let mut prompt = document.clone();
            prompt.extend(self.tokens(QUESTION));
            let time = self.first_token(prompt)?;
            if number > 0 {
                times.push(time);
            }
        }
        Ok(median(times).as_secs_f64() * 1000.0)
    }
}

/// Writes the facts of a chunk, each of whose requests continues the one before, and returns the tokens that were chosen.
fn write_facts(engine: &Engine, mut prompt: Vec<u32>, quote: &[u32]) -> Result<usize> {
    let mut written = 0;
    for _ in 0..FACTS {
        for (count, copied) in [(PLACE, quote), (1, &[]), (FACT, &[])] {
            let form = format!("[a-z]{{{}}}", 4 * count);
            let constrained = Request {
                constraint: Some(Constraint::Regex(form)),
                ignore_end: false,
                ..request(prompt.clone(), count)
            };
            let mut answer = engine.submit(constrained, None)?;
            while let Some(event) = answer.blocking_next() {
                if let Event::Token { token, .. } = event? {
                    prompt.push(token);
                    written += 1;
                }
            }
            prompt.extend_from_slice(copied);
        }
    }
    Ok(written)
}

/// When the tokens of an answer came.
fn times(mut answer: Answer) -> Result<Vec<Instant>> {
    let mut times = Vec::new();
    while let Some(time) = next_token(&mut answer)? {
        times.push(time);
    }
    Ok(times)
}

/// When the next token of an answer came; none at its end.
pub(super) fn next_token(answer: &mut Answer) -> Result<Option<Instant>> {
    while let Some(event) = answer.blocking_next() {
        if let Event::Token { .. } = event? {
            return Ok(Some(Instant::now()));
        }
    }
    Ok(None)
}

/// Checks that an engine that answers nothing holds no pages.
pub(super) fn check_at_rest(engine: &Engine) -> Result<()> {
    let load = engine.load();
    ensure!(
        (load.running, load.pages_used) == (0, 0),
        "pages were lost: {load:?}"
    );
    Ok(())
}
