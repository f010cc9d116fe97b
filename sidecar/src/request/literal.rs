//! A JSON string as it stands in a body: where it is, what it says, and which of its bytes say it.

use std::borrow::Cow;
use std::ops::Range;

/// A `\uD800`-style escape without its partner: JSON allows it, Unicode text cannot hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a \\u escape names half of a surrogate pair")]
pub struct LoneSurrogate;

/// A JSON string literal that the reader has checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal<'a> {
    raw: &'a str,
    start: usize,
    escaped: bool,
}

impl<'a> Literal<'a> {
    /// `raw` is the text between the quotes, `start` the offset of the opening quote.
    pub(super) fn new(raw: &'a str, start: usize, escaped: bool) -> Self {
        Self { raw, start, escaped }
    }

    /// Returns whether anything in it is escaped, so that it does not stand in the body as it reads.
    pub fn is_escaped(&self) -> bool {
        self.escaped
    }

    /// The text between the quotes, escapes and all.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Where the literal stands in the body, quotes included.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.raw.len() + 2
    }

    /// What the literal says; borrowed from the body when nothing in it is escaped.
    ///
    /// # Errors
    /// [`LoneSurrogate`] if that is no Unicode text.
    pub fn decode(&self) -> Result<Cow<'a, str>, LoneSurrogate> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.raw));
        }
        let mut text = String::with_capacity(self.raw.len());
        for piece in Pieces::new(self.raw) {
            match piece {
                Piece::Plain(plain) => text.push_str(plain),
                Piece::Char { value, .. } => text.push(value),
                Piece::Lone(_) => return Err(LoneSurrogate),
            }
        }
        Ok(Cow::Owned(text))
    }

    /// What the literal says, with U+FFFD for lone surrogates: for comparing, never for sending.
    pub fn decode_lossy(&self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let pieces = Pieces::new(self.raw).map(|piece| match piece {
            Piece::Plain(plain) => Cow::Borrowed(plain),
            Piece::Char { value, .. } => Cow::Owned(value.to_string()),
            Piece::Lone(_) => Cow::Borrowed("\u{FFFD}"),
        });
        Cow::Owned(pieces.collect())
    }

    /// The offsets in the body of the raw bytes that say `decoded`, a range of the decoded text on character
    /// boundaries.
    pub fn locate(&self, decoded: Range<usize>) -> Range<usize> {
        let first = self.start + 1;
        if !self.escaped {
            return first + decoded.start..first + decoded.end;
        }
        let mut ends = [decoded.start, decoded.end].map(|offset| (offset, self.raw.len()));
        let (mut said, mut read) = (0, 0);
        for piece in Pieces::new(self.raw) {
            let (says, takes) = piece.lengths();
            for (offset, raw_offset) in &mut ends {
                let within = offset.wrapping_sub(said);
                if *offset >= said && within < says {
                    *raw_offset = read + within;
                }
            }
            said += says;
            read += takes;
        }
        first + ends[0].1..first + ends[1].1
    }
}

/// Writes `text` between the quotes of a JSON string: quotes, backslashes and control characters escaped, all
/// else as it is.
pub fn escape_into(text: &str, out: &mut Vec<u8>) {
    escape(text, |piece| {
        out.extend_from_slice(piece);
        true
    });
}

/// Returns whether [`escape_into`] would write exactly `raw` for `text`: JSON leaves a choice of spellings.
pub fn is_escaped_as(text: &str, raw: &[u8]) -> bool {
    let mut rest = raw;
    let same = escape(text, |piece| match rest.strip_prefix(piece) {
        Some(behind) => {
            rest = behind;
            true
        }
        None => false,
    });
    same && rest.is_empty()
}

/// Hands out the pieces of an escaped text until `each` has had enough; true at the end.
fn escape(text: &str, mut each: impl FnMut(&[u8]) -> bool) -> bool {
    let mut plain = 0;
    let bytes = text.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        let before = &bytes[plain..at];
        plain = at + 1;
        let goes_on = each(before)
            && match byte {
                b'"' | b'\\' => each(&[b'\\', byte]),
                b'\n' => each(b"\\n"),
                b'\r' => each(b"\\r"),
                b'\t' => each(b"\\t"),
                _ => each(format!("\\u{byte:04x}").as_bytes()),
            };
        if !goes_on {
            return false;
        }
    }
    each(&bytes[plain..])
}

/// A part of a raw literal.
pub(super) enum Piece<'a> {
    Plain(&'a str),
    Char { value: char, takes: usize },
    Lone(usize),
}

impl Piece<'_> {
    /// Bytes of the decoded text, bytes of the raw text.
    pub(super) fn lengths(&self) -> (usize, usize) {
        match self {
            Self::Plain(plain) => (plain.len(), plain.len()),
            Self::Char { value, takes } => (value.len_utf8(), *takes),
            Self::Lone(takes) => (0, *takes),
        }
    }
}

/// Cuts a raw literal, already checked, into plain runs and escapes.
pub(super) struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(raw: &'a str) -> Self {
        Self { rest: raw }
    }

    fn escape(&self) -> Piece<'a> {
        let value = match self.rest.as_bytes().get(1) {
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'u') => return self.unicode(),
            Some(&byte) => char::from(byte),
            None => return Piece::Lone(1),
        };
        Piece::Char { value, takes: 2 }
    }

    fn unicode(&self) -> Piece<'a> {
        let Some(first) = unit(self.rest) else {
            return Piece::Lone(6);
        };
        if let Some(value) = char::from_u32(first) {
            return Piece::Char { value, takes: 6 };
        }
        let second = self
            .rest
            .get(6..)
            .filter(|next| next.starts_with("\\u"))
            .and_then(unit);
        match (first, second) {
            (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) => {
                let value = char::from_u32(0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00));
                value.map_or(Piece::Lone(6), |value| Piece::Char { value, takes: 12 })
            }
            _ => Piece::Lone(6),
        }
    }
}

/// The UTF-16 unit of the `\uXXXX` that `text` starts with.
fn unit(text: &str) -> Option<u32> {
    u32::from_str_radix(text.get(2..6)?, 16).ok()
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let plain = memchr::memchr(b'\\', self.rest.as_bytes()).unwrap_or(self.rest.len());
        let piece = if plain > 0 {
            Piece::Plain(&self.rest[..plain])
        } else {
            self.escape()
        };
        let (_, takes) = piece.lengths();
        self.rest = self.rest.get(takes..).unwrap_or_default();
        Some(piece)
    }
}
