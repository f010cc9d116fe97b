//! Reads the three public surfaces into a [`Request`]: chat completions, responses, messages.
//!
//! Reads only what decisions need. A value of an unexpected type is skipped, never guessed at: its part is then
//! not a text, and nothing that is not a text is ever replaced.

use super::RequestError;
use super::json::{JsonError, Key, Kind, Reader};
use super::literal::Literal;
use super::view::{Part, Request, Role};
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
struct Seen {
    keys: Vec<&'static str>,
    twice: bool,
}

impl Seen {
    /// The key if it matters, noted.
    fn note(&mut self, key: &Key<'_>, known: &[&'static str]) -> Option<&'static str> {
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
    texts: Vec<(Option<Literal<'a>>, bool)>,
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
                    text,
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
            texts: Vec::new(),
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
            Kind::String => draft.texts.push((Some(reader.string()?), false)),
            Kind::Array => reader.array(|reader| {
                let part = self.part(reader)?;
                if self.parts.len() + draft.texts.len() < MAX_PARTS {
                    draft.texts.push(part);
                } else {
                    self.too_many_parts = true;
                }
                Ok::<_, RequestError>(())
            })?,
            Kind::Object | Kind::Scalar => {
                reader.skip()?;
            }
        }
        Ok(())
    }

    /// A part's text, if it is one, and whether it is cache-marked.
    fn part(&mut self, reader: &mut Reader<'a>) -> Result<(Option<Literal<'a>>, bool), RequestError> {
        if reader.kind()? != Kind::Object {
            reader.skip()?;
            return Ok((None, false));
        }
        let (mut is_text, mut text, mut marked) = (false, None, false);
        let mut seen = Seen::default();
        let known = ["type", "text", "cache_control", "prompt_cache_breakpoint"];
        reader.object(|reader, key| {
            match seen.note(&key, &known) {
                Some("type") => {
                    let kind = string(reader)?.map(|kind| kind.decode_lossy());
                    is_text = matches!(kind.as_deref(), Some("text" | "input_text" | "output_text"));
                }
                Some("text") => text = string(reader)?,
                Some(_) => marked |= is_set(reader)?,
                None => {
                    reader.skip()?;
                }
            }
            Ok::<_, RequestError>(())
        })?;
        self.duplicate_key |= seen.twice;
        Ok((text.filter(|_| is_text), marked))
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
        if draft.texts.is_empty() {
            self.push(Part {
                message,
                role,
                text: None,
                cache_marked: draft.cache_marked,
            });
        }
        for (text, marked) in draft.texts {
            self.push(Part {
                message,
                role,
                text,
                cache_marked: marked || draft.cache_marked,
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
fn is_set(reader: &mut Reader<'_>) -> Result<bool, JsonError> {
    Ok(!matches!(reader.skip_text()?, "null" | "false"))
}
