//! Many answers at once from one model: one thread owns the model and its memory, and gives every step's rows to the
//! answers that are being written. [`Engine::submit`] puts a request in the queue, [`Answer`] is its end of the line.
//!
//! An answer has the tokens that [`Generation`](crate::Generation) would write alone, whatever runs beside it.

use std::sync::Arc;
use std::time::Instant;

use crate::generate::Request;
use crate::model::Model;
use crate::tokenizer::Tokenizer;

mod answer;
mod error;
mod options;

pub use answer::Answer;
pub use error::{EngineError, Refusal};
pub use options::EngineOptions;

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
    /// Tokens of the prompts of answers that have ended or begun to be written.
    pub prompt_tokens: u64,
    /// Tokens that were written.
    pub generated_tokens: u64,
}

/// A handle to an engine; clones are handles to the same one.
///
/// Its thread ends when the last handle is dropped and the last answer has ended.
#[derive(Clone, Debug)]
pub struct Engine {}

impl Engine {
    /// Takes the memory and starts the thread that owns the model.
    ///
    /// # Errors
    /// [`EngineError`] names the option, its value and what to do.
    pub fn start(
        model: Model,
        tokenizer: Arc<Tokenizer>,
        options: EngineOptions,
    ) -> Result<Self, EngineError> {
        options.check()?;
        todo!("{model:?} {tokenizer:?}")
    }

    /// Puts a request in the queue; never blocks. At the deadline its answer ends with what it has.
    ///
    /// # Errors
    /// [`Refusal`] says why the request will not be answered.
    pub fn submit(&self, request: Request, deadline: Option<Instant>) -> Result<Answer, Refusal> {
        todo!("{request:?} {deadline:?}")
    }

    /// Returns the engine's counts.
    pub fn load(&self) -> EngineLoad {
        todo!()
    }
}
