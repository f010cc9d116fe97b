//! Streams of Anthropic's message events as one: one `message_start`, blocks numbered on, one `message_delta` with the
//! usage of all.

use bytes::BytesMut;
use serde_json::{Map, Value};

use super::{Splice, pass, write};
use crate::retrieval::answer::{assistant, is_end_of_turn};
use crate::retrieval::{Question, Turn, usage};
use crate::sse::Event;

/// The counts of a usage object that `message_delta` has.
const COUNTS: [&str; 5] = [
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "server_tool_use",
];

#[derive(Debug)]
pub(super) struct MessagesSplice {
    tool: String,
    may_ask: bool,
    /// Questions that were dropped.
    dropped: usize,
    /// The number of the next block that the client gets.
    next_index: u64,
    /// The usage of the streams before.
    before: Value,
    is_first: bool,
    stream: Stream,
}

/// The state of one stream.
#[derive(Debug, Default)]
struct Stream {
    blocks: Vec<Block>,
    usage: Value,
    /// It has ended with questions to us and nothing else.
    asks: bool,
    is_over: bool,
}

/// A block of the message.
#[derive(Debug)]
struct Block {
    /// Its number in its stream.
    index: u64,
    /// Its number for the client; none for a question to us.
    shown: Option<u64>,
    /// The block, with the deltas so far.
    value: Value,
    /// A tool's input so far, as JSON.
    input: String,
}

impl MessagesSplice {
    pub(super) fn new(tool: String, may_ask: bool) -> Self {
        Self {
            tool,
            may_ask,
            dropped: 0,
            next_index: 0,
            before: Value::Null,
            is_first: true,
            stream: Stream::default(),
        }
    }
}

impl Splice for MessagesSplice {
    fn asks(&self) -> bool {
        self.stream.asks
    }

    fn is_over(&self) -> bool {
        self.stream.asks && self.stream.is_over
    }

    fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        let Ok(mut data) = serde_json::from_slice::<Value>(event.data) else {
            return pass(event, out);
        };
        let kind = data["type"].as_str().unwrap_or_default().to_owned();
        let (changed, shows) = match kind.as_str() {
            "message_start" => {
                merge(&mut self.stream.usage, &data["message"]["usage"]);
                (false, self.is_first)
            }
            "content_block_start" => self.start_block(&mut data),
            "content_block_delta" | "content_block_stop" => {
                self.stream.note(&data);
                self.renumber(&mut data)
            }
            "message_delta" => self.end(&mut data),
            "message_stop" => {
                self.stream.is_over = true;
                (false, !self.stream.asks)
            }
            _ => (false, true),
        };
        if shows {
            write(event, &data, changed, out);
        }
    }

    fn take_turn(&mut self) -> Option<Turn> {
        if !self.stream.asks {
            return None;
        }
        let stream = std::mem::take(&mut self.stream);
        usage::add(&mut self.before, &counts(&stream.usage));
        self.is_first = false;
        let (mut content, mut questions) = (Vec::new(), Vec::new());
        for block in stream.blocks {
            let (is_question, value) = (block.is_question(), block.finish());
            if is_question {
                questions.push(Question {
                    id: value["id"].as_str().unwrap_or_default().to_owned(),
                    arguments: value["input"].to_string(),
                });
            }
            content.push(value);
        }
        Some(Turn {
            said: vec![assistant(content.into())],
            questions,
        })
    }

    fn set_may_ask(&mut self, may_ask: bool) {
        self.may_ask = may_ask;
    }

    fn take_dropped(&mut self) -> usize {
        std::mem::take(&mut self.dropped)
    }
}

impl MessagesSplice {
    fn start_block(&mut self, data: &mut Value) -> (bool, bool) {
        let block = Some(data["content_block"].clone()).filter(Value::is_object);
        let value = block.unwrap_or_default();
        let is_ours = value["type"] == "tool_use" && value["name"] == self.tool.as_str();
        let shown = (!is_ours).then(|| {
            self.next_index += 1;
            self.next_index - 1
        });
        self.stream.blocks.push(Block {
            index: data["index"].as_u64().unwrap_or(0),
            shown,
            value,
            input: String::new(),
        });
        self.renumber(data)
    }

    /// Gives an event of a block the block's number for the client; returns whether that is another one, and whether
    /// the client gets it.
    fn renumber(&self, data: &mut Value) -> (bool, bool) {
        let index = data["index"].as_u64().unwrap_or(0);
        let Some(block) = self.stream.blocks.iter().rfind(|block| block.index == index) else {
            return (false, true);
        };
        match block.shown {
            None => (false, false),
            Some(shown) if shown == index => (false, true),
            Some(shown) => {
                data["index"] = shown.into();
                (true, true)
            }
        }
    }

    /// Reads the end of the message.
    fn end(&mut self, data: &mut Value) -> (bool, bool) {
        merge(&mut self.stream.usage, &data["usage"]);
        let reason = data["delta"]["stop_reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let ours = self
            .stream
            .blocks
            .iter()
            .filter(|block| block.is_question())
            .count();
        let calls = self
            .stream
            .blocks
            .iter()
            .filter(|block| block.value["type"] == "tool_use")
            .count();
        let is_alone = ours > 0 && ours == calls;
        self.stream.asks = is_alone && self.may_ask && !reason.is_empty() && is_end_of_turn(&reason);
        if self.stream.asks {
            return (false, false);
        }
        let mut changed = false;
        if !reason.is_empty() {
            self.dropped += ours;
            if is_alone && reason == "tool_use" {
                data["delta"]["stop_reason"] = "end_turn".into();
                changed = true;
            }
        }
        if self.before.is_object() {
            let mut all = counts(&self.stream.usage);
            usage::add(&mut all, &self.before);
            merge(&mut data["usage"], &all);
            changed = true;
        }
        (changed, true)
    }
}

impl Stream {
    /// Adds a delta to its block.
    fn note(&mut self, data: &Value) {
        let index = data["index"].as_u64().unwrap_or(0);
        let delta = &data["delta"];
        let found = self.blocks.iter_mut().rfind(|block| block.index == index);
        let Some(block) = found.filter(|_| delta.is_object()) else {
            return;
        };
        match delta["type"].as_str().unwrap_or_default() {
            "input_json_delta" => block
                .input
                .push_str(delta["partial_json"].as_str().unwrap_or_default()),
            "citations_delta" => match &mut block.value["citations"] {
                Value::Array(citations) => citations.push(delta["citation"].clone()),
                citations => *citations = vec![delta["citation"].clone()].into(),
            },
            _ => {
                for (name, more) in delta.as_object().into_iter().flatten() {
                    let (Some(more), false) = (more.as_str(), name == "type") else {
                        continue;
                    };
                    match &mut block.value[name] {
                        Value::String(text) => text.push_str(more),
                        text => *text = more.into(),
                    }
                }
            }
        }
    }
}

impl Block {
    /// Returns whether it calls our tool.
    fn is_question(&self) -> bool {
        self.shown.is_none()
    }

    /// Returns the block as it is at its end. An input that is no JSON stays one that is: what the model gets back for
    /// it says what is wrong.
    fn finish(self) -> Value {
        let mut value = self.value;
        if !self.input.is_empty() {
            value["input"] = serde_json::from_str(&self.input).unwrap_or_else(|_| Map::new().into());
        }
        value
    }
}

/// Writes the values of `later` that are not null over those of `usage`.
fn merge(usage: &mut Value, later: &Value) {
    let Some(later) = later.as_object() else { return };
    if !usage.is_object() {
        *usage = Map::new().into();
    }
    for (name, value) in later.iter().filter(|(_, value)| !value.is_null()) {
        usage[name] = value.clone();
    }
}

/// Returns the counts that `message_delta` has.
fn counts(usage: &Value) -> Value {
    let known = COUNTS.iter().filter(|name| !usage[**name].is_null());
    let known = known.map(|name| ((*name).to_owned(), usage[*name].clone()));
    known.collect::<Map<_, _>>().into()
}
