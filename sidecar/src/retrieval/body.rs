//! The two places of a request's body in which something is added: the end of its tools and the end of its
//! conversation. Every other byte stays.

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;

use super::tool;
use crate::api::Wire;
use crate::request::{JsonError, Reader};

/// A body to which a tool and turns can be added.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outline {
    /// The value of `tools`, where there is one.
    tools: Option<Range<usize>>,
    /// The value of `messages` or `input`.
    turns: Range<usize>,
    /// The names of the application's tools.
    pub(super) names: Vec<String>,
    /// The answer is to be a stream.
    pub(super) stream: bool,
    /// The answer is to be of a form.
    pub(super) structured: bool,
}

/// The top level of a body while it is read.
#[derive(Default)]
struct Draft {
    tools: Option<Range<usize>>,
    turns: Option<Range<usize>>,
    stream: bool,
    structured: bool,
    /// Something in it rules the tool out.
    unfit: bool,
}

impl Outline {
    /// Reads a body; `None` if the tool cannot be offered in it.
    pub(super) fn read(wire: Wire, body: &str) -> Option<Self> {
        let mut draft = Draft::default();
        let mut reader = Reader::new(body);
        let read = reader.object(|reader, key| {
            let range = reader.skip()?;
            let text = &body[range.clone()];
            draft.field(wire, &key.name, range, text);
            Ok::<_, JsonError>(())
        });
        read.and_then(|()| reader.finish()).ok()?;
        let Draft {
            tools,
            turns: Some(turns),
            stream,
            structured,
            unfit: false,
        } = draft
        else {
            return None;
        };
        let listed = tools.clone().map_or("null", |range| &body[range]);
        let names = match serde_json::from_str(listed).ok()? {
            Value::Null => Vec::new(),
            Value::Array(tools) => tools
                .iter()
                .filter_map(tool::name_of)
                .map(str::to_owned)
                .collect(),
            _ => return None,
        };
        Some(Self {
            tools,
            turns,
            names,
            stream,
            structured,
        })
    }

    /// Adds a tool behind the others.
    pub(super) fn with_tool(&self, body: &str, definition: &Value) -> Bytes {
        let (range, text) = match &self.tools {
            Some(range) if body[range.clone()].starts_with('[') => {
                insertion(body, range, &[definition.to_string()])
            }
            Some(range) => (range.clone(), format!("[{definition}]")),
            None => {
                let end = body.trim_end().len() - 1;
                (end..end, format!(",\"tools\":[{definition}]"))
            }
        };
        replaced(body, range, &text)
    }

    /// Adds turns behind the others. A conversation that is one text becomes a list.
    pub(super) fn with_turns(&self, body: &str, turns: &[Value]) -> Bytes {
        let turns: Vec<String> = turns.iter().map(Value::to_string).collect();
        let said = &body[self.turns.clone()];
        let (range, text) = if said.starts_with('[') {
            insertion(body, &self.turns, &turns)
        } else {
            let all = turns.join(",");
            let text = format!("[{{\"role\":\"user\",\"content\":{said}}},{all}]");
            (self.turns.clone(), text)
        };
        replaced(body, range, &text)
    }
}

impl Draft {
    fn field(&mut self, wire: Wire, key: &str, range: Range<usize>, text: &str) {
        let is_set = !matches!(text, "null" | "false");
        match (key, wire) {
            ("tools", _) => self.unfit |= self.tools.replace(range).is_some(),
            ("messages", Wire::Chat | Wire::Messages) => {
                self.unfit |= self.turns.replace(range).is_some() || !text.starts_with('[');
            }
            ("input", Wire::Responses) => {
                self.unfit |= self.turns.replace(range).is_some() || !text.starts_with(['[', '"']);
            }
            ("tool_choice", _) => self.unfit |= !leaves_the_choice(text),
            ("n", Wire::Chat) => self.unfit |= !matches!(text, "1" | "null"),
            ("functions" | "function_call" | "audio", Wire::Chat) => self.unfit |= is_set,
            ("background", Wire::Responses) => self.unfit |= is_set,
            ("stream", _) => self.stream |= is_set,
            ("response_format", _) => self.structured |= is_set,
            _ => {}
        }
    }
}

/// Returns whether a `tool_choice` lets the model choose among all tools, and none.
fn leaves_the_choice(text: &str) -> bool {
    match serde_json::from_str(text) {
        Ok(Value::Null) => true,
        Ok(Value::String(choice)) => choice == "auto",
        Ok(Value::Object(choice)) => choice.get("type").is_some_and(|kind| kind == "auto"),
        _ => false,
    }
}

/// Returns what to insert at the end of the array in `range`, and where.
fn insertion(body: &str, range: &Range<usize>, elements: &[String]) -> (Range<usize>, String) {
    let end = range.end - 1;
    let is_empty = body[range.start + 1..end].trim().is_empty();
    let comma = if is_empty { "" } else { "," };
    (end..end, format!("{comma}{}", elements.join(",")))
}

fn replaced(body: &str, range: Range<usize>, text: &str) -> Bytes {
    let mut out = Vec::with_capacity(body.len() + text.len());
    out.extend_from_slice(&body.as_bytes()[..range.start]);
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(&body.as_bytes()[range.end..]);
    out.into()
}
