//! An answer between two passes: chooses a token from the logits, decodes it, and looks for the end.

use std::time::Duration;

use super::{Event, FinishReason, GenerateError, Request, StopStrings, Usage};
use crate::constraint::Grammar;
use crate::model::{Logits, Wanted};
use crate::sample::{Draw, Sample, Sampler, SamplingError};
use crate::tokenizer::{Detokenizer, Tokenizer};

/// An answer that is being written.
pub(crate) struct Writer<'a> {
    sampler: Sampler,
    detokenizer: Detokenizer<'a>,
    stops: StopStrings,
    grammar: Option<Grammar>,
    /// Tokens that end the answer.
    ends: &'a [u32],
    max_tokens: usize,
    usage: Usage,
}

/// What a row of logits brought.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) event: Event,
    pub(crate) next: Next,
}

/// What is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The rest of the prompt.
    Prompt,
    /// The token that was written last.
    Token(u32),
    /// Nothing: the answer is whole or as long as it may be, and [`Writer::end`] follows.
    End(FinishReason),
    /// Nothing: the event was the last one.
    Ended,
}

impl Next {
    /// Returns at most `most` tokens to read after `read` tokens of the sequence, and whose logits are wanted.
    pub(crate) fn tokens(self, prompt: &[u32], read: usize, most: usize) -> (Vec<u32>, Wanted) {
        match self {
            Self::Prompt => {
                let left = prompt.get(read..).unwrap_or_default();
                match left.get(..most) {
                    Some(piece) if piece.len() < left.len() => (piece.to_vec(), Wanted::Nothing),
                    _ => (left.to_vec(), Wanted::Last),
                }
            }
            Self::Token(token) => (vec![token], Wanted::Last),
            Self::End(_) | Self::Ended => (Vec::new(), Wanted::Nothing),
        }
    }
}

impl Written {
    pub(crate) fn ended(event: Event) -> Self {
        Self {
            event,
            next: Next::Ended,
        }
    }
}

impl<'a> Writer<'a> {
    /// Begins the answer to a request that was checked.
    pub(crate) fn new(
        tokenizer: &'a Tokenizer,
        request: &Request,
        grammar: Option<Grammar>,
    ) -> Result<Self, GenerateError> {
        let mut detokenizer = tokenizer.detokenizer();
        if grammar.is_some() {
            // The grammar has seen it.
            detokenizer.keep_first_space();
        }
        Ok(Self {
            sampler: Sampler::new(request.sampling.clone(), &request.prompt)?,
            detokenizer,
            grammar,
            stops: StopStrings::new(&request.stop),
            ends: match request.ignore_end {
                true => &[],
                false => tokenizer.end_tokens(),
            },
            max_tokens: request.max_tokens,
            usage: Usage::default(),
        })
    }

    /// Counts tokens of the prompt that were read, and those of them that were in memory already.
    pub(crate) fn count_prompt(&mut self, read: usize, cached: usize) {
        self.usage.prompt_tokens += read + cached;
        self.usage.cached_tokens += cached;
    }

    /// Notes how long the request has waited.
    pub(crate) fn note_queued(&mut self, time: Duration) {
        self.usage.queued = time;
    }

    /// Returns what a device needs to choose the next token; none if the choice needs more than the logits.
    pub(crate) fn draw(&mut self) -> Option<Draw> {
        match self.grammar {
            Some(_) => None,
            None => self.sampler.draw(),
        }
    }

    /// Takes what a pass brought: the token that its device chose, or the logits of the last row, from which one is chosen
    /// here. None if there is neither.
    pub(crate) fn take(
        &mut self,
        logits: &Logits,
        vocab_size: usize,
    ) -> Option<Result<Written, GenerateError>> {
        let Some(token) = logits.token() else {
            return logits.last().map(|row| self.write(row));
        };
        if token as usize >= vocab_size {
            return Some(Err(SamplingError::Undefined.into()));
        }
        let sample = self.sampler.take(token);
        Some(self.written(sample))
    }

    /// Chooses the next token.
    pub(crate) fn write(&mut self, logits: &[f32]) -> Result<Written, GenerateError> {
        let allowed = self.grammar.as_mut().map(Grammar::allowed).transpose()?;
        let sample = match &allowed {
            Some(allowed) => self
                .sampler
                .sample_among(logits, |token| allowed.contains(token))?,
            None => self.sampler.sample(logits)?,
        };
        self.written(sample)
    }

    /// Writes a token that was chosen, and looks for the end.
    fn written(&mut self, sample: Sample) -> Result<Written, GenerateError> {
        self.usage.completion_tokens += 1;
        if self.ends.contains(&sample.token) {
            return Ok(Written::ended(self.end(FinishReason::Stop)));
        }
        let found = self.stops.push(&self.detokenizer.push(sample.token));
        if found.stopped {
            return Ok(Written::ended(self.finished(found.text, FinishReason::Stop)));
        }
        let whole = match &mut self.grammar {
            Some(grammar) => grammar.take(sample.token)?,
            None => false,
        };
        let next = match whole {
            true => Next::End(FinishReason::Stop),
            false if self.usage.completion_tokens == self.max_tokens => Next::End(FinishReason::Length),
            false => Next::Token(sample.token),
        };
        let event = Event::Token {
            token: sample.token,
            text: found.text,
            logprob: sample.logprob,
            top: sample.top,
        };
        Ok(Written { event, next })
    }

    /// Ends the answer with what was held back.
    pub(crate) fn end(&mut self, reason: FinishReason) -> Event {
        let found = self.stops.push(&self.detokenizer.finish());
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
