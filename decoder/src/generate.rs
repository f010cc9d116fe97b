//! An answer token by token: reads the prompt in pieces, then chooses, decodes and looks for the end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::{Model, PassError, Segment, Sequence, Wanted};
use crate::sample::{Sample, Sampler, Sampling, SamplingError, TokenLogprob};
use crate::tokenizer::{Detokenizer, Tokenizer};

mod stop;
#[cfg(test)]
mod tests;

pub use stop::StopStrings;

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
    /// Whether the answer goes on after the model has ended it.
    pub ignore_end: bool,
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

/// An answer that is being written: an iterator over its events. The last one is [`Event::Finished`], or an error.
pub struct Generation<'a> {
    model: &'a Model,
    tokenizer: &'a Tokenizer,
    request: Request,
    sequence: Sequence,
    sampler: Sampler,
    /// None once the answer has ended.
    detokenizer: Option<Detokenizer<'a>>,
    stops: StopStrings,
    /// Tokens that were not read yet: the prompt, then the last one chosen.
    unread: VecDeque<u32>,
    usage: Usage,
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
        check(&request)?;
        let sequence = model.sequence(request.prompt.len() + request.max_tokens)?;
        let sampler = Sampler::new(request.sampling.clone(), &request.prompt)?;
        Ok(Self {
            model,
            tokenizer,
            sequence,
            sampler,
            detokenizer: Some(tokenizer.detokenizer()),
            stops: StopStrings::new(&request.stop),
            unread: request.prompt.iter().copied().collect(),
            usage: Usage::default(),
            cancellation,
            request,
        })
    }

    /// Reads what is unread and chooses the next token; none if that was cancelled.
    fn next_token(&mut self) -> Result<Option<Sample>, GenerateError> {
        loop {
            if self.cancellation.is_cancelled() {
                return Ok(None);
            }
            let piece: Vec<u32> = self.unread.drain(..PIECE.min(self.unread.len())).collect();
            let wanted = match self.unread.is_empty() {
                true => Wanted::Last,
                false => Wanted::Nothing,
            };
            let mut segments = [Segment {
                sequence: &mut self.sequence,
                tokens: &piece,
                wanted,
            }];
            let logits = self.model.pass(&mut segments)?;
            self.usage.prompt_tokens = self.sequence.length().min(self.request.prompt.len());
            if let Some(row) = logits.first().and_then(|logits| logits.last()) {
                return Ok(Some(self.sampler.sample(row)?));
            }
        }
    }

    fn advance(&mut self, mut detokenizer: Detokenizer<'a>) -> Result<Event, GenerateError> {
        let Some(sample) = self.next_token()? else {
            return Ok(self.finish(detokenizer, FinishReason::Cancelled));
        };
        self.usage.completion_tokens += 1;
        let ends = self.tokenizer.end_tokens().contains(&sample.token);
        if ends && !self.request.ignore_end {
            return Ok(self.finish(detokenizer, FinishReason::Stop));
        }
        let found = self.stops.push(&detokenizer.push(sample.token));
        if found.stopped {
            return Ok(self.finished(found.text, FinishReason::Stop));
        }
        if self.usage.completion_tokens == self.request.max_tokens {
            // The last token's own event comes first.
            self.unread.clear();
        } else {
            self.unread.push_back(sample.token);
        }
        self.detokenizer = Some(detokenizer);
        Ok(Event::Token {
            token: sample.token,
            text: found.text,
            logprob: sample.logprob,
            top: sample.top,
        })
    }

    /// Ends the answer with what was held back.
    fn finish(&mut self, detokenizer: Detokenizer<'a>, reason: FinishReason) -> Event {
        let found = self.stops.push(&detokenizer.finish());
        let mut text = found.text;
        let reason = match (found.stopped, reason) {
            (true, FinishReason::Length) => FinishReason::Stop,
            (true, reason) => reason,
            (false, reason) => {
                text.push_str(&self.stops.finish());
                reason
            }
        };
        self.finished(text, reason)
    }

    fn finished(&self, text: String, reason: FinishReason) -> Event {
        Event::Finished {
            text,
            reason,
            usage: self.usage,
        }
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<Event, GenerateError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Taken here and put back by a token's event alone: an error or the end leaves none.
        let detokenizer = self.detokenizer.take()?;
        if self.usage.completion_tokens == self.request.max_tokens {
            return Some(Ok(self.finish(detokenizer, FinishReason::Length)));
        }
        Some(self.advance(detokenizer))
    }
}

fn check(request: &Request) -> Result<(), GenerateError> {
    let wrong = |field, value: String, expected| GenerateError::Request {
        field,
        value,
        expected,
    };
    if request.prompt.is_empty() {
        return Err(wrong("prompt", "no tokens".to_owned(), "at least one token"));
    }
    if request.max_tokens == 0 {
        return Err(wrong("max_tokens", "0".to_owned(), "at least 1"));
    }
    if request.stop.len() > MOST_STOPS {
        return Err(wrong(
            "stop",
            format!("{} texts", request.stop.len()),
            "at most 16 texts",
        ));
    }
    let length = |stop: &&String| stop.is_empty() || stop.len() > MOST_STOP_BYTES;
    match request.stop.iter().find(length) {
        Some(stop) => Err(wrong(
            "stop",
            format!("{} bytes", stop.len()),
            "texts of 1 to 1024 bytes",
        )),
        None => Ok(()),
    }
}
