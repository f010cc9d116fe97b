//! Text that comes token by token: a character is given out when its last byte is there.

use super::pieces::Pieces;

/// A decoder of one text. Bytes that are no UTF-8 become U+FFFD, as [`String::from_utf8_lossy`] has it, in whatever pieces
/// they come.
pub struct Detokenizer<'a> {
    pieces: &'a Pieces,
    stream: Utf8Stream,
    /// Whether the next byte may be a space that is left out.
    first: bool,
}

impl<'a> Detokenizer<'a> {
    pub(super) fn new(pieces: &'a Pieces) -> Self {
        Self {
            pieces,
            stream: Utf8Stream::default(),
            first: pieces.strips_first_space(),
        }
    }

    /// Gives out a space at the beginning too, where the tokenizer leaves it out.
    pub(crate) fn keep_first_space(&mut self) {
        self.first = false;
    }

    /// Takes a token and returns the characters that are whole now. Special tokens have no text.
    pub fn push(&mut self, token: u32) -> String {
        let mut bytes = self.pieces.bytes(token).unwrap_or_default();
        if self.first && !bytes.is_empty() {
            self.first = false;
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        let mut text = String::new();
        self.stream.push(bytes, &mut text);
        text
    }

    /// Ends the text: returns U+FFFD if it ends within a character.
    pub fn finish(&mut self) -> String {
        self.stream.finish()
    }
}

/// Bytes that become text as they come.
#[derive(Debug, Default)]
pub(super) struct Utf8Stream {
    /// The beginning of a character, at most three bytes.
    pending: Vec<u8>,
}

impl Utf8Stream {
    pub(super) fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.pending.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.pending);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    return;
                }
                Err(error) => error,
            };
            let (valid, other) = rest.split_at(error.valid_up_to());
            text.push_str(std::str::from_utf8(valid).unwrap_or_default());
            let Some(wrong) = error.error_len() else {
                self.pending.extend_from_slice(other);
                return;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = other.get(wrong..).unwrap_or_default();
        }
    }

    pub(super) fn finish(&mut self) -> String {
        match std::mem::take(&mut self.pending).is_empty() {
            true => String::new(),
            false => char::REPLACEMENT_CHARACTER.to_string(),
        }
    }
}
