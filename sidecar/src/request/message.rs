//! Reads one message of a conversation: of chat completions and the Messages API, or an item of the Responses
//! API's input.

use std::borrow::Cow;

use super::RequestError;
use super::block::{Answered, Contents, Piece};
use super::json::{Kind, Reader};
use super::read::{Seen, is_set, string};
use super::tool::{ToolUse, read_arguments, read_call, read_name, read_tool_calls};
use super::view::{Part, PartKind, Request, Role};

/// A message while it is read: its role may stand behind its content.
#[derive(Default)]
pub(super) struct Message<'a> {
    role: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    contents: Contents<'a>,
    /// What a tool answered, in an item of the Responses API.
    output: Contents<'a>,
    /// What an item of the Responses API calls.
    item: ToolUse<'a>,
    calls: Vec<ToolUse<'a>>,
    call_id: Option<Cow<'a, str>>,
    tool_call_id: Option<Cow<'a, str>>,
    cache_marked: bool,
    duplicate_key: bool,
}

/// What an item is, as far as it decides who speaks.
enum Speaker<'a> {
    Role(Role),
    /// A tool, or a function as tools were called before; with the call that it answers.
    Tool(Answered<'a>),
    /// An item that the model made: its reasoning, or a call.
    Model,
    /// An item that the provider keeps.
    Reference,
}

impl<'a> From<Contents<'a>> for Message<'a> {
    /// A message of nobody, for a text beside the messages.
    fn from(contents: Contents<'a>) -> Self {
        Self {
            contents,
            ..Self::default()
        }
    }
}

impl<'a> Message<'a> {
    /// Reads a message; what is no object has no content.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, RequestError> {
        let mut message = Self::default();
        if reader.kind()? != Kind::Object {
            reader.skip()?;
            return Ok(message);
        }
        let mut seen = Seen::default();
        let known = [
            "role",
            "type",
            "content",
            "output",
            "cache_control",
            "prompt_cache_breakpoint",
        ];
        reader.object(|reader, key| {
            match seen.note(&key, &known) {
                Some("role") => message.role = string(reader)?.map(|role| role.decode_lossy()),
                Some("type") => message.kind = string(reader)?.map(|kind| kind.decode_lossy()),
                Some("content") => message.contents = Contents::read(reader)?,
                Some("output") => message.output = Contents::read(reader)?,
                Some(_) => message.cache_marked |= is_set(reader)?,
                None => message.read_of_tool(reader, &key.name)?,
            }
            Ok::<_, RequestError>(())
        })?;
        message.duplicate_key = seen.twice;
        Ok(message)
    }

    /// Reads a field that calls and results of tools have.
    fn read_of_tool(&mut self, reader: &mut Reader<'a>, key: &str) -> Result<(), RequestError> {
        match key {
            "tool_calls" => self.calls = read_tool_calls(reader)?,
            "function_call" if reader.kind()? == Kind::Object => {
                let mut call = ToolUse::default();
                read_call(reader, &mut call)?;
                self.calls.push(call);
            }
            "id" => self.item.id = read_name(reader)?,
            "name" => self.item.name = read_name(reader)?,
            "call_id" => self.call_id = read_name(reader)?,
            "tool_call_id" => self.tool_call_id = read_name(reader)?,
            "arguments" | "input" | "action" | "operation" => self.item.arguments = read_arguments(reader)?,
            _ => {
                reader.skip()?;
            }
        }
        Ok(())
    }

    /// Decides who speaks, and takes from the message what only calls and results have.
    fn speaker(&mut self) -> Speaker<'a> {
        let kind = self.kind.take().unwrap_or_default();
        let answered = |call| Answered {
            call,
            is_error: false,
        };
        match (&*kind, self.role.as_deref()) {
            ("" | "message", Some("tool" | "function")) => {
                let call = self.tool_call_id.take().or_else(|| self.item.name.take());
                Speaker::Tool(answered(call))
            }
            ("" | "message", Some(role)) => Speaker::Role(Role::parse(role)),
            ("reasoning" | "compaction", _) => Speaker::Model,
            ("item_reference", _) => Speaker::Reference,
            (kind, _) if kind.ends_with("_output") => {
                self.contents = std::mem::take(&mut self.output);
                let call = self.call_id.take().or_else(|| self.item.id.take());
                Speaker::Tool(answered(call))
            }
            (kind, _) => match kind.strip_suffix("_call") {
                Some(tool) => {
                    let mut call = std::mem::take(&mut self.item);
                    call.id = self.call_id.take().or(call.id);
                    call.name = call.name.or_else(|| Some(tool.to_owned().into()));
                    self.calls.push(call);
                    Speaker::Model
                }
                None => Speaker::Role(Role::Tool),
            },
        }
    }
}

impl<'a> Request<'a> {
    /// Adds a message: a part for each piece of its content, one if it has none.
    pub(super) fn push_message(&mut self, mut message: Message<'a>, at: usize) {
        let speaker = message.speaker();
        let contents = message.contents;
        self.duplicate_key |= message.duplicate_key || contents.duplicate_key;
        self.too_many_parts |= contents.too_many;
        for call in message.calls.into_iter().chain(contents.calls) {
            self.push_call(call.in_message(at));
        }
        let (role, answered) = match speaker {
            Speaker::Role(role) => (role, None),
            Speaker::Model => (Role::Assistant, None),
            Speaker::Tool(answered) => (Role::Tool, Some(answered)),
            Speaker::Reference => {
                self.stateful = self.stateful.or(Some("item_reference"));
                (Role::Tool, None)
            }
        };
        let none = contents.pieces.is_empty().then_some(Piece {
            kind: PartKind::Other,
            text: None,
            result: None,
            cache_marked: false,
        });
        for piece in contents.pieces.into_iter().chain(none) {
            let piece = match &answered {
                Some(answered) => piece.answering(answered),
                None => piece,
            };
            let is_result = piece.result.is_some();
            let (call, is_error) = piece
                .result
                .map_or((None, false), |result| (result.call, result.is_error));
            self.push(Part {
                message: at,
                role: if is_result { Role::Tool } else { role },
                kind: piece.kind,
                text: piece.text,
                call,
                is_error,
                cache_marked: piece.cache_marked || message.cache_marked,
            });
        }
    }
}
