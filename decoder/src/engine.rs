//! Many answers at once from one model: one thread owns the model and its memory, and gives every step's rows to the
//! answers that are being written. [`Engine::submit`] puts a request in the queue, [`Answer`] is its end of the line.
//!
//! An answer of a [`Model`](crate::Model) has the tokens that [`Generation`](crate::Generation) would write alone, whatever
//! runs beside it. On a GPU sums are made in an order that depends on how many rows a pass has, so that answers differ
//! where two tokens are as likely within the rounding of bf16.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::generate::{GenerateError, Request};
use crate::model::{CacheSize, KvCache, PassError};
use crate::tokenizer::Tokenizer;

mod answer;
mod error;
mod options;
mod plan;
mod queue;
mod runner;
mod scheduler;
#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use error::{EngineError, Refusal};
pub use options::EngineOptions;
use queue::{Job, Queue};
pub use runner::{Runner, RunnerLimits};
use scheduler::Scheduler;

/// Counts of an engine: what it holds now, and what it has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineLoad {
    /// Requests that wait.
    pub waiting: usize,
    /// Answers that are being written.
    pub running: usize,
    /// Pages of the memory for keys and values, of 64 tokens each.
    pub pages: usize,
    /// Pages that running answers use. The others are free, or hold prefixes that can be found until they are needed.
    pub pages_used: usize,
    /// Tokens of prompts that were looked for in the memory.
    pub prefix_query_tokens: u64,
    /// Tokens of those that were there.
    pub prefix_hit_tokens: u64,
    /// Tokens of prompts that were read, those that were in the memory included.
    pub prompt_tokens: u64,
    /// Tokens that were written.
    pub generated_tokens: u64,
}

/// A handle to an engine; clones are handles to the same one.
///
/// Its thread ends when the last handle is dropped and the last answer has ended.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What all handles share. Dropping it closes the queue.
#[derive(Debug)]
struct Shared {
    queue: Arc<Queue>,
    context_tokens: usize,
    /// Tokens of the model's vocabulary.
    vocab_size: usize,
    tokenizer: Arc<Tokenizer>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Notes the end of the thread, also if it panics.
struct Stop(Arc<Queue>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Engine {
    /// Takes the memory and starts the thread that owns the model.
    ///
    /// # Errors
    /// [`EngineError`] names the option, its value and what to do.
    pub fn start(
        mut model: impl Runner,
        tokenizer: Arc<Tokenizer>,
        options: EngineOptions,
    ) -> Result<Self, EngineError> {
        options.check()?;
        options.check_against(model.limits())?;
        let mut cache = take_memory(&mut model, &options)?;
        let queue = Arc::new(Queue::new(options.queue));
        queue.publish(EngineLoad {
            pages: cache.pages(),
            ..EngineLoad::default()
        });
        let shared = Shared {
            queue: queue.clone(),
            context_tokens: options.context_tokens,
            vocab_size: model.architecture().vocab_size,
            tokenizer: tokenizer.clone(),
        };
        let thread = std::thread::Builder::new().name("liquid-decoder".to_owned());
        thread.spawn(move || {
            let stop = Stop(queue);
            cache.touch();
            Scheduler::new(&mut model, &tokenizer, &options, &stop.0, cache).run();
        })?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Puts a request in the queue; waits for nothing. Its constraint is compiled here, on the thread of the caller. At the
    /// deadline its answer ends with what it has.
    ///
    /// With dynamic rotary scaling tokens are turned as in a sequence of [`EngineOptions::context_tokens`].
    ///
    /// # Errors
    /// [`Refusal`] says why the request will not be answered.
    pub fn submit(&self, request: Request, deadline: Option<Instant>) -> Result<Answer, Refusal> {
        request.check()?;
        let (prompt_tokens, max_tokens) = (request.prompt.len(), request.max_tokens);
        let context_tokens = self.shared.context_tokens;
        if prompt_tokens.saturating_add(max_tokens) > context_tokens {
            return Err(Refusal::TooLong {
                prompt_tokens,
                max_tokens,
                context_tokens,
            });
        }
        let vocab_size = self.shared.vocab_size;
        PassError::check_tokens(&request.prompt, vocab_size).map_err(GenerateError::from)?;
        self.shared.queue.check_room()?;
        let grammar = request.grammar(&self.shared.tokenizer)?;
        // Room for a token's event each and for the end: the thread never waits for those who read.
        let (sender, receiver) = mpsc::channel(max_tokens + 1);
        self.shared.queue.push(Job {
            grammar,
            request,
            deadline,
            since: Instant::now(),
            events: sender,
        })?;
        Ok(Answer::new(receiver))
    }

    /// Returns the engine's counts.
    pub fn load(&self) -> EngineLoad {
        self.shared.queue.load()
    }
}

/// Part of the memory that copies of states may take, of what the longest sequence and the states of all answers leave.
const COPIES_SHARE: u64 = 4;

fn take_memory(model: &mut impl Runner, options: &EngineOptions) -> Result<KvCache, EngineError> {
    let EngineOptions {
        context_tokens,
        memory_bytes,
        ..
    } = *options;
    let most = model.architecture().most_tokens();
    if context_tokens > most {
        return Err(EngineError::Option {
            field: "context_tokens",
            value: context_tokens.to_string(),
            expected: format!("at most {most}, for which the model is made"),
        });
    }
    let size = cache_size(model, options)?;
    model
        .cache(size)
        .map_err(|_| EngineError::Allocation { memory_bytes })
}

/// Divides the memory: states for as many sequences as may run, copies of states, and pages.
fn cache_size(model: &impl Runner, options: &EngineOptions) -> Result<CacheSize, EngineError> {
    let (page_bytes, state_bytes) = (model.page_bytes(), model.state_bytes());
    let own_states = options.sequences as u64 * state_bytes;
    let pages_of_one = CacheSize::of_one(options.context_tokens).pages as u64;
    let needed_bytes = pages_of_one * page_bytes + own_states;
    let Some(left) = options.memory_bytes.checked_sub(needed_bytes) else {
        return Err(EngineError::Memory {
            memory_bytes: options.memory_bytes,
            context_tokens: options.context_tokens,
            needed_bytes,
            token_bytes: page_bytes / KvCache::PAGE_TOKENS as u64,
            state_bytes,
        });
    };
    // Numbers of pages and of slots are of 32 bits.
    let most = u64::from(u32::MAX);
    let copies = (left / COPIES_SHARE).checked_div(state_bytes).unwrap_or(0);
    let states = match state_bytes {
        0 => 0,
        _ => (options.sequences as u64 + copies).min(most),
    };
    let pages = (options.memory_bytes - states * state_bytes) / page_bytes;
    Ok(CacheSize {
        context_tokens: options.context_tokens,
        pages: pages.min(most) as usize,
        states: states as usize,
    })
}
