//! Reads one block of a message's content: a text, a document that the Messages API carries beside the texts
//! (`document`, `search_result`), an attachment that holds no text to read, or anything else.

use std::borrow::Cow;

use super::RequestError;
use super::json::{Kind, Reader};
use super::literal::Literal;
use super::read::{Seen, is_set, string};
use super::view::PartKind;

/// A block of a message's content, read.
pub(super) struct Block<'a> {
    pub(super) kind: PartKind,
    /// The texts that it holds; none if it is not one of those with a text.
    pub(super) texts: Vec<Literal<'a>>,
    pub(super) cache_marked: bool,
    /// A key that was read occurs twice in its object.
    pub(super) duplicate_key: bool,
}

/// The fields of a block while it is read: its type may stand behind all others.
#[derive(Default)]
struct Draft<'a> {
    kind: Option<Cow<'a, str>>,
    text: Option<Literal<'a>>,
    source: Option<Source<'a>>,
    content: Vec<Literal<'a>>,
    cited: bool,
    cache_marked: bool,
    duplicate_key: bool,
}

/// The `source` of a `document` block.
#[derive(Default)]
struct Source<'a> {
    kind: Option<Cow<'a, str>>,
    data: Option<Literal<'a>>,
    content: Vec<Literal<'a>>,
}

/// Reads a block.
pub(super) fn read_block<'a>(reader: &mut Reader<'a>) -> Result<Block<'a>, RequestError> {
    if reader.kind()? != Kind::Object {
        reader.skip()?;
        return Ok(Draft::default().finish());
    }
    let mut draft = Draft::default();
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
            Some("source") => draft.read_source(reader)?,
            Some("content") => draft.content = read_texts(reader, &mut draft.cache_marked)?,
            Some("citations") => draft.cited = is_enabled(reader)?,
            Some(_) => draft.cache_marked |= is_set(reader)?,
            None => {
                reader.skip()?;
            }
        }
        Ok::<_, RequestError>(())
    })?;
    draft.duplicate_key |= seen.twice;
    Ok(draft.finish())
}

impl<'a> Draft<'a> {
    /// Reads the `source` of a document: its type, and its text.
    fn read_source(&mut self, reader: &mut Reader<'a>) -> Result<(), RequestError> {
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
                Some(_) => source.content = read_texts(reader, &mut self.cache_marked)?,
                None => {
                    reader.skip()?;
                }
            }
            Ok::<_, RequestError>(())
        })?;
        self.duplicate_key |= seen.twice;
        self.source = Some(source);
        Ok(())
    }

    fn finish(self) -> Block<'a> {
        let documents = if self.cited {
            PartKind::CitedDocument
        } else {
            PartKind::Document
        };
        let (kind, texts) = match self.kind.as_deref() {
            Some("text" | "input_text" | "output_text") => (PartKind::Text, self.text.into_iter().collect()),
            Some("document") => {
                let source = self.source.unwrap_or_default();
                match source.kind.as_deref() {
                    Some("text") => (documents, source.data.into_iter().collect()),
                    Some("content") => (documents, source.content),
                    _ => (PartKind::Attachment, Vec::new()),
                }
            }
            Some("search_result") => (documents, self.content),
            Some("file" | "input_file") => (PartKind::Attachment, Vec::new()),
            _ => (PartKind::Other, Vec::new()),
        };
        Block {
            kind,
            texts,
            cache_marked: self.cache_marked,
            duplicate_key: self.duplicate_key,
        }
    }
}

/// Reads the content of a document: a string, or an array of text blocks, each of which may be cache-marked.
fn read_texts<'a>(
    reader: &mut Reader<'a>,
    cache_marked: &mut bool,
) -> Result<Vec<Literal<'a>>, RequestError> {
    let mut texts = Vec::new();
    match reader.kind()? {
        Kind::String => texts.push(reader.string()?),
        Kind::Array => reader.array(|reader| {
            let block = read_block(reader)?;
            *cache_marked |= block.cache_marked;
            if block.kind == PartKind::Text {
                texts.extend(block.texts);
            }
            Ok::<_, RequestError>(())
        })?,
        Kind::Object | Kind::Scalar => {
            reader.skip()?;
        }
    }
    Ok(texts)
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
