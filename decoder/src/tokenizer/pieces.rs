//! The bytes of every token. Tokenizers decode whole lists of tokens; with the bytes at hand a text is decoded as it comes,
//! in linear time, and a constraint can be walked token by token.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::TokenizerError;

/// A space in vocabularies that write it so.
const LOW_LINE: char = '\u{2581}';

/// Most tokens of a vocabulary: many times those of any model.
const MOST_TOKENS: u32 = 1 << 22;

/// How tokens are written in a vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// Each character stands for a byte (GPT-2's table).
    ByteLevel,
    /// Text with a low line for a space, and `<0xAB>` for a byte.
    Spaces {
        /// Whether a space at the beginning of a text is left out.
        strip: bool,
    },
}

/// The bytes of all tokens, one after the other.
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// Where each token's bytes end; they begin where those of the one before end.
    ends: Vec<usize>,
    special: Vec<bool>,
    spelling: Spelling,
}

impl Pieces {
    pub(super) fn new(
        tokenizer: &tokenizers::Tokenizer,
        decoder: Option<&Value>,
        path: &Path,
    ) -> Result<Self, TokenizerError> {
        let decoder = decoder.unwrap_or(&Value::Null);
        let spelling = Spelling::from_decoder(decoder).ok_or_else(|| TokenizerError::Decoder {
            path: path.to_owned(),
            decoder: kinds(decoder),
        })?;
        let mut tokens: Vec<(u32, String)> = tokenizer
            .get_vocab(true)
            .into_iter()
            .map(|(token, id)| (id, token))
            .collect();
        tokens.sort();
        match tokens.last() {
            Some((last, _)) if *last >= MOST_TOKENS => {
                return Err(super::malformed(
                    path,
                    format!("token {last}, but at most {MOST_TOKENS} are read"),
                ));
            }
            _ => {}
        }
        let added = tokenizer.get_added_tokens_decoder();
        let table: HashMap<char, u8> = (0..=u8::MAX).map(|byte| (char_of(byte), byte)).collect();
        let mut pieces = Self {
            bytes: Vec::new(),
            ends: Vec::with_capacity(tokens.len()),
            special: Vec::with_capacity(tokens.len()),
            spelling,
        };
        for (id, token) in tokens {
            // Numbers that no token has stand for nothing.
            while pieces.ends.len() < id as usize {
                pieces.ends.push(pieces.bytes.len());
                pieces.special.push(false);
            }
            if pieces.ends.len() > id as usize {
                continue;
            }
            spelling.append(&token, &table, &mut pieces.bytes);
            pieces.ends.push(pieces.bytes.len());
            pieces
                .special
                .push(added.get(&id).is_some_and(|token| token.special));
        }
        Ok(pieces)
    }

    pub(super) fn size(&self) -> usize {
        self.ends.len()
    }

    /// Returns the bytes of a token; none for special ones and outside the vocabulary.
    pub(super) fn bytes(&self, token: u32) -> Option<&[u8]> {
        let token = token as usize;
        if *self.special.get(token)? {
            return None;
        }
        let start = match token.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(start..*self.ends.get(token)?)
    }

    /// Whether a space at the beginning of a text is left out.
    pub(super) fn strips_first_space(&self) -> bool {
        self.spelling == Spelling::Spaces { strip: true }
    }
}

impl Spelling {
    /// Recognises the decoder of `tokenizer.json`.
    fn from_decoder(decoder: &Value) -> Option<Self> {
        match decoder["type"].as_str()? {
            "ByteLevel" => Some(Self::ByteLevel),
            "Sequence" => {
                let steps = decoder["decoders"].as_array()?;
                let (replace, rest) = steps.split_first()?;
                let line = replace["pattern"]["String"] == LOW_LINE.to_string() && replace["content"] == " ";
                let names: Vec<&str> = rest.iter().filter_map(|step| step["type"].as_str()).collect();
                let strip = match names.as_slice() {
                    ["ByteFallback", "Fuse"] => false,
                    ["ByteFallback", "Fuse", "Strip"] => {
                        let strip = rest.last()?;
                        let one = strip["content"] == " " && strip["start"] == 1 && strip["stop"] == 0;
                        if !one {
                            return None;
                        }
                        true
                    }
                    _ => return None,
                };
                (replace["type"] == "Replace" && line).then_some(Self::Spaces { strip })
            }
            _ => None,
        }
    }

    /// Appends the bytes of a token.
    fn append(self, token: &str, table: &HashMap<char, u8>, bytes: &mut Vec<u8>) {
        match self {
            Self::ByteLevel => {
                let own = token.chars().map(|c| table.get(&c).copied());
                match own.collect::<Option<Vec<u8>>>() {
                    Some(own) => bytes.extend(own),
                    None => bytes.extend(token.bytes()),
                }
            }
            Self::Spaces { .. } => match byte_token(token) {
                Some(byte) => bytes.push(byte),
                None => bytes.extend(token.replace(LOW_LINE, " ").bytes()),
            },
        }
    }
}

/// Returns the character that stands for a byte in GPT-2's table: itself where it is printable, else one from 256 on.
fn char_of(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|other| !printable(*other)).count() as u32;
    char::from_u32(256 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Returns the byte of a token `<0xAB>`.
fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2)
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

/// Names the kinds of a decoder's steps.
fn kinds(decoder: &Value) -> String {
    let kind = |step: &Value| step["type"].as_str().unwrap_or("missing").to_owned();
    match decoder["decoders"].as_array() {
        Some(steps) => format!(
            "a Sequence of {}",
            steps.iter().map(kind).collect::<Vec<_>>().join(", ")
        ),
        None => kind(decoder),
    }
}
