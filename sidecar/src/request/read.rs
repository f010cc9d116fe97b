//! Reads the three public surfaces into a [`Request`]: chat completions, responses, messages.
//!
//! Reads only what decisions need. A value of an unexpected type is skipped, never guessed at: its part is then
//! not a text, and nothing that is not a text is ever replaced.

use super::RequestError;
use super::block::read_block;
use super::json::{JsonError, Key, Kind, Reader};
use super::literal::Literal;
use super::view::{Part, PartKind, Request, Role};
use crate::api::Surface;

/// More parts than any honest request has; keeps the view small beside the body.
const MAX_PARTS: usize = 20_000;

type Read = Result<(), RequestError>;

/// Reads a body of one of the three public surfaces.
pub(super) fn read<'a>(surface: Surface, text: &'a str) -> Result<Request<'a>, RequestError> {
    let mut reader = Reader::new(text);
    let mut request = Request::empty(surface);
    let mut seen = Seen::default();
    if reader.kind()? != Kind::Object {
        return Err(RequestError::NotAnObject);
    }
    reader.object(|reader, key| request.field(reader, &key, &mut seen))?;
    reader.finish()?;
    request.duplicate_key |= seen.twice;
    Ok(request)
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

/// A message while it is read: its role may stand behind its content.
struct Draft<'a> {
    role: Option<Role>,
    kind: Option<String>,
    contents: Vec<Content<'a>>,
    cache_marked: bool,
}

/// A text of a message, or a block without one.
struct Content<'a> {
    kind: PartKind,
    text: Option<Literal<'a>>,
    cache_marked: bool,
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

    fn field(&mut self, reader: &mut Reader<'a>, key: &Key<'a>, seen: &mut Seen) -> Read {
        let known: &[&'static str] = match self.surface {
            Surface::ChatCompletions => &["model", "stream", "messages", "prediction"],
            Surface::Responses => &[
                "model",
                "stream",
                "input",
                "previous_response_id",
                "conversation",
                "prompt",
            ],
            Surface::Messages | Surface::HybridChat => &["model", "stream", "messages", "cache_control"],
        };
        match seen.note(key, known) {
            Some("model") => self.model = string(reader)?.map(|literal| literal.decode_lossy()),
            Some("stream") => self.stream = reader.skip_text()? == "true",
            Some("messages") => self.messages(reader)?,
            Some("input") if reader.kind()? == Kind::String => {
                let text = Some(reader.string()?);
                self.push(Part {
                    message: 0,
                    role: Role::User,
                    kind: PartKind::Text,
                    text,
                    call: None,
                    cache_marked: false,
                });
            }
            Some("input") => self.messages(reader)?,
            Some("cache_control") => self.cache_marked = is_set(reader)?,
            Some(field) => {
                let set = is_set(reader)?;
                self.stateful = self.stateful.or(set.then_some(field));
            }
            None => {
                reader.skip()?;
            }
        }
        Ok(())
    }

    fn messages(&mut self, reader: &mut Reader<'a>) -> Read {
        if reader.kind()? != Kind::Array {
            let range = reader.skip()?;
            return Err(RequestError::NotAnArray { at: range.start });
        }
        let mut message = 0;
        reader.array(|reader| {
            let draft = self.message(reader)?;
            self.finish(draft, message);
            message += 1;
            Ok(())
        })
    }

    fn message(&mut self, reader: &mut Reader<'a>) -> Result<Draft<'a>, RequestError> {
        let mut draft = Draft {
            role: None,
            kind: None,
            contents: Vec::new(),
            cache_marked: false,
        };
        if reader.kind()? != Kind::Object {
            reader.skip()?;
            return Ok(draft);
        }
        let mut seen = Seen::default();
        let known = [
            "role",
            "type",
            "content",
            "cache_control",
            "prompt_cache_breakpoint",
        ];
        reader.object(|reader, key| {
            match seen.note(&key, &known) {
                Some("role") => draft.role = string(reader)?.map(|role| Role::parse(&role.decode_lossy())),
                Some("type") => draft.kind = string(reader)?.map(|kind| kind.decode_lossy().into_owned()),
                Some("content") => self.content(reader, &mut draft)?,
                Some(_) => draft.cache_marked |= is_set(reader)?,
                None => {
                    reader.skip()?;
                }
            }
            Ok::<_, RequestError>(())
        })?;
        self.duplicate_key |= seen.twice;
        Ok(draft)
    }

    fn content(&mut self, reader: &mut Reader<'a>, draft: &mut Draft<'a>) -> Read {
        match reader.kind()? {
            Kind::String => draft.contents.push(Content {
                kind: PartKind::Text,
                text: Some(reader.string()?),
                cache_marked: false,
            }),
            Kind::Array => reader.array(|reader| self.block(reader, draft))?,
            Kind::Object | Kind::Scalar => {
                reader.skip()?;
            }
        }
        Ok(())
    }

    /// Reads a block into the draft: a part for each text of it, one if it has none.
    fn block(&mut self, reader: &mut Reader<'a>, draft: &mut Draft<'a>) -> Read {
        let block = read_block(reader)?;
        self.duplicate_key |= block.duplicate_key;
        let none = block.texts.is_empty().then_some(None);
        for text in block.texts.into_iter().map(Some).chain(none) {
            if self.parts.len() + draft.contents.len() >= MAX_PARTS {
                self.too_many_parts = true;
                break;
            }
            draft.contents.push(Content {
                kind: block.kind,
                text,
                cache_marked: block.cache_marked,
            });
        }
        Ok(())
    }

    fn finish(&mut self, draft: Draft<'a>, message: usize) {
        let role = match (draft.kind.as_deref(), draft.role) {
            (None | Some("message"), Some(role)) => role,
            (Some("reasoning" | "function_call" | "compaction"), _) => Role::Assistant,
            (Some("item_reference"), _) => {
                self.stateful = self.stateful.or(Some("item_reference"));
                Role::Tool
            }
            _ => Role::Tool,
        };
        let none = draft.contents.is_empty().then_some(Content {
            kind: PartKind::Other,
            text: None,
            cache_marked: false,
        });
        for content in draft.contents.into_iter().chain(none) {
            self.push(Part {
                message,
                role,
                kind: content.kind,
                text: content.text,
                call: None,
                cache_marked: content.cache_marked || draft.cache_marked,
            });
        }
    }

    pub(super) fn push(&mut self, part: Part<'a>) {
        if self.parts.len() < MAX_PARTS {
            self.parts.push(part);
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

/// Returns true for any value but `null` and `false`.
pub(super) fn is_set(reader: &mut Reader<'_>) -> Result<bool, JsonError> {
    Ok(!matches!(reader.skip_text()?, "null" | "false"))
}
