//! A text of a body: what a JSON string says, or a string in the JSON that another one holds, and where the body
//! says it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::json::{JsonError, Kind, Reader};
use super::literal::{Literal, LoneSurrogate};
use super::offsets::Offsets;

/// JSON strings in JSON strings are read this deep.
const MAX_DEPTH: usize = 4;
/// JSON with more strings is a table, whose cells are no documents.
const MAX_STRINGS: usize = 20_000;
/// JSON Lines that are shorter on average, in bytes, are records: each is read as a whole, and so is the text.
const SHORTEST_LINE: usize = 600;

/// A text of a body: a JSON string, or a JSON string inside the JSON that another one holds, at most four deep.
#[derive(Debug)]
pub struct Text<'a> {
    said: Said<'a>,
    written: Written<'a>,
    offsets: Offsets,
}

/// What a text says, in the memory that holds it.
#[derive(Debug)]
enum Said<'a> {
    /// As it is in the body.
    Body(&'a str),
    /// Unescaped, alone or as a part of another text.
    Own(ByteString),
}

/// Where a text is written.
#[derive(Debug)]
enum Written<'a> {
    Body(Literal<'a>),
    /// Between the quotes at `raw` in what another text says.
    Inside {
        holder: Arc<Text<'a>>,
        raw: Range<usize>,
        escaped: bool,
    },
}

/// A string in the JSON that a text holds.
#[derive(Debug, Clone)]
pub struct JsonText<'a> {
    /// The key, in the innermost object, of the value that it is or is in; empty outside of objects.
    pub key: String,
    /// The string.
    pub text: Arc<Text<'a>>,
}

/// Bytes of a body that say a range of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The bytes; empty for a place between two.
    pub range: Range<usize>,
    /// How many times JSON escapes what is written there: 1 in an ordinary string.
    pub depth: usize,
}

impl<'a> Text<'a> {
    /// Reads a string of a body.
    ///
    /// # Errors
    /// [`LoneSurrogate`] if it is no Unicode text.
    pub fn read(literal: Literal<'a>) -> Result<Self, LoneSurrogate> {
        let (said, offsets) = if literal.is_escaped() {
            let (text, offsets) = Offsets::decode(literal.raw())?;
            (Said::Own(text.into()), offsets)
        } else {
            (Said::Body(literal.raw()), Offsets::default())
        };
        Ok(Self {
            said,
            written: Written::Body(literal),
            offsets,
        })
    }

    /// Reads a string in the JSON that `holder` says from `base` on.
    fn read_inside(holder: &Arc<Self>, base: usize, literal: Literal<'_>) -> Result<Self, LoneSurrogate> {
        let quoted = literal.range();
        let raw = base + quoted.start + 1..base + quoted.end - 1;
        let (said, offsets) = if literal.is_escaped() {
            let (text, offsets) = Offsets::decode(literal.raw())?;
            (Said::Own(text.into()), offsets)
        } else {
            (holder.part(raw.clone()), Offsets::default())
        };
        Ok(Self {
            said,
            written: Written::Inside {
                holder: Arc::clone(holder),
                raw,
                escaped: literal.is_escaped(),
            },
            offsets,
        })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.said {
            Said::Body(text) => text,
            Said::Own(text) => text,
        }
    }

    /// Returns a range of the text without a copy: with the memory of `body`, which it was read from, or its
    /// own. Empty for a range that is none of it.
    pub fn share(&self, body: &Bytes, said: Range<usize>) -> ByteString {
        let part = self.as_str().get(said).unwrap_or_default();
        match &self.said {
            // It was text before; checking it again is cheap beside hashing it.
            Said::Body(_) => ByteString::try_from(body.slice_ref(part.as_bytes())).unwrap_or_default(),
            Said::Own(text) => text.slice_ref(part),
        }
    }

    /// Finds the bytes of the body that say `said`, a range of the text on character boundaries.
    pub fn locate(&self, said: Range<usize>) -> Spot {
        match &self.written {
            Written::Body(literal) => {
                let first = literal.range().start + 1;
                let range = self.find(literal.raw(), literal.is_escaped(), said);
                Spot {
                    range: first + range.start..first + range.end,
                    depth: 1,
                }
            }
            Written::Inside { holder, raw, escaped } => {
                let written = holder.as_str().get(raw.clone()).unwrap_or_default();
                let range = self.find(written, *escaped, said);
                let spot = holder.locate(raw.start + range.start..raw.start + range.end);
                Spot {
                    depth: spot.depth + 1,
                    ..spot
                }
            }
        }
    }

    fn find(&self, raw: &str, escaped: bool, said: Range<usize>) -> Range<usize> {
        if !escaped {
            return said;
        }
        self.offsets.find(raw, said.start)..self.offsets.find(raw, said.end)
    }

    /// Returns the strings in the JSON that the text holds: values, not keys, in order. Of a string that holds
    /// JSON with strings itself, those stand for it. Strings that are no Unicode text are left out.
    ///
    /// `None` if the text is no JSON object or array, or several of them that are short, or has more than 20,000 strings.
    pub fn strings(self: &Arc<Self>) -> Option<Vec<JsonText<'a>>> {
        self.strings_in(0..self.as_str().len())
    }

    /// Returns the same of the JSON that fills a range of the text: a template may put it between its own words.
    pub fn strings_in(self: &Arc<Self>, said: Range<usize>) -> Option<Vec<JsonText<'a>>> {
        let mut found = Vec::new();
        self.collect_strings(said, "", &mut found).ok()?;
        Some(found)
    }

    /// Adds the strings in the text's JSON. On an error `found` holds some that count for nothing.
    fn collect_strings(
        self: &Arc<Self>,
        said: Range<usize>,
        key: &str,
        found: &mut Vec<JsonText<'a>>,
    ) -> Result<(), NoStrings> {
        let base = said.start;
        let json = self.as_str().get(said).unwrap_or_default();
        if self.depth() >= MAX_DEPTH || !json.trim_start().starts_with(['{', '[']) {
            return Err(NoStrings);
        }
        let mut reader = Reader::new(json);
        self.collect_value(&mut reader, base, key, found)?;
        // Values behind it: JSON Lines. Where they are known to be short, no more of them are read.
        let mut lines = 1;
        while let Ok(Kind::Object | Kind::Array) = reader.kind() {
            lines += 1;
            if json.len() < lines * SHORTEST_LINE {
                return Err(NoStrings);
            }
            self.collect_value(&mut reader, base, key, found)?;
        }
        Ok(reader.finish()?)
    }

    fn collect_value(
        self: &Arc<Self>,
        reader: &mut Reader<'_>,
        base: usize,
        key: &str,
        found: &mut Vec<JsonText<'a>>,
    ) -> Result<(), NoStrings> {
        match reader.kind()? {
            Kind::Object => reader.object(|reader, key| self.collect_value(reader, base, &key.name, found)),
            Kind::Array => reader.array(|reader| self.collect_value(reader, base, key, found)),
            Kind::Scalar => Ok(reader.skip().map(drop)?),
            Kind::String => {
                let Ok(text) = Self::read_inside(self, base, reader.string()?) else {
                    return Ok(());
                };
                let text = Arc::new(text);
                let before = found.len();
                let inner = text.collect_strings(0..text.as_str().len(), key, found);
                if inner.is_err() || found.len() == before {
                    found.truncate(before);
                    if found.len() >= MAX_STRINGS {
                        return Err(NoStrings);
                    }
                    let key = key.to_owned();
                    found.push(JsonText { key, text });
                }
                Ok(())
            }
        }
    }

    fn depth(&self) -> usize {
        match &self.written {
            Written::Body(_) => 1,
            Written::Inside { holder, .. } => holder.depth() + 1,
        }
    }

    /// A part of the text in the same memory.
    fn part(&self, said: Range<usize>) -> Said<'a> {
        match &self.said {
            Said::Body(text) => Said::Body(text.get(said).unwrap_or_default()),
            Said::Own(text) => Said::Own(text.slice_ref(text.get(said).unwrap_or_default())),
        }
    }
}

/// A text holds no JSON whose strings are read.
struct NoStrings;

impl From<JsonError> for NoStrings {
    fn from(_: JsonError) -> Self {
        Self
    }
}
