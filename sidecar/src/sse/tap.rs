//! Reads usage and the manner of ending from an answer while it is relayed. Never alters a byte.
//!
//! Wire formats: OpenAI Chat Completions and Responses, Anthropic Messages (field names as in their public
//! API references). What a stream has said when its bytes end decides what it was:
//!
//! | | Chat Completions | Responses | Messages |
//! |---|---|---|---|
//! | complete | `[DONE]`, or a `finish_reason` for every choice that began | `response.completed`, `.incomplete`, `.failed`, `.cancelled`, or `[DONE]` | `message_stop`, or `message_delta` with a `stop_reason`, or `[DONE]` |
//! | failed, in the upstream's words | an event named `error`, `"type": "error"`, `"object": "error"`, or an `error` that says something | the same | the same |
//! | running, so broken if it ends here | all else: a `finish_reason` that is null or empty, usage alone, comments | all else, also `output_text.done` and the like | all else: a `stop_reason` that is null or empty, `content_block_stop`, `ping` |
//!
//! A complete stream ends cleanly, whatever became of the connection after that. A failed one ends as the upstream
//! ends it, and nothing is added. A running one that ends gets an error event and is aborted. An event that lacks
//! only its closing blank line counts when the bytes end.
//!
//! Usage: providers differ in where they put it, and repeat it with zeros or without the cache. So each count
//! keeps its last value that is not zero, Anthropic's three parts of the input each for itself.

use serde::Deserialize;
use serde_json::Value;
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
    parser: Parser,
    state: StreamState,
    /// Whether the bytes ended inside an event.
    cut: bool,
}

/// The state of one stream, event by event.
#[derive(Debug)]
pub struct StreamState {
    wire: Wire,
    usage: UsageCounts,
    ending: Ending,
    sequence: u64,
    choices: Vec<ChoiceState>,
}

/// A choice of a completion that began.
#[derive(Debug)]
struct ChoiceState {
    index: u64,
    finished: bool,
}

/// OpenAI's own limit for `n`. Choices beyond it are not watched.
const MAX_CHOICES: usize = 128;

impl Tap {
    /// A tap for one stream of the given shape.
    pub fn new(wire: Wire) -> Self {
        Self {
            parser: Parser::new(MAX_EVENT_BYTES),
            state: StreamState::new(wire),
            cut: false,
        }
    }

    /// Reads the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Self { parser, state, .. } = self;
        parser.feed(bytes, |event| state.read(event));
    }

    /// Reads the end of the stream.
    pub fn finish(&mut self) {
        self.cut |= !self.parser.at_border();
        let Self { parser, state, .. } = self;
        parser.finish(|event| state.read(event));
    }

    /// Returns the usage seen so far.
    pub fn usage(&self) -> Usage {
        self.state.usage()
    }

    /// Returns whether the stream may end here.
    pub fn ending(&self) -> Ending {
        self.state.ending
    }

    /// Returns the number that a further event would carry, where the API numbers its events.
    pub fn next_sequence(&self) -> u64 {
        self.state.sequence
    }

    /// Returns whether an event is half relayed: an error event must first close it with a blank line.
    pub fn inside_event(&self) -> bool {
        self.cut || !self.parser.at_border()
    }
}

impl StreamState {
    /// The state of a stream that has not begun.
    pub fn new(wire: Wire) -> Self {
        Self {
            wire,
            usage: UsageCounts::default(),
            ending: Ending::Open,
            sequence: 0,
            choices: Vec::new(),
        }
    }

    /// Returns the usage seen so far.
    pub fn usage(&self) -> Usage {
        self.usage.read()
    }

    /// Returns whether the stream may end here.
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Reads an event.
    pub fn read(&mut self, event: Event<'_>) {
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
        chunk.count_usage(&mut self.usage);
        if let Some(number) = chunk.sequence_number.as_u64() {
            self.sequence = number.saturating_add(1);
        }
        let kind = chunk.kind.as_deref();
        if kind == Some("error") || chunk.object.as_deref() == Some("error") || is_error(&chunk.error) {
            self.end(Ending::Failed);
        }
        let complete = match self.wire {
            Wire::Chat | Wire::Completions => self.read_choices(chunk.choices.as_deref().unwrap_or_default()),
            Wire::Responses => matches!(
                kind,
                Some("response.completed" | "response.incomplete" | "response.failed" | "response.cancelled")
            ),
            Wire::Messages => {
                kind == Some("message_stop") || (kind == Some("message_delta") && chunk.has_stop_reason())
            }
        };
        if complete {
            self.end(Ending::Complete);
        }
    }

    /// Returns whether every choice that began has finished, by a choice in this chunk.
    fn read_choices(&mut self, choices: &[Choice]) -> bool {
        for choice in choices {
            let index = choice.index.as_u64().unwrap_or(0);
            let finished = says_something(&choice.finish_reason);
            let known = self.choices.iter().position(|known| known.index == index);
            match known {
                Some(place) => self.choices[place].finished |= finished,
                None if self.choices.len() < MAX_CHOICES => {
                    self.choices.push(ChoiceState { index, finished })
                }
                None => {}
            }
        }
        !choices.is_empty() && self.choices.iter().all(|choice| choice.finished)
    }

    fn end(&mut self, ending: Ending) {
        if self.ending != Ending::Failed {
            self.ending = ending;
        }
    }
}

/// Reads the usage of a body that is not a stream, in any shape; default where it has none or is not JSON.
pub fn usage_of_body(body: &[u8]) -> Usage {
    let mut counts = UsageCounts::default();
    if let Ok(chunk) = serde_json::from_slice::<Chunk>(body) {
        chunk.count_usage(&mut counts);
    }
    counts.read()
}

/// Returns whether the value of an `error` member reports one: some servers write null, false or nothing there in
/// every chunk.
pub(crate) fn is_error(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

/// Returns whether the value of a reason is one: some servers write an empty one until there is.
fn says_something(reason: &Value) -> bool {
    reason.as_str().is_some_and(|reason| !reason.is_empty())
}

/// The fields that any of the three wire shapes may carry, and nothing else.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    object: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    error: Value,
    #[serde(default)]
    sequence_number: Value,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: Value,
    #[serde(default)]
    finish_reason: Value,
}

/// `response` of a Responses event, `message` of Anthropic's `message_start`; elsewhere these names may hold
/// text.
#[derive(Deserialize)]
struct Nested {
    #[serde(default)]
    usage: Value,
}

/// `delta` of Anthropic's `message_delta`.
#[derive(Deserialize)]
struct MessageDelta {
    #[serde(default)]
    stop_reason: Value,
}

impl Chunk<'_> {
    fn count_usage(&self, counts: &mut UsageCounts) {
        for nested in [self.response, self.message].into_iter().flatten() {
            if let Ok(nested) = serde_json::from_str::<Nested>(nested.get()) {
                counts.merge(&nested.usage);
            }
        }
        counts.merge(&self.usage);
    }

    fn has_stop_reason(&self) -> bool {
        let delta = self
            .delta
            .map(|delta| serde_json::from_str::<MessageDelta>(delta.get()));
        delta.is_some_and(|delta| delta.is_ok_and(|delta| says_something(&delta.stop_reason)))
    }
}

/// The counts of a usage object as the upstream names them.
#[derive(Debug, Default)]
struct UsageCounts {
    prompt: Option<u64>,
    completion: Option<u64>,
    input: Option<u64>,
    output: Option<u64>,
    /// The cached part inside of OpenAI's input.
    cached: Option<u64>,
    /// The parts beside Anthropic's input.
    cache_read: Option<u64>,
    cache_creation: Option<u64>,
}

impl UsageCounts {
    fn merge(&mut self, usage: &Value) {
        if !usage.is_object() {
            return;
        }
        let count = |path: &str| usage.pointer(path).and_then(Value::as_u64);
        let details = count("/input_tokens_details/cached_tokens");
        for (slot, count) in [
            (&mut self.prompt, count("/prompt_tokens")),
            (&mut self.completion, count("/completion_tokens")),
            (&mut self.input, count("/input_tokens")),
            (&mut self.output, count("/output_tokens")),
            (
                &mut self.cached,
                count("/prompt_tokens_details/cached_tokens").or(details),
            ),
            (&mut self.cache_read, count("/cache_read_input_tokens")),
            (&mut self.cache_creation, count("/cache_creation_input_tokens")),
        ] {
            if slot.is_none() || count.is_some_and(|count| count > 0) {
                *slot = count.or(*slot);
            }
        }
    }

    /// OpenAI counts cached tokens inside the input; Anthropic counts them beside it.
    fn read(&self) -> Usage {
        // An upstream may write any number.
        let beside = self
            .cache_read
            .unwrap_or(0)
            .saturating_add(self.cache_creation.unwrap_or(0));
        Usage {
            input: self
                .prompt
                .or(self.input.map(|input| input.saturating_add(beside))),
            output: self.completion.or(self.output),
            cached: self.cache_read.or(self.cached),
        }
    }
}

#[cfg(test)]
mod tests;
