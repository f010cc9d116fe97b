//! A hybrid at growing lengths: the time of a prompt, of a written token and of a second question about the same document, and
//! the memory of the sequence. Layers of the gated delta rule cost the same at every length; what grows is their
//! neighbours' attention.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use liquid_decoder::cuda::{CudaModel, CudaOptions, Precision};
use liquid_decoder::engine::{Engine, EngineOptions, Runner};
use liquid_decoder::{KvCache, Tokenizer};
use serde::Serialize;

use super::ceilings::Ceilings;
use super::checkpoint::Random;
use super::report::{Numbers, Sizes};
use super::speed::{check_at_rest, median, next_token, request};

/// Tokens that a pass reads at most.
const STEP_TOKENS: usize = 8192;
/// Tokens of every answer.
const ANSWER: usize = 65;
/// Tokens of a question about a document that is in memory.
const QUESTION: usize = 60;
/// Sequences that may run at once: tables and work space of a step are of so many of the longest ones.
const SEQUENCES: usize = 1;

/// Figures of a model.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Hybrid {
    /// Bytes of weights and buffers.
    model_bytes: u64,
    /// Bytes of the states of a sequence, whatever its length.
    state_bytes: u64,
    lengths: Vec<Length>,
}

/// Figures of a length.
#[derive(Clone, Debug, Serialize)]
struct Length {
    tokens: usize,
    /// Seconds from a prompt of so many tokens to the first token of its answer.
    prompt_s: f64,
    /// Milliseconds a token of the answer.
    token_ms: f64,
    /// Bytes of keys and values while it was written.
    pages_bytes: u64,
    /// Milliseconds to the first token of another question about the same document.
    question_ms: f64,
    bounds: Bounds,
}

/// What the device needs at least.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Bounds {
    /// Seconds of the prompt's products.
    prompt_s: f64,
    /// Milliseconds to read weights, keys and values, and to read and write states.
    token_ms: f64,
    /// Those that do not depend on the length.
    flat_ms: f64,
}

impl Bounds {
    pub(super) fn new(tokens: usize, sizes: &Sizes, ceilings: &Ceilings) -> Self {
        let tokens = tokens as f64;
        let step = |tokens| 1000.0 / sizes.decode(1.0, tokens, Numbers::BF16, ceilings);
        Self {
            prompt_s: tokens / sizes.prefill(tokens, ceilings),
            token_ms: step(tokens),
            flat_ms: step(0.0),
        }
    }
}

/// What is measured.
struct Subject {
    engine: Engine,
    random: Random,
    vocabulary: usize,
    page_bytes: u64,
}

/// Loads a folder and measures prompts of some lengths, whose bounds `bounds` gives.
pub(super) fn measure(
    gpu: usize,
    folder: &Path,
    lengths: &[usize],
    bounds: impl Fn(usize) -> Bounds,
) -> Result<Hybrid> {
    let started = Instant::now();
    let options = CudaOptions {
        device: gpu,
        precision: Precision::Bf16,
        keys_values: Precision::Bf16,
        step_tokens: STEP_TOKENS,
        sequences: SEQUENCES,
    };
    let model = CudaModel::load(folder, options, &|_, _| ())?;
    let (page_bytes, state_bytes) = (model.page_bytes(), model.state_bytes());
    let vocabulary = model.architecture().vocab_size;
    let model_bytes = model.memory_bytes();
    let longest = lengths.iter().max().context("no lengths")?;
    let options = EngineOptions {
        context_tokens: longest + ANSWER + KvCache::PAGE_TOKENS,
        memory_bytes: model.memory_left(0.9)?,
        queue: 4,
        step_tokens: STEP_TOKENS,
        sequences: SEQUENCES,
    };
    let engine = Engine::start(model, Arc::new(Tokenizer::read(folder)?), options)?;
    let mut subject = Subject {
        engine,
        random: Random(13),
        vocabulary,
        page_bytes,
    };
    // Plans products.
    subject.answer(vec![5; STEP_TOKENS])?;
    println!("hybrid: ready after {:.2} s", started.elapsed().as_secs_f64());
    let mut hybrid = Hybrid {
        model_bytes,
        state_bytes,
        lengths: Vec::new(),
    };
    for tokens in lengths {
        let length = subject.length(*tokens, bounds(*tokens))?;
        println!(
            "hybrid: {tokens} tokens: prompt {:.2} s, {:.2} ms a token, question {:.1} ms",
            length.prompt_s, length.token_ms, length.question_ms
        );
        hybrid.lengths.push(length);
    }
    check_at_rest(&subject.engine)?;
    Ok(hybrid)
}

/// Times of an answer, and the memory that it took.
struct Measured {
    first_s: f64,
    token_ms: f64,
    pages: usize,
}

impl Subject {
    fn length(&mut self, tokens: usize, bounds: Bounds) -> Result<Length> {
        let mut document = self.random.tokens(tokens - QUESTION, self.vocabulary);
        let questions = [(); 2].map(|()| self.random.tokens(QUESTION, self.vocabulary));
        let mut answers = Vec::new();
        for question in questions {
            document.truncate(tokens - QUESTION);
            document.extend(question);
            answers.push(self.answer(document.clone())?);
        }
        let [first, second] = &answers[..] else {
            anyhow::bail!("two answers were asked for");
        };
        Ok(Length {
            tokens,
            prompt_s: first.first_s,
            token_ms: first.token_ms,
            pages_bytes: first.pages as u64 * self.page_bytes,
            question_ms: second.first_s * 1000.0,
            bounds,
        })
    }

    /// Writes an answer to a prompt.
    fn answer(&self, prompt: Vec<u32>) -> Result<Measured> {
        let started = Instant::now();
        let mut answer = self.engine.submit(request(prompt, ANSWER), None)?;
        let first = next_token(&mut answer)?.context("no token")?;
        let (mut last, mut times) = (first, Vec::new());
        let pages = self.engine.load().pages_used;
        while let Some(time) = next_token(&mut answer)? {
            times.push(time - last);
            last = time;
        }
        Ok(Measured {
            first_s: (first - started).as_secs_f64(),
            token_ms: median(times).as_secs_f64() * 1000.0,
            pages,
        })
    }
}

impl Hybrid {
    /// Prints the table.
    pub(super) fn print(&self) {
        println!(
            "\nhybrid of Qwen3.5-9B's shape, bf16: weights and buffers {:.1} GB; states of a sequence {:.1} MB at every length\n",
            self.model_bytes as f64 / 1e9,
            self.state_bytes as f64 / 1e6
        );
        println!(
            "| tokens | prompt, s | bound | ms a token | bound | of it flat | keys and values, GB | second question, ms |\n\
             |---|---|---|---|---|---|---|---|"
        );
        for length in &self.lengths {
            let bounds = length.bounds;
            println!(
                "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} |",
                length.tokens,
                length.prompt_s,
                bounds.prompt_s,
                length.token_ms,
                bounds.token_ms,
                bounds.flat_ms,
                length.pages_bytes as f64 / 1e9,
                length.question_ms
            );
        }
        println!();
    }
}
