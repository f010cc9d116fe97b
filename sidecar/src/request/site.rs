//! The place in a body where a document stands, and the body with a pack in its place.

use std::ops::Range;

use bytes::Bytes;

use super::literal::{Literal, escape_into};
use super::view::Request;

/// A body cut at its document: everything before it, the document as it is escaped there, everything behind it.
#[derive(Debug, Clone)]
pub struct Site {
    before: Bytes,
    document: Bytes,
    behind: Bytes,
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
            document,
            behind,
        }
    }

    /// Bytes of the document as it is escaped in the body.
    pub fn document_bytes(&self) -> usize {
        self.document.len()
    }

    /// Bytes of all the rest.
    pub fn around_bytes(&self) -> usize {
        self.before.len() + self.behind.len()
    }

    /// The body with the document as it came: on public surfaces the same bytes again.
    pub fn unchanged(&self) -> Bytes {
        [&*self.before, &*self.document, &*self.behind].concat().into()
    }

    /// The body with `pack` in place of the document. Every other byte is the same.
    pub fn with(&self, pack: &str) -> Bytes {
        let escapes = pack.len() / 16 + 16;
        let mut out = Vec::with_capacity(self.before.len() + pack.len() + escapes + self.behind.len());
        out.extend_from_slice(&self.before);
        escape_into(pack, &mut out);
        out.extend_from_slice(&self.behind);
        out.into()
    }
}
