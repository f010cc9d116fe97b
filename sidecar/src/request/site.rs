//! The place in a body where a document stands, and the body with a pack in its place.

use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;

use super::literal::{Literal, escape_into, is_escaped_as};
use super::view::Request;

/// A body cut at its document: everything before it, the document as it is escaped there, everything behind it.
#[derive(Debug, Clone)]
pub struct Site {
    before: Bytes,
    document: Document,
    behind: Bytes,
}

/// The document's bytes in the body.
#[derive(Debug, Clone)]
enum Document {
    /// As they came: the whole body stays in memory with them.
    Raw(Bytes),
    /// To be written again from what they say, and how many they are.
    Again(ByteString, usize),
}

impl Site {
    /// Cuts `body` (which `request` was read from) at the bytes of `literal` that say `decoded`, a range of its
    /// decoded text. Copies nothing; but of a `/v1/hybrid_chat` body it builds the chat completion's frame.
    pub fn new(request: &Request<'_>, body: &Bytes, literal: &Literal<'_>, decoded: Range<usize>) -> Self {
        Self::cut(request, body, literal.locate(decoded))
    }

    /// The same for a document that fills `literal`.
    pub fn whole(request: &Request<'_>, body: &Bytes, literal: &Literal<'_>) -> Self {
        let quoted = literal.range();
        Self::cut(request, body, quoted.start + 1..quoted.end - 1)
    }

    fn cut(request: &Request<'_>, body: &Bytes, range: Range<usize>) -> Self {
        let document = body.slice(range.clone());
        let (before, behind) = match &request.hybrid {
            None => (body.slice(..range.start), body.slice(range.end..)),
            Some(hybrid) => {
                let (before, behind) = hybrid.around(body);
                (before.into(), behind.into())
            }
        };
        Self {
            before,
            document: Document::Raw(document),
            behind,
        }
    }

    /// The same without the body's memory, where `text` is what the document says and its bytes can be written
    /// again from that, every one. A long document is then not held twice while a worker reads it.
    pub fn without_body(self, text: &ByteString) -> Self {
        match &self.document {
            Document::Raw(raw) if is_escaped_as(text, raw) => Self {
                before: Bytes::copy_from_slice(&self.before),
                document: Document::Again(text.clone(), raw.len()),
                behind: Bytes::copy_from_slice(&self.behind),
            },
            _ => self,
        }
    }

    /// Returns whether the body must stay in memory with this.
    pub fn holds_body(&self) -> bool {
        matches!(self.document, Document::Raw(_))
    }

    /// Bytes of the document as it is escaped in the body.
    pub fn document_bytes(&self) -> usize {
        match &self.document {
            Document::Raw(raw) => raw.len(),
            Document::Again(_, length) => *length,
        }
    }

    /// Bytes of all the rest.
    pub fn around_bytes(&self) -> usize {
        self.before.len() + self.behind.len()
    }

    /// The body with the document as it came: on public surfaces the same bytes again.
    pub fn unchanged(&self) -> Bytes {
        match &self.document {
            Document::Raw(raw) => [&*self.before, raw, &*self.behind].concat().into(),
            Document::Again(text, length) => self.around(text, *length),
        }
    }

    /// The body with `pack` in place of the document. Every other byte is the same.
    pub fn with(&self, pack: &str) -> Bytes {
        self.around(pack, pack.len() + pack.len() / 16 + 16)
    }

    /// A body with `text` in it, for which room for `escaped` bytes is made beforehand.
    fn around(&self, text: &str, escaped: usize) -> Bytes {
        let mut out = Vec::with_capacity(self.before.len() + escaped + self.behind.len());
        out.extend_from_slice(&self.before);
        escape_into(text, &mut out);
        out.extend_from_slice(&self.behind);
        out.into()
    }
}
