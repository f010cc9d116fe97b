//! Reads the public surfaces into a [`Request`]: chat completions, responses, messages, completions.
//!
//! Reads only what decisions need. A value of an unexpected type is skipped, never guessed at: its part is then
//! not a text, and nothing that is not a text is ever replaced.

use super::RequestError;
use super::block::Contents;
use super::demand::Demand;
use super::json::{JsonError, Key, Kind, Reader};
use super::literal::Literal;
use super::message::Message;
use super::view::{Part, PartKind, Request, Role, ToolCall};
use crate::api::Surface;

/// More parts than any honest request has; keeps the view small beside the body.
pub(super) const MAX_PARTS: usize = 20_000;

type Read = Result<(), RequestError>;

/// Reads a body of one of the public surfaces.
pub(super) fn read<'a>(surface: Surface, text: &'a str) -> Result<Request<'a>, RequestError> {
    let mut reader = Reader::new(text);
    let mut draft = Draft {
        request: Request::empty(surface),
        system: Vec::new(),
        demand: Demand::default(),
        seen: Seen::default(),
    };
    if reader.kind()? != Kind::Object {
        return Err(RequestError::NotAnObject);
    }
    reader.object(|reader, key| draft.field(reader, &key))?;
    reader.finish()?;
    Ok(draft.finish())
}

/// Remembers which of the keys that matter have occurred.
#[derive(Default)]
pub(super) struct Seen {
    keys: Vec<&'static str>,
    pub(super) twice: bool,
}

impl Seen {
    /// The key if it matters, noted.
    pub(super) fn note(&mut self, key: &Key<'_>, known: &[&'static str]) -> Option<&'static str> {
        let name = known.iter().copied().find(|name| *name == key.name)?;
        if self.keys.contains(&name) {
            self.twice = true;
        } else {
            self.keys.push(name);
        }
        Some(name)
    }
}

/// A request while it is read: its system text may stand behind its messages.
struct Draft<'a> {
    request: Request<'a>,
    /// The parts of the system text beside the messages.
    system: Vec<Part<'a>>,
    demand: Demand<'a>,
    seen: Seen,
}

impl<'a> Draft<'a> {
    fn field(&mut self, reader: &mut Reader<'a>, key: &Key<'a>) -> Read {
        let known: &[&'static str] = match self.request.surface {
            Surface::ChatCompletions => &["model", "stream", "messages", "prediction"],
            Surface::Responses => &[
                "model",
                "stream",
                "instructions",
                "input",
                "previous_response_id",
                "conversation",
                "prompt",
            ],
            Surface::Messages | Surface::HybridChat => {
                &["model", "stream", "system", "messages", "cache_control"]
            }
            // A prompt that is echoed or filled in at its middle is not only read.
            Surface::Completions => &["model", "stream", "prompt", "echo", "suffix"],
        };
        let request = &mut self.request;
        match self.seen.note(key, known) {
            Some("model") => request.model = string(reader)?.map(|literal| literal.decode_lossy()),
            Some("stream") => request.stream = reader.skip_text()? == "true",
            Some("messages") => request.messages(reader)?,
            Some("input") if reader.kind()? == Kind::String => {
                let text = reader.string()?;
                request.push(Part::said(Role::User, text));
            }
            Some("input") => request.messages(reader)?,
            Some("prompt") if request.surface == Surface::Completions => request.prompt(reader)?,
            Some("instructions" | "system") => self.system(reader)?,
            Some("cache_control") => request.cache_marked = is_set(reader)?,
            Some(field) => {
                let set = is_set(reader)?;
                request.stateful = request.stateful.or(set.then_some(field));
            }
            None if self.demand.read(reader, &key.name)? => {}
            None => {
                reader.skip()?;
            }
        }
        Ok(())
    }

    /// Reads a system text beside the messages: a string, an array of text blocks, or an array of messages.
    fn system(&mut self, reader: &mut Reader<'a>) -> Read {
        let mut system = Request::empty(self.request.surface);
        if self.request.surface == Surface::Responses && reader.kind()? == Kind::Array {
            system.messages(reader)?;
        } else {
            system.push_message(Message::from(Contents::read(reader)?), 0);
        }
        self.request.duplicate_key |= system.duplicate_key;
        self.request.too_many_parts |= system.too_many_parts;
        self.request.stateful = self.request.stateful.or(system.stateful);
        let parts = system.parts.into_iter().filter(|part| part.text.is_some());
        self.system = parts
            .map(|part| Part {
                message: 0,
                role: Role::System,
                ..part
            })
            .collect();
        Ok(())
    }

    fn finish(self) -> Request<'a> {
        let mut request = self.request;
        request.duplicate_key |= self.seen.twice;
        request.fields = self.demand.into_fields();
        if self.system.is_empty() {
            return request;
        }
        for message in request.parts.iter_mut().map(|part| &mut part.message) {
            *message += 1;
        }
        for call in &mut request.calls {
            call.message += 1;
        }
        let messages = std::mem::replace(&mut request.parts, self.system);
        messages.into_iter().for_each(|part| request.push(part));
        request
    }
}

impl<'a> Part<'a> {
    /// A text that is a message of its own, the first.
    pub(super) fn said(role: Role, text: Literal<'a>) -> Self {
        Self {
            message: 0,
            role,
            kind: PartKind::Text,
            text: Some(text),
            call: None,
            is_error: false,
            cache_marked: false,
        }
    }
}

impl<'a> Request<'a> {
    pub(super) fn empty(surface: Surface) -> Self {
        Self {
            surface,
            model: None,
            stream: false,
            dry_run: false,
            parts: Vec::new(),
            stateful: None,
            cache_marked: false,
            duplicate_key: false,
            too_many_parts: false,
            hybrid: None,
            calls: Vec::new(),
            fields: Vec::new(),
        }
    }

    fn messages(&mut self, reader: &mut Reader<'a>) -> Read {
        if reader.kind()? != Kind::Array {
            let range = reader.skip()?;
            return Err(RequestError::NotAnArray { at: range.start });
        }
        let mut at = 0;
        reader.array(|reader| {
            let message = Message::read(reader)?;
            self.push_message(message, at);
            at += 1;
            Ok(())
        })
    }

    /// Reads the prompt of a completion: a string, or an array with one. Of several prompts, and of tokens, there
    /// is no text.
    fn prompt(&mut self, reader: &mut Reader<'a>) -> Read {
        let mut text = None;
        match reader.kind()? {
            Kind::String => text = Some(reader.string()?),
            Kind::Array => {
                let mut count = 0;
                reader.array(|reader| {
                    count += 1;
                    text = string(reader)?.filter(|_| count == 1);
                    Ok::<_, RequestError>(())
                })?;
            }
            Kind::Object | Kind::Scalar => {
                reader.skip()?;
            }
        }
        self.push(match text {
            Some(text) => Part::said(Role::User, text),
            None => Part {
                message: 0,
                role: Role::User,
                kind: PartKind::Other,
                text: None,
                call: None,
                is_error: false,
                cache_marked: false,
            },
        });
        Ok(())
    }

    pub(super) fn push(&mut self, part: Part<'a>) {
        if self.parts.len() < MAX_PARTS {
            self.parts.push(part);
        } else {
            self.too_many_parts = true;
        }
    }

    pub(super) fn push_call(&mut self, call: ToolCall<'a>) {
        if self.calls.len() < MAX_PARTS {
            self.calls.push(call);
        } else {
            self.too_many_parts = true;
        }
    }
}

/// A string, or `None` for a value of another kind.
pub(super) fn string<'a>(reader: &mut Reader<'a>) -> Result<Option<Literal<'a>>, JsonError> {
    if reader.kind()? == Kind::String {
        return reader.string().map(Some);
    }
    reader.skip().map(|_| None)
}

/// Returns true for any value but `null`, `false` and an empty string.
pub(super) fn is_set(reader: &mut Reader<'_>) -> Result<bool, JsonError> {
    Ok(!matches!(reader.skip_text()?, "null" | "false" | "\"\""))
}
