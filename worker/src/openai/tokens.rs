//! `POST /tokenize` and `POST /detokenize`, in the shapes of vLLM.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use liquid_decoder::Tokenizer;
use serde::Serialize;
use serde_json::Value;

use super::conversation;
use super::error::ApiError;
use super::fields::Fields;
use super::{Gateway, json};
use crate::runtime::Decoder;

#[derive(Serialize)]
struct Tokens {
    count: usize,
    max_model_len: usize,
    tokens: Vec<u32>,
    token_strs: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Text {
    prompt: String,
}

pub(super) async fn tokenize(State(gateway): State<Gateway>, body: Body) -> Result<Response, ApiError> {
    let admitted = gateway.admit()?;
    let tokens = gateway.read(body, &admitted.decoder, encode).await?;
    Ok(json(&tokens))
}

pub(super) async fn detokenize(State(gateway): State<Gateway>, body: Body) -> Result<Response, ApiError> {
    let admitted = gateway.admit()?;
    let text = gateway.read(body, &admitted.decoder, decode).await?;
    Ok(json(&text))
}

/// Encodes a prompt, or a conversation as a chat completion would.
fn encode(fields: &Fields<'_>, decoder: &Decoder) -> Result<Tokens, ApiError> {
    let tokenizer: &Tokenizer = &decoder.tokenizer;
    let tokens = match fields.text("prompt")? {
        Some(text) => tokenizer.encode(text, fields.flag_or("add_special_tokens", true)?)?,
        None => conversation::encode(&conversation::read(fields)?, decoder)?,
    };
    let entry = |token: &u32| tokenizer.entry(*token).unwrap_or_default();
    let names = fields.flag("return_token_strs")?;
    Ok(Tokens {
        count: tokens.len(),
        max_model_len: decoder.context_tokens,
        token_strs: names.then(|| tokens.iter().map(entry).collect()),
        tokens,
    })
}

/// Decodes tokens, special ones by their names.
fn decode(fields: &Fields<'_>, decoder: &Decoder) -> Result<Text, ApiError> {
    let list = fields.list("tokens")?;
    let list = list.ok_or_else(|| fields.wrong("tokens", "is missing; write a list of tokens"))?;
    let tokens = tokens(list, &fields.path("tokens"), &decoder.tokenizer)?;
    Ok(Text {
        prompt: text(&tokens, &decoder.tokenizer),
    })
}

/// Reads tokens of the vocabulary.
pub(super) fn tokens(list: &[Value], path: &str, tokenizer: &Tokenizer) -> Result<Vec<u32>, ApiError> {
    let size = tokenizer.size();
    let token = |(index, value): (usize, &Value)| {
        let token = value.as_u64().and_then(|token| u32::try_from(token).ok());
        let token = token.filter(|token| (*token as usize) < size);
        token.ok_or_else(|| {
            let remedy = format!("must be a token, 0 to {}", size.saturating_sub(1));
            ApiError::invalid(format!("{path}[{index}]"), remedy)
        })
    };
    list.iter().enumerate().map(token).collect()
}

/// Returns the text of tokens, with the names of special ones.
pub(super) fn text(tokens: &[u32], tokenizer: &Tokenizer) -> String {
    let mut text = String::new();
    let mut detokenizer = tokenizer.detokenizer();
    for token in tokens {
        match tokenizer.bytes(*token) {
            Some(_) => text.push_str(&detokenizer.push(*token)),
            None => {
                text.push_str(&std::mem::replace(&mut detokenizer, tokenizer.detokenizer()).finish());
                text.push_str(&tokenizer.entry(*token).unwrap_or_default());
            }
        }
    }
    text.push_str(&detokenizer.finish());
    text
}
