//! What chat and plain completions have in common: the events of all answers to a request become chunks, which are sent one
//! by one as they come, or put together to the whole answer.

use axum::response::Response;
use liquid_decoder::Event;
use serde::Serialize;

use super::answers::Answers;
use super::error::ApiError;
use super::events::{self, EventWriter};
use super::options::Options;
use super::usage::UsageObject;
use super::{Head, json};

/// One answer as it is read.
pub(super) trait Choice: Send + 'static {
    /// A piece of it, as a stream has it.
    type Chunk: Serialize;
    /// The whole, as an answer in one piece has it.
    type Whole: Serialize;

    /// Makes the chunks that an event brings.
    fn read(&mut self, event: Event) -> Vec<Self::Chunk>;
    /// Begins a whole.
    fn begin(&self) -> Self::Whole;
    /// Adds a chunk to its whole.
    fn add(whole: &mut Self::Whole, chunk: Self::Chunk);
    /// Ends a whole to which all chunks have been added.
    fn finish(_whole: &mut Self::Whole) {}
}

/// The answers to a request, those to one prompt beside each other.
pub(super) struct Reply<C> {
    head: Head,
    choices: Vec<C>,
    /// Answers to each prompt.
    n: usize,
    stream: bool,
    include_usage: bool,
    usage: UsageObject,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    #[serde(flatten)]
    head: &'a Head,
    choices: &'a [T],
    /// Null in all chunks of a stream but the last one, if the usage is asked for; else not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageObject>>,
}

impl<C: Choice> Reply<C> {
    pub(super) fn new(head: Head, choices: Vec<C>, options: &Options) -> Self {
        Self {
            head,
            choices,
            n: options.n,
            stream: options.stream,
            include_usage: options.include_usage,
            usage: UsageObject::default(),
        }
    }

    /// Answers: at once and chunk by chunk, or in one piece when all answers have ended.
    pub(super) async fn respond(self, answers: Answers) -> Result<Response, ApiError> {
        match self.stream {
            true => events::respond(answers, self).await,
            false => self.whole(answers).await,
        }
    }

    fn read(&mut self, index: usize, event: Event) -> Vec<C::Chunk> {
        if let Event::Finished { usage, .. } = &event {
            self.usage.add(*usage, index.is_multiple_of(self.n));
        }
        let choice = self.choices.get_mut(index);
        choice.map(|choice| choice.read(event)).unwrap_or_default()
    }

    async fn whole(mut self, mut answers: Answers) -> Result<Response, ApiError> {
        let mut wholes: Vec<C::Whole> = self.choices.iter().map(C::begin).collect();
        while let Some(event) = answers.next().await {
            let (index, event) = event?;
            let chunks = self.read(index, event);
            if let Some(whole) = wholes.get_mut(index) {
                chunks.into_iter().for_each(|chunk| C::add(whole, chunk));
            }
        }
        wholes.iter_mut().for_each(C::finish);
        Ok(json(&Envelope {
            head: &self.head,
            choices: &wholes,
            usage: Some(Some(self.usage)),
        }))
    }

    /// Writes what an event of the answer `index` brings.
    pub(super) fn write(&mut self, index: usize, event: Event, out: &mut EventWriter) {
        for chunk in self.read(index, event) {
            self.write_chunk(&[chunk], None, out);
        }
    }

    /// Writes what follows when all answers have ended.
    pub(super) fn end(&self, out: &mut EventWriter) {
        if self.include_usage {
            self.write_chunk(&[], Some(self.usage), out);
        }
    }

    fn write_chunk(&self, choices: &[C::Chunk], usage: Option<UsageObject>, out: &mut EventWriter) {
        out.write(&Envelope {
            head: &self.head,
            choices,
            usage: self.include_usage.then_some(usage),
        });
    }
}
