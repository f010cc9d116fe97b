//! Messages in Anthropic's words: system text apart, tool results inside the user's turns, turns that
//! alternate.
//!
//! Rules: "Messages" (API reference: turns alternate and begin with the user's, each holds something, a last
//! assistant turn does not end with white space) and "How to implement tool use" of Anthropic's documentation
//! (each call is answered once, in the turn after it, results before everything else).

use serde_json::{Value, json};

use super::RequestError;
use super::alias::{CallIds, ToolNames};
use super::content::{Allowed, blocks};
use super::text::trim_end;

/// The user's turn before an assistant's greeting, or beside a system prompt alone.
const START: &str = "(start of the conversation)";

/// A user's turn in which nothing is said. Left out, the turns around it would become one.
const EMPTY: &str = "(empty message)";

/// Longest part of an identifier of the client's in an error.
const MAX_SHOWN: usize = 64;

/// The conversation as Anthropic takes it.
#[derive(Debug)]
pub(super) struct Conversation {
    /// Blocks of the system prompt.
    pub(super) system: Vec<Value>,
    /// Turns that alternate, the user's first.
    pub(super) messages: Vec<Value>,
    /// Whether the last turn is the assistant's.
    pub(super) ends_with_assistant: bool,
}

/// Sorts the messages into system blocks and turns.
pub(super) fn conversation(messages: &[Value], names: &mut ToolNames) -> Result<Conversation, RequestError> {
    let mut system = Vec::new();
    let mut turns = Turns::new(names);
    for (index, message) in messages.iter().enumerate() {
        let content = message.get("content").unwrap_or(&Value::Null);
        let read = |allowed| blocks(content, allowed).map_err(|error| error.at(index));
        match message.get("role").and_then(Value::as_str) {
            Some("system" | "developer") => system.extend(read(Allowed::Text)?),
            Some("user") => {
                let blocks = read(Allowed::Everything)?;
                turns.turn(Role::User).blocks.extend(blocks);
            }
            Some("assistant") => turns.add_assistant(index, message, read(Allowed::Text)?)?,
            Some("tool") => turns.add_result(index, message, read(Allowed::Everything)?)?,
            _ => {
                let reason = "only the roles system, developer, user, assistant and tool are translated";
                return Err(RequestError::Unsupported {
                    field: "messages",
                    reason,
                });
            }
        }
    }
    turns.finish(system)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    User,
    Assistant,
}

#[derive(Debug)]
struct Turn {
    role: Role,
    /// Results of the calls in the turn before; they come first.
    results: Vec<Value>,
    blocks: Vec<Value>,
}

impl Turn {
    fn new(role: Role) -> Self {
        Self {
            role,
            results: Vec::new(),
            blocks: Vec::new(),
        }
    }

    fn write(mut self) -> Value {
        let role = match self.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        self.results.append(&mut self.blocks);
        json!({"role": role, "content": self.results})
    }
}

/// A call that waits for its result.
#[derive(Debug)]
struct OpenCall {
    /// The client's id.
    id: String,
    /// The id that is sent.
    alias: String,
}

struct Turns<'a> {
    turns: Vec<Turn>,
    open: Vec<OpenCall>,
    ids: CallIds,
    names: &'a mut ToolNames,
}

impl<'a> Turns<'a> {
    fn new(names: &'a mut ToolNames) -> Self {
        Self {
            turns: Vec::new(),
            open: Vec::new(),
            ids: CallIds::default(),
            names,
        }
    }

    /// Returns the last turn if it is of this role, or a new one.
    fn turn(&mut self, role: Role) -> &mut Turn {
        let last = self.turns.iter().rposition(|_| true);
        let index = match last.filter(|last| self.turns[*last].role == role) {
            Some(last) => last,
            None => {
                self.turns.push(Turn::new(role));
                self.turns.len() - 1
            }
        };
        &mut self.turns[index]
    }

    fn add_assistant(
        &mut self,
        index: usize,
        message: &Value,
        mut blocks: Vec<Value>,
    ) -> Result<(), RequestError> {
        if blocks.is_empty()
            && let Some(refusal) = message.get("refusal").and_then(Value::as_str)
        {
            blocks.extend(super::content::text_block(refusal));
        }
        let calls = match message.get("tool_calls") {
            None | Some(Value::Null) => &[][..],
            Some(Value::Array(calls)) => calls,
            Some(_) => return Err(RequestError::invalid("messages", "tool_calls is not a list").at(index)),
        };
        if blocks.is_empty() && calls.is_empty() {
            return Ok(());
        }
        self.require_answers()?;
        for call in calls {
            let call = ClientCall::read(call).map_err(|error| error.at(index))?;
            let alias = self.ids.issue(call.id);
            let name = self.names.translate(call.name);
            blocks.push(json!({"type": "tool_use", "id": alias, "name": name, "input": call.input}));
            self.open.push(OpenCall {
                id: call.id.to_owned(),
                alias,
            });
        }
        self.turn(Role::Assistant).blocks.append(&mut blocks);
        Ok(())
    }

    fn add_result(&mut self, index: usize, message: &Value, content: Vec<Value>) -> Result<(), RequestError> {
        let id = message.get("tool_call_id").and_then(Value::as_str);
        let missing = || RequestError::invalid("messages", "a tool message without tool_call_id").at(index);
        let id = id.ok_or_else(missing)?;
        let Some(place) = self.open.iter().position(|call| call.id == id) else {
            let reason = format!(
                "tool_call_id {} answers no open call of the assistant message before it; answer each call once",
                shown(id)
            );
            return Err(RequestError::invalid("messages", reason).at(index));
        };
        let call = self.open.remove(place);
        let mut result = json!({"type": "tool_result", "tool_use_id": call.alias});
        if !content.is_empty() {
            result["content"] = content.into();
        }
        self.turn(Role::User).results.push(result);
        Ok(())
    }

    fn require_answers(&self) -> Result<(), RequestError> {
        let Some(call) = self.open.first() else {
            return Ok(());
        };
        let reason = format!(
            "no tool message answers the call {}; add one with its tool_call_id right after the call",
            shown(&call.id)
        );
        Err(RequestError::invalid("messages", reason))
    }

    fn finish(mut self, system: Vec<Value>) -> Result<Conversation, RequestError> {
        self.require_answers()?;
        if self.turns.is_empty() && system.is_empty() {
            return Err(RequestError::invalid(
                "messages",
                "nothing is said in them; add a message of the user",
            ));
        }
        if self
            .turns
            .first()
            .is_none_or(|first| first.role == Role::Assistant)
        {
            let mut start = Turn::new(Role::User);
            start.blocks.push(json!({"type": "text", "text": START}));
            self.turns.insert(0, start);
        }
        for turn in &mut self.turns {
            if turn.results.is_empty() && turn.blocks.is_empty() {
                turn.blocks.push(json!({"type": "text", "text": EMPTY}));
            }
        }
        let last = self.turns.last_mut().filter(|last| last.role == Role::Assistant);
        let ends_with_assistant = last.is_some();
        if let Some(text) = last.and_then(|last| last.blocks.last_mut()?.get_mut("text")) {
            *text = trim_end(text.as_str().unwrap_or_default()).into();
        }
        Ok(Conversation {
            system,
            messages: self.turns.into_iter().map(Turn::write).collect(),
            ends_with_assistant,
        })
    }
}

/// A call in a message of the assistant's.
struct ClientCall<'a> {
    id: &'a str,
    name: &'a str,
    input: Value,
}

impl<'a> ClientCall<'a> {
    fn read(call: &'a Value) -> Result<Self, RequestError> {
        let unsupported = || RequestError::Unsupported {
            field: "messages.tool_calls",
            reason: "only calls of functions are translated",
        };
        let function = call.get("function").filter(|function| function.is_object());
        let function = function.ok_or_else(unsupported)?;
        let text = |of: &'a Value, name: &str| of.get(name).and_then(Value::as_str);
        let invalid = |reason: String| RequestError::invalid("messages", reason);
        let id = text(call, "id").ok_or_else(|| invalid("a tool call without id".into()))?;
        let name = text(function, "name").filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| invalid(format!("the tool call {} names no function", shown(id))))?;
        let input = input(function.get("arguments")).map_err(|reason| {
            let (id, name) = (shown(id), shown(name));
            invalid(format!("the arguments of the tool call {id} of {name} {reason}"))
        })?;
        Ok(Self { id, name, input })
    }
}

/// Reads a call's arguments as the object that Anthropic takes. Nothing at all, in whatever form, is an object
/// without members; an object may come as itself, as its text, or as the text of its text.
fn input(arguments: Option<&Value>) -> Result<Value, String> {
    let mut value = arguments.cloned().unwrap_or_default();
    for _ in 0..2 {
        let Value::String(text) = &value else { break };
        value = match text.trim() {
            "" => Value::Null,
            text => serde_json::from_str(text).map_err(|error| {
                format!("are not JSON ({error}): complete them, or leave out the call and its result")
            })?,
        };
    }
    match value {
        Value::Object(_) => Ok(value),
        Value::Null => Ok(json!({})),
        // How languages without a type for maps write an empty object.
        Value::Array(list) if list.is_empty() => Ok(json!({})),
        _ => Err("are JSON, but not an object: write them as an object of named arguments".into()),
    }
}

/// Returns an identifier of the client's as an error shows it.
fn shown(identifier: &str) -> String {
    let short: String = identifier.chars().take(MAX_SHOWN).collect();
    format!("{short:?}")
}
