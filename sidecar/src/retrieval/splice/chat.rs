//! Streams of chat completion chunks as one. The first stream's id is that of all; roles are said once; calls of the
//! application's tools are numbered as if ours were not there; usage is added up where it is said.

use bytes::BytesMut;
use serde_json::{Map, Value, json};

use super::{Splice, pass, write};
use crate::retrieval::answer::{is_end_of_turn, sent_back};
use crate::retrieval::tool::name_of;
use crate::retrieval::{Question, Turn, usage};
use crate::sse::Event;

#[derive(Debug)]
pub(super) struct ChatSplice {
    tool: String,
    may_ask: bool,
    /// Questions that were dropped.
    dropped: usize,
    /// The first chunk's `id` and `created`.
    head: Option<Head>,
    /// Whether the client knows the role.
    role_is_out: bool,
    /// The usage of the streams before.
    before: Value,
    is_first: bool,
    stream: Stream,
}

#[derive(Debug)]
struct Head {
    id: Value,
    created: Value,
}

/// The state of one stream.
#[derive(Debug, Default)]
struct Stream {
    /// The message as it is put together from its deltas, but for its calls.
    said: Map<String, Value>,
    calls: Vec<Call>,
    /// The last usage that was said.
    usage: Value,
    /// It has ended with questions to us and nothing else.
    asks: bool,
    is_over: bool,
}

/// A call of a tool.
#[derive(Debug)]
struct Call {
    index: u64,
    is_ours: bool,
    question: Question,
}

impl ChatSplice {
    pub(super) fn new(tool: String, may_ask: bool) -> Self {
        Self {
            tool,
            may_ask,
            dropped: 0,
            head: None,
            role_is_out: false,
            before: Value::Null,
            is_first: true,
            stream: Stream::default(),
        }
    }
}

impl Splice for ChatSplice {
    fn asks(&self) -> bool {
        self.stream.asks
    }

    fn is_over(&self) -> bool {
        self.stream.asks && self.stream.is_over
    }

    fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        if event.data == b"[DONE]" {
            self.stream.is_over = true;
            if !self.stream.asks {
                pass(event, out);
            }
            return;
        }
        let Ok(mut chunk) = serde_json::from_slice::<Value>(event.data) else {
            return pass(event, out);
        };
        if !chunk["choices"].is_array() {
            // An error, or something that nobody has defined.
            return pass(event, out);
        }
        let (changed, shows) = self.read(&mut chunk);
        if shows {
            write(event, &chunk, changed, out);
        }
    }

    fn take_turn(&mut self) -> Option<Turn> {
        if !self.stream.asks {
            return None;
        }
        let stream = std::mem::take(&mut self.stream);
        usage::add(&mut self.before, &stream.usage);
        self.is_first = false;
        let calls: Vec<Value> = stream
            .calls
            .iter()
            .map(|call| {
                json!({"id": call.question.id, "type": "function", "function": {
                    "name": self.tool, "arguments": call.question.arguments,
                }})
            })
            .collect();
        let mut message = stream.said;
        message.insert("role".into(), "assistant".into());
        message.entry("content").or_insert(Value::Null);
        message.insert("tool_calls".into(), calls.into());
        Some(Turn {
            said: vec![sent_back(message.into())],
            questions: stream.calls.into_iter().map(|call| call.question).collect(),
        })
    }

    fn set_may_ask(&mut self, may_ask: bool) {
        self.may_ask = may_ask;
    }

    fn take_dropped(&mut self) -> usize {
        std::mem::take(&mut self.dropped)
    }
}

impl ChatSplice {
    /// Reads a chunk and takes from it what is not the client's. Returns whether it is another one now, and whether it
    /// says anything.
    fn read(&mut self, chunk: &mut Value) -> (bool, bool) {
        let mut changed = self.name(chunk);
        let mut shows = true;
        if chunk["choices"]
            .as_array()
            .is_some_and(|choices| !choices.is_empty())
        {
            let (choice_changed, choice_shows) = self.choice(&mut chunk["choices"][0]);
            changed |= choice_changed;
            shows = choice_shows;
        } else if self.stream.asks {
            shows = false;
        }
        if chunk["usage"].is_object() {
            self.stream.usage = chunk["usage"].clone();
            if self.stream.asks {
                chunk["usage"] = Value::Null;
                changed = true;
            } else if self.before.is_object() {
                usage::add(&mut chunk["usage"], &self.before);
                changed = true;
            }
        }
        (changed, shows)
    }

    /// Gives a chunk the id of the first one.
    fn name(&mut self, chunk: &mut Value) -> bool {
        let head = self.head.get_or_insert_with(|| Head {
            id: chunk["id"].clone(),
            created: chunk["created"].clone(),
        });
        if self.is_first {
            return false;
        }
        for (field, value) in [("id", &head.id), ("created", &head.created)] {
            if !value.is_null() {
                chunk[field] = value.clone();
            }
        }
        true
    }

    /// Reads a choice; returns whether it is another one now, and whether it says anything.
    fn choice(&mut self, choice: &mut Value) -> (bool, bool) {
        let mut changed = false;
        if let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) {
            self.stream.note(delta);
            changed |= self.calls(delta);
            if delta.contains_key("role") && !self.is_first && self.role_is_out {
                delta.remove("role");
                changed = true;
            }
        }
        let says = choice["delta"].as_object().is_some_and(says_something);
        let finish = choice["finish_reason"].as_str().unwrap_or_default().to_owned();
        let mut ends = !finish.is_empty();
        if ends {
            let ours = self.stream.calls.iter().filter(|call| call.is_ours).count();
            let is_alone = ours > 0 && ours == self.stream.calls.len();
            self.stream.asks = is_alone && self.may_ask && is_end_of_turn(&finish);
            if self.stream.asks {
                choice["finish_reason"] = Value::Null;
                (ends, changed) = (false, true);
            } else {
                self.dropped += ours;
                if is_alone && finish == "tool_calls" {
                    choice["finish_reason"] = "stop".into();
                    changed = true;
                }
            }
        }
        let shows = says
            || ends
            || !changed
            || (choice["delta"].get("role").is_some() && !self.role_is_out && self.stream.calls.is_empty());
        if shows && choice["delta"].get("role").is_some() {
            self.role_is_out = true;
        }
        (changed, shows)
    }

    /// Takes our calls out of a delta, and numbers the others.
    fn calls(&mut self, delta: &mut Map<String, Value>) -> bool {
        let Some(calls) = delta.get_mut("tool_calls").and_then(Value::as_array_mut) else {
            return false;
        };
        let mut changed = false;
        calls.retain_mut(|call| {
            let at = self.stream.call(call, &self.tool);
            let known = &self.stream.calls;
            let is_ours = known.get(at).is_some_and(|call| call.is_ours);
            let ours_before = known.iter().take(at).filter(|call| call.is_ours).count();
            if let (false, 1.., Some(call)) = (is_ours, ours_before, call.as_object_mut()) {
                call.insert("index".into(), (at - ours_before).into());
            }
            changed |= is_ours || ours_before > 0;
            !is_ours
        });
        if calls.is_empty() {
            delta.remove("tool_calls");
        }
        changed
    }
}

impl Stream {
    /// Adds the texts of a delta to the message.
    fn note(&mut self, delta: &Map<String, Value>) {
        for (name, value) in delta {
            let (Some(more), false) = (value.as_str(), name == "role") else {
                continue;
            };
            match self.said.get_mut(name) {
                Some(Value::String(text)) => text.push_str(more),
                _ => drop(self.said.insert(name.clone(), more.into())),
            }
        }
    }

    /// Adds a piece of a call; returns the call's position.
    fn call(&mut self, piece: &Value, tool: &str) -> usize {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (index, id) = (piece["index"].as_u64().unwrap_or(0), text(&piece["id"]));
        // Some servers number every call 0, each with an id of its own.
        let is_same = |call: &Call| call.index == index && (id.is_empty() || id == call.question.id);
        let at = self.calls.iter().rposition(is_same).unwrap_or_else(|| {
            self.calls.push(Call {
                index,
                is_ours: name_of(piece) == Some(tool),
                question: Question {
                    id: id.clone(),
                    arguments: String::new(),
                },
            });
            self.calls.len() - 1
        });
        if let Some(call) = self.calls.get_mut(at).filter(|call| call.is_ours) {
            call.question
                .arguments
                .push_str(&text(&piece["function"]["arguments"]));
        }
        at
    }
}

/// Returns whether a delta has anything for the client beside the role.
fn says_something(delta: &Map<String, Value>) -> bool {
    delta.iter().any(|(name, value)| {
        name != "role"
            && match value {
                Value::Null => false,
                Value::String(text) => !text.is_empty(),
                Value::Array(list) => !list.is_empty(),
                _ => true,
            }
    })
}
