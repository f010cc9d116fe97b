//! Reads the content of a message: texts, documents that the Messages API carries beside them (`document`,
//! `search_result`), results and calls of tools, attachments that hold no text to read, and anything else.

use std::borrow::Cow;

use super::RequestError;
use super::json::{Kind, Reader};
use super::literal::Literal;
use super::read::{MAX_PARTS, Seen, is_set, string};
use super::tool::{ToolUse, read_arguments, read_name};
use super::view::PartKind;

/// The content of a message or of a block.
#[derive(Default)]
pub(super) struct Contents<'a> {
    /// A piece for each text, and one for each block without text.
    pub(super) pieces: Vec<Piece<'a>>,
    /// The calls of tools among the blocks.
    pub(super) calls: Vec<ToolUse<'a>>,
    /// A key that was read occurs twice in its object.
    pub(super) duplicate_key: bool,
    /// There are more pieces than were read.
    pub(super) too_many: bool,
}

/// A text of a message, or a block without one.
pub(super) struct Piece<'a> {
    pub(super) kind: PartKind,
    pub(super) text: Option<Literal<'a>>,
    /// The call that it answers, if it is of a tool's result.
    pub(super) result: Option<Answered<'a>>,
    pub(super) cache_marked: bool,
}

/// The call that a tool's result answers.
#[derive(Clone)]
pub(super) struct Answered<'a> {
    pub(super) call: Option<Cow<'a, str>>,
    pub(super) is_error: bool,
}

/// The fields of a block while it is read: its type may stand behind all others.
#[derive(Default)]
struct Draft<'a> {
    kind: Option<Cow<'a, str>>,
    text: Option<Literal<'a>>,
    source: Option<Source<'a>>,
    content: Contents<'a>,
    tool: ToolUse<'a>,
    tool_use_id: Option<Cow<'a, str>>,
    is_error: bool,
    cited: bool,
    cache_marked: bool,
}

/// The `source` of a `document` block.
#[derive(Default)]
struct Source<'a> {
    kind: Option<Cow<'a, str>>,
    data: Option<Literal<'a>>,
    content: Contents<'a>,
}

impl<'a> Contents<'a> {
    /// Reads a string, or an array of blocks; a value of another kind has no content.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, RequestError> {
        let mut contents = Self::default();
        match reader.kind()? {
            Kind::String => contents.push(Piece {
                kind: PartKind::Text,
                text: Some(reader.string()?),
                result: None,
                cache_marked: false,
            }),
            Kind::Array => reader.array(|reader| contents.read_block(reader))?,
            Kind::Object | Kind::Scalar => {
                reader.skip()?;
            }
        }
        Ok(contents)
    }

    fn push(&mut self, piece: Piece<'a>) {
        if self.pieces.len() < MAX_PARTS {
            self.pieces.push(piece);
        } else {
            self.too_many = true;
        }
    }

    fn read_block(&mut self, reader: &mut Reader<'a>) -> Result<(), RequestError> {
        let mut draft = Draft::default();
        if reader.kind()? != Kind::Object {
            reader.skip()?;
            draft.finish(self);
            return Ok(());
        }
        let mut seen = Seen::default();
        let known = [
            "type",
            "text",
            "source",
            "content",
            "citations",
            "cache_control",
            "prompt_cache_breakpoint",
        ];
        reader.object(|reader, key| {
            match seen.note(&key, &known) {
                Some("type") => draft.kind = string(reader)?.map(|kind| kind.decode_lossy()),
                Some("text") => draft.text = string(reader)?,
                Some("source") => draft.read_source(reader, &mut seen)?,
                Some("content") => draft.content = Contents::read(reader)?,
                Some("citations") => draft.cited = is_enabled(reader)?,
                Some(_) => draft.cache_marked |= is_set(reader)?,
                None => draft.read_of_tool(reader, &key.name)?,
            }
            Ok::<_, RequestError>(())
        })?;
        self.duplicate_key |= seen.twice;
        draft.finish(self);
        Ok(())
    }

    /// Returns the texts, the marks of all of them, and what is wrong with them in `out`.
    fn into_texts(self, out: &mut Self) -> (Vec<Literal<'a>>, bool) {
        out.duplicate_key |= self.duplicate_key;
        out.too_many |= self.too_many;
        let marked = self.is_marked();
        let plain = self
            .pieces
            .into_iter()
            .filter(|piece| piece.kind == PartKind::Text);
        (plain.filter_map(|piece| piece.text).collect(), marked)
    }

    fn is_marked(&self) -> bool {
        self.pieces.iter().any(|piece| piece.cache_marked)
    }
}

impl<'a> Piece<'a> {
    /// The same as a piece of a tool's result.
    pub(super) fn answering(self, result: &Answered<'a>) -> Self {
        let kind = match self.kind {
            PartKind::Text | PartKind::Document => PartKind::ToolResult,
            kind => kind,
        };
        Self {
            kind,
            result: Some(result.clone()),
            ..self
        }
    }
}

impl<'a> Draft<'a> {
    /// Reads the `source` of a document: its type, and its text.
    fn read_source(&mut self, reader: &mut Reader<'a>, of_block: &mut Seen) -> Result<(), RequestError> {
        if reader.kind()? != Kind::Object {
            reader.skip()?;
            return Ok(());
        }
        let mut source = Source::default();
        let mut seen = Seen::default();
        reader.object(|reader, key| {
            match seen.note(&key, &["type", "data", "content"]) {
                Some("type") => source.kind = string(reader)?.map(|kind| kind.decode_lossy()),
                Some("data") => source.data = string(reader)?,
                Some(_) => source.content = Contents::read(reader)?,
                None => {
                    reader.skip()?;
                }
            }
            Ok::<_, RequestError>(())
        })?;
        of_block.twice |= seen.twice;
        self.source = Some(source);
        Ok(())
    }

    /// Reads a field that calls and results of tools have.
    fn read_of_tool(&mut self, reader: &mut Reader<'a>, key: &str) -> Result<(), RequestError> {
        match key {
            "id" => self.tool.id = read_name(reader)?,
            "name" => self.tool.name = read_name(reader)?,
            "input" => self.tool.arguments = read_arguments(reader)?,
            "tool_use_id" => self.tool_use_id = read_name(reader)?,
            "is_error" => self.is_error = reader.skip_text()? == "true",
            _ => {
                reader.skip()?;
            }
        }
        Ok(())
    }

    /// Adds the block to `out`: a piece for each text of it, one if it has none.
    fn finish(self, out: &mut Contents<'a>) {
        let documents = if self.cited {
            PartKind::CitedDocument
        } else {
            PartKind::Document
        };
        let kind = self.kind.as_deref().unwrap_or_default();
        let nested_mark = self.content.is_marked();
        let (kind, texts, marked) = match kind {
            "text" | "input_text" | "output_text" => {
                (PartKind::Text, self.text.into_iter().collect(), nested_mark)
            }
            "document" => {
                let source = self.source.unwrap_or_default();
                let (texts, marked) = source.content.into_texts(out);
                match source.kind.as_deref() {
                    Some("text") => (documents, source.data.into_iter().collect(), marked),
                    Some("content") => (documents, texts, marked),
                    _ => (PartKind::Attachment, Vec::new(), marked),
                }
            }
            "search_result" => {
                let (texts, marked) = self.content.into_texts(out);
                (documents, texts, marked)
            }
            "file" | "input_file" => (PartKind::Attachment, Vec::new(), nested_mark),
            "tool_result" => return self.finish_result(out),
            _ => {
                if kind.ends_with("tool_use") && out.calls.len() < MAX_PARTS {
                    out.calls.push(self.tool);
                }
                (PartKind::Other, Vec::new(), nested_mark)
            }
        };
        let cache_marked = self.cache_marked || marked;
        let none = texts.is_empty().then_some(None);
        for text in texts.into_iter().map(Some).chain(none) {
            out.push(Piece {
                kind,
                text,
                result: None,
                cache_marked,
            });
        }
    }

    /// Adds a tool's result to `out`.
    fn finish_result(self, out: &mut Contents<'a>) {
        let answered = Answered {
            call: self.tool_use_id,
            is_error: self.is_error,
        };
        out.duplicate_key |= self.content.duplicate_key;
        out.too_many |= self.content.too_many;
        let none = self.content.pieces.is_empty().then_some(Piece {
            kind: PartKind::Other,
            text: None,
            result: None,
            cache_marked: false,
        });
        for piece in self.content.pieces.into_iter().chain(none) {
            let cache_marked = piece.cache_marked || self.cache_marked;
            let piece = piece.answering(&answered);
            out.push(Piece {
                cache_marked,
                ..piece
            });
        }
    }
}

/// Returns whether citations are on: `{"enabled": true}`.
fn is_enabled(reader: &mut Reader<'_>) -> Result<bool, RequestError> {
    if reader.kind()? != Kind::Object {
        reader.skip()?;
        return Ok(false);
    }
    let mut enabled = false;
    reader.object(|reader, key| {
        let set = reader.skip_text()? == "true";
        enabled |= set && key.name == "enabled";
        Ok::<_, RequestError>(())
    })?;
    Ok(enabled)
}
