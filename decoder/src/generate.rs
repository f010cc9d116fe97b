//! An answer token by token: reads the prompt in pieces, then chooses, decodes and looks for the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::constraint::{Constraint, ConstraintError, Grammar};
use crate::model::{CacheSize, KvCache, Model, PassError, Segment, Sequence};
use crate::sample::{Sampling, SamplingError, TokenLogprob};
use crate::tokenizer::Tokenizer;

mod stop;
#[cfg(test)]
mod tests;
mod writer;

pub use stop::StopStrings;
pub(crate) use writer::{Next, Writer, Written};

/// Tokens of a prompt that are read at once: enough to be bound by arithmetic, few enough to stop soon.
const PIECE: usize = 256;
/// Most stop strings, and most bytes of one.
const MOST_STOPS: usize = 16;
const MOST_STOP_BYTES: usize = 1024;

/// What to write.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Tokens of the prompt, at least one.
    pub prompt: Vec<u32>,
    /// Most tokens of the answer, at least one.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts at which the answer ends; they are not part of it. At most 16, of at most 1,024 bytes.
    pub stop: Vec<String>,
    /// Whether the answer goes on after the model has ended it. Not with a constraint.
    pub ignore_end: bool,
    /// What the answer must be; anything if there is none.
    pub constraint: Option<Constraint>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop string came.
    Stop,
    /// It has as many tokens as it may have.
    Length,
    /// It was cancelled.
    Cancelled,
    /// Its time was over.
    Deadline,
}

impl FinishReason {
    /// Returns the name in metrics and APIs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
            Self::Deadline => "deadline",
        }
    }
}

/// Tokens that were read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt that were read, those that were there already included.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that were there already, from an earlier request with the same beginning.
    pub cached_tokens: usize,
    /// Tokens of the answer, the one that ended it included.
    pub completion_tokens: usize,
    /// Time that the request waited before its first pass; none where there is no queue.
    pub queued: Duration,
}

/// A step of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A token was chosen.
    Token {
        /// The token.
        token: u32,
        /// Text that is certain now. Empty while a character is not whole, or a stop string may be about to come; then
        /// the text comes with a later token.
        text: String,
        /// Logarithm of the token's probability, if asked for.
        logprob: Option<f32>,
        /// The likeliest tokens in its place, if asked for.
        top: Vec<TokenLogprob>,
    },
    /// The answer ended; nothing follows.
    Finished {
        /// The rest of the text.
        text: String,
        /// Why it ended.
        reason: FinishReason,
        /// What it took.
        usage: Usage,
    },
}

/// Why an answer failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// A field of the request is out of its range.
    #[error("{field} = {value}: must be {expected}")]
    Request {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// Its range.
        expected: &'static str,
    },
    /// The model refused a pass.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// No token was chosen.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The answer cannot be constrained so.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// The program failed within a pass.
    #[error("the model's pass panicked: {0}; please report this")]
    Panicked(String),
    /// The engine stopped before the answer was complete.
    #[error("the engine stopped before the answer was complete; start it again")]
    Stopped,
}

/// Ends an answer from another thread. Clones end the same one.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// Ends the answer: before its next token, or the next piece of its prompt.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the answer was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// An answer that is being written alone, in memory of its own: an iterator over its events. The last one is
/// [`Event::Finished`], or an error. [`Engine`](crate::engine::Engine) writes many at once.
pub struct Generation<'a> {
    model: &'a Model,
    cache: KvCache,
    sequence: Sequence,
    prompt: Vec<u32>,
    /// None once the answer has ended.
    writer: Option<Writer<'a>>,
    next: Next,
    cancellation: Cancellation,
}

impl<'a> Generation<'a> {
    /// Begins an answer. Nothing is computed before the first event is asked for.
    ///
    /// # Errors
    /// [`GenerateError`] names what is out of range; [`PassError::TooLong`] if prompt and answer are longer than the model
    /// reads.
    pub fn new(
        model: &'a Model,
        tokenizer: &'a Tokenizer,
        request: Request,
        cancellation: Cancellation,
    ) -> Result<Self, GenerateError> {
        request.check()?;
        let grammar = request.grammar(tokenizer)?;
        let size = CacheSize::of_one(request.prompt.len().saturating_add(request.max_tokens));
        let mut cache = KvCache::new(model, size)?;
        Ok(Self {
            model,
            sequence: cache.sequence(&[], size.context_tokens)?,
            cache,
            writer: Some(Writer::new(tokenizer, &request, grammar)?),
            next: Next::Prompt,
            prompt: request.prompt,
            cancellation,
        })
    }

    /// Reads what is unread, and writes the next event.
    fn advance(&mut self, writer: &mut Writer<'_>) -> Result<Written, GenerateError> {
        loop {
            if let Next::End(reason) = self.next {
                return Ok(Written::ended(writer.end(reason)));
            }
            if self.cancellation.is_cancelled() {
                return Ok(Written::ended(writer.end(FinishReason::Cancelled)));
            }
            let (tokens, wanted) = self.next.tokens(&self.prompt, self.sequence.length(), PIECE);
            let mut segments = [Segment {
                sequence: &mut self.sequence,
                tokens: &tokens,
                wanted,
            }];
            let logits = self.model.pass(&mut self.cache, &mut segments)?;
            if self.next == Next::Prompt {
                writer.count_prompt(tokens.len(), 0);
            }
            if let Some(row) = logits.first().and_then(|logits| logits.last()) {
                return writer.write(row);
            }
        }
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<Event, GenerateError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Taken here and put back if more is to come: an error or the end leaves none.
        let mut writer = self.writer.take()?;
        let written = match self.advance(&mut writer) {
            Ok(written) => written,
            Err(error) => return Some(Err(error)),
        };
        self.next = written.next;
        if self.next != Next::Ended {
            self.writer = Some(writer);
        }
        Some(Ok(written.event))
    }
}

impl Request {
    /// Compiles the constraint.
    pub(crate) fn grammar(&self, tokenizer: &Tokenizer) -> Result<Option<Grammar>, GenerateError> {
        let grammar = self.constraint.as_ref();
        let grammar = grammar.map(|constraint| Grammar::compile(tokenizer, constraint));
        Ok(grammar.transpose()?)
    }

    /// Checks every field.
    pub(crate) fn check(&self) -> Result<(), GenerateError> {
        let wrong = |field, value: String, expected| GenerateError::Request {
            field,
            value,
            expected,
        };
        self.sampling.check()?;
        if self.prompt.is_empty() {
            return Err(wrong("prompt", "no tokens".to_owned(), "at least one token"));
        }
        if self.max_tokens == 0 {
            return Err(wrong("max_tokens", "0".to_owned(), "at least 1"));
        }
        if self.ignore_end && self.constraint.is_some() {
            return Err(wrong(
                "ignore_end",
                "true".to_owned(),
                "false, as there is a constraint",
            ));
        }
        if self.stop.len() > MOST_STOPS {
            return Err(wrong(
                "stop",
                format!("{} texts", self.stop.len()),
                "at most 16 texts",
            ));
        }
        let length = |stop: &&String| stop.is_empty() || stop.len() > MOST_STOP_BYTES;
        match self.stop.iter().find(length) {
            Some(stop) => Err(wrong(
                "stop",
                format!("{} bytes", stop.len()),
                "texts of 1 to 1024 bytes",
            )),
            None => Ok(()),
        }
    }
}
