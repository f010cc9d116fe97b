//! Logarithms of tokens' probabilities, in the two shapes that OpenAI's API has for them.

use std::borrow::Cow;

use liquid_decoder::{TokenLogprob, Tokenizer};
use serde::Serialize;
use serde_json::{Map, Value};

/// What stands for minus infinity, which JSON does not have; vLLM's number.
const LEAST: f32 = -9999.0;

/// A chosen token, and the likeliest ones in its place.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) token: u32,
    pub(super) logprob: Option<f32>,
    pub(super) top: Vec<TokenLogprob>,
}

/// The field `logprobs` of a chat completion.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ChatLogprobs {
    content: Vec<ChatToken>,
    refusal: Option<()>,
}

#[derive(Clone, Debug, Serialize)]
struct ChatToken {
    #[serde(flatten)]
    token: TokenText,
    top_logprobs: Vec<TokenText>,
}

#[derive(Clone, Debug, Serialize)]
struct TokenText {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

/// The field `logprobs` of a plain completion.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct TextLogprobs {
    text_offset: Vec<usize>,
    token_logprobs: Vec<f32>,
    tokens: Vec<String>,
    top_logprobs: Vec<Map<String, Value>>,
}

impl ChatLogprobs {
    pub(super) fn append(&mut self, mut more: Self) {
        self.content.append(&mut more.content);
    }

    pub(super) fn push(&mut self, chosen: &Chosen, tokenizer: &Tokenizer) {
        let text = |token: u32, logprob: f32| {
            let bytes = bytes(token, tokenizer);
            TokenText {
                token: String::from_utf8_lossy(&bytes).into_owned(),
                logprob: finite(logprob),
                bytes: bytes.into_owned(),
            }
        };
        let top = chosen.top.iter().map(|top| text(top.token, top.logprob));
        self.content.push(ChatToken {
            token: text(chosen.token, chosen.logprob.unwrap_or(LEAST)),
            top_logprobs: top.collect(),
        });
    }
}

impl TextLogprobs {
    pub(super) fn append(&mut self, mut more: Self) {
        self.text_offset.append(&mut more.text_offset);
        self.token_logprobs.append(&mut more.token_logprobs);
        self.tokens.append(&mut more.tokens);
        self.top_logprobs.append(&mut more.top_logprobs);
    }

    /// Adds a token whose text begins at `offset`, counted in characters.
    pub(super) fn push(&mut self, chosen: &Chosen, offset: usize, tokenizer: &Tokenizer) {
        let text = |token| String::from_utf8_lossy(&bytes(token, tokenizer)).into_owned();
        self.text_offset.push(offset);
        self.token_logprobs.push(finite(chosen.logprob.unwrap_or(LEAST)));
        self.tokens.push(text(chosen.token));
        let top = chosen.top.iter();
        let top = top.map(|top| (text(top.token), Value::from(finite(top.logprob))));
        self.top_logprobs.push(top.collect());
    }
}

/// Returns the bytes of a token; of special ones those of its name.
fn bytes(token: u32, tokenizer: &Tokenizer) -> Cow<'_, [u8]> {
    match tokenizer.bytes(token) {
        Some(bytes) => Cow::Borrowed(bytes),
        None => Cow::Owned(tokenizer.entry(token).unwrap_or_default().into_bytes()),
    }
}

fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { LEAST }
}
