//! The way back: an answer in the client's API, whichever way its request was translated.

use bytes::Bytes;
use http::StatusCode;

use super::completion::ChunkReader;
use super::events::StreamTranslator;
use super::{messages, response, responses, stream};
use crate::api::Usage;

/// The facts of a request that the translation of its answer needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Translation {
    /// From Messages to Chat Completions.
    Chat(response::Translation),
    /// From Chat Completions to Messages.
    Messages(messages::Translation),
    /// From Chat Completions to Responses.
    Responses(responses::Translation),
}

impl From<response::Translation> for Translation {
    fn from(translation: response::Translation) -> Self {
        Self::Chat(translation)
    }
}

impl From<messages::Translation> for Translation {
    fn from(translation: messages::Translation) -> Self {
        Self::Messages(translation)
    }
}

impl From<responses::Translation> for Translation {
    fn from(translation: responses::Translation) -> Self {
        Self::Responses(translation)
    }
}

impl Translation {
    /// Translates a whole answer: status, body, and the usage in it. It becomes a stream if the client wants one;
    /// everything that is no answer becomes an error with the upstream's text.
    pub fn body(&self, status: StatusCode, body: &[u8]) -> (StatusCode, Bytes, Usage) {
        match self {
            Self::Chat(translation) => translation.body(status, body),
            Self::Messages(translation) => translation.body(status, body),
            Self::Responses(translation) => translation.body(status, body),
        }
    }

    /// Returns the content type of what [`Translation::body`] returned with this status.
    pub fn content_type(&self, status: StatusCode) -> &'static str {
        match self.wants_stream() && status.is_success() {
            true => "text/event-stream; charset=utf-8",
            false => "application/json",
        }
    }

    /// Returns whether the client wants an event stream.
    pub fn wants_stream(&self) -> bool {
        match self {
            Self::Chat(translation) => translation.stream,
            Self::Messages(translation) => translation.stream,
            Self::Responses(translation) => translation.stream,
        }
    }

    /// Translates a stream as it comes.
    pub fn stream(&self) -> StreamTranslator {
        match self {
            Self::Chat(translation) => translation.stream(),
            Self::Messages(translation) => ChunkReader::new(translation.writer()).into(),
            Self::Responses(translation) => ChunkReader::new(translation.writer()).into(),
        }
    }

    /// Returns the error that a stream begins with, as a whole answer with its status; `None` where the first event is
    /// another, or is not here yet. Workers give such an error the status of one.
    pub fn opening_error(&self, first: &[u8]) -> Option<(StatusCode, Bytes)> {
        match self {
            Self::Chat(_) => stream::opening_error(first),
            Self::Messages(_) | Self::Responses(_) => None,
        }
    }
}
