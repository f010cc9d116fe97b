//! Reads usage and the manner of ending from an answer while it is relayed. Never alters a byte.
//!
//! Wire formats: OpenAI Chat Completions and Responses, Anthropic Messages (field names as in their public
//! API references). Providers differ in where they put usage, so the last one seen in a stream counts, field
//! by field.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Event, Parser};
use crate::api::{Usage, Wire};

/// Larger events are relayed all the same, only not read.
const MAX_EVENT_BYTES: usize = 8 << 20;

/// The state of a stream by its own protocol: whether it may end here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ending {
    /// No final event yet: if the bytes end here, the stream was cut.
    #[default]
    Open,
    /// The final event has passed.
    Complete,
    /// The upstream itself sent an error event.
    Failed,
}

/// Watches one event stream.
#[derive(Debug)]
pub struct Tap {
    wire: Wire,
    parser: Parser,
    reading: TapState,
}

#[derive(Debug, Default)]
struct TapState {
    usage: Usage,
    ending: Ending,
    sequence: u64,
}

impl Tap {
    /// A tap for one stream of the given shape.
    pub fn new(wire: Wire) -> Self {
        Self {
            wire,
            parser: Parser::new(MAX_EVENT_BYTES),
            reading: TapState::default(),
        }
    }

    /// Reads the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Self {
            wire,
            parser,
            reading,
        } = self;
        parser.feed(bytes, |event| reading.event(*wire, event));
    }

    /// Returns the usage seen so far.
    pub fn usage(&self) -> Usage {
        self.reading.usage
    }

    /// Returns whether the stream may end here.
    pub fn ending(&self) -> Ending {
        self.reading.ending
    }

    /// Returns the number that a further event would carry, where the API numbers its events.
    pub fn next_sequence(&self) -> u64 {
        self.reading.sequence
    }

    /// Returns whether an event is half relayed: an error event must first close it with a blank line.
    pub fn inside_event(&self) -> bool {
        !self.parser.at_border()
    }
}

impl TapState {
    fn event(&mut self, wire: Wire, event: Event<'_>) {
        if event.data == b"[DONE]" {
            self.end(Ending::Complete);
            return;
        }
        if event.name == b"error" {
            self.end(Ending::Failed);
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk>(event.data) else {
            return;
        };
        self.usage.merge(chunk.usage());
        if let Some(number) = chunk.sequence_number {
            self.sequence = number.saturating_add(1);
        }
        if chunk.error.is_some_and(|error| error.0) {
            self.end(Ending::Failed);
        }
        let complete = match wire {
            Wire::Chat => chunk.choices.iter().any(|choice| choice.finish_reason.0),
            Wire::Responses => matches!(
                chunk.kind.as_deref(),
                Some("response.completed" | "response.incomplete" | "response.failed" | "response.cancelled")
            ),
            Wire::Messages => chunk.kind.as_deref() == Some("message_stop"),
        };
        if complete {
            self.end(Ending::Complete);
        }
    }

    fn end(&mut self, ending: Ending) {
        if self.ending != Ending::Failed {
            self.ending = ending;
        }
    }
}

/// Reads the usage of a body that is not a stream, in any shape; default where it has none or is not JSON.
pub fn usage_of_body(body: &[u8]) -> Usage {
    serde_json::from_slice::<Chunk>(body)
        .map(|chunk| chunk.usage())
        .unwrap_or_default()
}

/// Whether a JSON value is anything but null and false; the value itself is skipped, not kept.
#[derive(Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<serde::de::IgnoredAny>::deserialize(deserializer).map(|value| Self(value.is_some()))
    }
}

/// The fields that any of the three wire shapes may carry, and nothing else.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    usage: Option<RawUsage>,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    error: Option<Present>,
    #[serde(default)]
    sequence_number: Option<u64>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    finish_reason: Present,
}

/// `response` of a Responses event, `message` of Anthropic's `message_start`; elsewhere these names may hold
/// text.
#[derive(Deserialize)]
struct Nested {
    #[serde(default)]
    usage: Option<RawUsage>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Chunk<'_> {
    fn usage(&self) -> Usage {
        if let Some(usage) = &self.usage {
            return usage.read();
        }
        [self.response, self.message]
            .into_iter()
            .flatten()
            .find_map(|nested| serde_json::from_str::<Nested>(nested.get()).ok()?.usage)
            .map(|usage| usage.read())
            .unwrap_or_default()
    }
}

impl RawUsage {
    /// OpenAI counts cached tokens inside the input; Anthropic counts them beside it.
    fn read(&self) -> Usage {
        let read = self.cache_read_input_tokens.unwrap_or(0);
        // An upstream may write any number.
        let beside = read.saturating_add(self.cache_creation_input_tokens.unwrap_or(0));
        let details = self
            .prompt_tokens_details
            .as_ref()
            .or(self.input_tokens_details.as_ref());
        Usage {
            input: self
                .prompt_tokens
                .or(self.input_tokens.map(|input| input.saturating_add(beside))),
            output: self.completion_tokens.or(self.output_tokens),
            cached: self
                .cache_read_input_tokens
                .or(details.and_then(|details| details.cached_tokens)),
        }
    }
}

#[cfg(test)]
mod tests;
