//! A strict JSON reader (RFC 8259) that hands out byte ranges instead of values, so that a body can be
//! changed in one place and keep every other byte. One pass, linear time, bounded depth, no allocation but
//! for escaped keys.

use std::borrow::Cow;
use std::ops::Range;

use super::literal::Literal;

/// Objects and arrays may nest this deep; serde_json's own limit.
const MAX_DEPTH: usize = 128;

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not valid JSON at byte {at}: {what}")]
pub struct JsonError {
    /// Offset of the first byte that does not fit.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// What kind of value comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A number, `true`, `false` or `null`.
    Scalar,
}

/// A key of an object.
#[derive(Debug, Clone)]
pub struct Key<'a> {
    /// Its text, unescaped.
    pub name: Cow<'a, str>,
    /// Offset of its opening quote.
    pub start: usize,
}

/// Reads one JSON text from front to back.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the front of `text`.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    /// The kind of the next value.
    pub fn kind(&mut self) -> Result<Kind, JsonError> {
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => Ok(Kind::Scalar),
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("the text ends where a value should be")),
        }
    }

    /// Reads an object. `each` gets every key and must read its value.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut each: impl FnMut(&mut Self, Key<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'{')?;
        if self.next_is(b'}') {
            return self.close();
        }
        loop {
            let key = self.string()?;
            self.expect(b':', "expected a colon")?;
            each(
                self,
                Key {
                    start: key.range().start,
                    name: key.decode_lossy(),
                },
            )?;
            if !self.next_is(b',') {
                break;
            }
        }
        self.expect(b'}', "expected a comma or a closing brace")?;
        self.close()
    }

    /// Reads an array. `each` must read one element.
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'[')?;
        if self.next_is(b']') {
            return self.close();
        }
        loop {
            each(self)?;
            if !self.next_is(b',') {
                break;
            }
        }
        self.expect(b']', "expected a comma or a closing bracket")?;
        self.close()
    }

    /// Reads a string.
    pub fn string(&mut self) -> Result<Literal<'a>, JsonError> {
        self.expect(b'"', "expected a string")?;
        let (start, bytes) = (self.at, self.text.as_bytes());
        let mut escaped = false;
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = bytes.len();
                return Err(self.error("the text ends inside a string"));
            };
            if let Some(control) = position_of_control(&rest[..found]) {
                self.at += control;
                return Err(self.error("a control character stands unescaped in a string"));
            }
            self.at += found;
            if rest[found] == b'"' {
                let raw = &self.text[start..self.at];
                self.at += 1;
                return Ok(Literal::new(raw, start - 1, escaped));
            }
            escaped = true;
            self.escape()?;
        }
    }

    /// Reads a value of any kind and answers with its range.
    pub fn skip(&mut self) -> Result<Range<usize>, JsonError> {
        let kind = self.kind()?;
        let start = self.at;
        match kind {
            Kind::Object => self.object(|reader, _| reader.skip().map(drop))?,
            Kind::Array => self.array(|reader| reader.skip().map(drop))?,
            Kind::String => drop(self.string()?),
            Kind::Scalar => self.scalar()?,
        }
        Ok(start..self.at)
    }

    /// Reads a value of any kind and answers with its text.
    pub fn skip_text(&mut self) -> Result<&'a str, JsonError> {
        let range = self.skip()?;
        Ok(&self.text[range])
    }

    /// Checks that nothing but white space is left.
    pub fn finish(mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("text follows the value")),
        }
    }

    fn scalar(&mut self) -> Result<(), JsonError> {
        let rest = &self.text.as_bytes()[self.at..];
        for word in [&b"true"[..], b"false", b"null"] {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(());
            }
        }
        self.number()
    }

    fn number(&mut self) -> Result<(), JsonError> {
        self.take_if(|byte| byte == b'-');
        if !self.take_if(|byte| byte == b'0') && self.digits() == 0 {
            return Err(self.error("expected a value"));
        }
        if self.take_if(|byte| byte == b'.') && self.digits() == 0 {
            return Err(self.error("expected a digit"));
        }
        if self.take_if(|byte| matches!(byte, b'e' | b'E')) {
            self.take_if(|byte| matches!(byte, b'+' | b'-'));
            if self.digits() == 0 {
                return Err(self.error("expected a digit"));
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.take_if(|byte| byte.is_ascii_digit()) {}
        self.at - start
    }

    /// Checks one escape sequence and moves behind it.
    fn escape(&mut self) -> Result<(), JsonError> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = match rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u')
                if rest
                    .get(2..6)
                    .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) =>
            {
                6
            }
            _ => return Err(self.error("not an escape sequence")),
        };
        self.at += length;
        Ok(())
    }

    fn open(&mut self, bracket: u8) -> Result<(), JsonError> {
        self.expect(
            bracket,
            if bracket == b'{' {
                "expected an object"
            } else {
                "expected an array"
            },
        )?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("nested deeper than 128 levels"));
        }
        Ok(())
    }

    fn close<E>(&mut self) -> Result<(), E> {
        self.depth -= 1;
        Ok(())
    }

    fn peek(&mut self) -> Option<u8> {
        while self.take_if(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')) {}
        self.text.as_bytes().get(self.at).copied()
    }

    fn next_is(&mut self, wanted: u8) -> bool {
        self.peek();
        self.take_if(|byte| byte == wanted)
    }

    fn expect(&mut self, wanted: u8, otherwise: &'static str) -> Result<(), JsonError> {
        if self.next_is(wanted) {
            Ok(())
        } else {
            Err(self.error(otherwise))
        }
    }

    fn take_if(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let takes = self.text.as_bytes().get(self.at).copied().is_some_and(wanted);
        self.at += usize::from(takes);
        takes
    }

    fn error(&self, what: &'static str) -> JsonError {
        JsonError { at: self.at, what }
    }
}

/// In blocks without an early exit, so that the compiler uses vector instructions: it runs over whole
/// documents.
fn position_of_control(bytes: &[u8]) -> Option<usize> {
    let clean = bytes
        .chunks(64)
        .all(|block| !block.iter().fold(false, |found, byte| found | (*byte < 0x20)));
    if clean {
        None
    } else {
        bytes.iter().position(|byte| *byte < 0x20)
    }
}
