//! A body on disk, and the surface that its keys speak for.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use clap::ValueEnum;
use serde_json::{Map, Value};

use super::ExplainError;
use crate::api::Surface;

/// The name of a surface on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SurfaceName {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/responses`.
    Responses,
    /// `POST /v1/messages`.
    Messages,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/hybrid_chat`.
    Hybrid,
}

impl SurfaceName {
    /// Returns the surface of this name.
    pub fn surface(self) -> Surface {
        match self {
            Self::Chat => Surface::ChatCompletions,
            Self::Responses => Surface::Responses,
            Self::Messages => Surface::Messages,
            Self::Completions => Surface::Completions,
            Self::Hybrid => Surface::HybridChat,
        }
    }
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// [`ExplainError::Read`] and [`ExplainError::TooLarge`].
pub(super) fn read(file: &Path, limit: u64) -> Result<Bytes, ExplainError> {
    let mut body = Vec::new();
    let most = limit.saturating_add(1);
    let read = match file.to_str() {
        Some("-") => io::stdin().lock().take(most).read_to_end(&mut body),
        _ => File::open(file).and_then(|opened| opened.take(most).read_to_end(&mut body)),
    };
    read.map_err(|source| ExplainError::Read {
        file: file.to_owned(),
        source,
    })?;
    if body.len() as u64 > limit {
        let file = file.to_owned();
        return Err(ExplainError::TooLarge { file, limit });
    }
    Ok(body.into())
}

/// Guesses the surface from the keys that only its bodies have.
///
/// # Errors
/// [`ExplainError::NotJson`] and [`ExplainError::UnknownSurface`].
pub(super) fn guess_surface(file: &Path, body: &[u8]) -> Result<Surface, ExplainError> {
    let keys: Map<String, Value> = serde_json::from_slice(body).map_err(|error| ExplainError::NotJson {
        file: file.to_owned(),
        line: error.line(),
        column: error.column(),
    })?;
    let has = |key: &str| keys.contains_key(key);
    if has("large_document") || has("final_user_prompt") {
        return Ok(Surface::HybridChat);
    }
    if let Some(messages) = keys.get("messages") {
        let anthropic = match whose(messages) {
            Some(anthropic) => anthropic,
            None => names_anthropic(&keys),
        };
        return Ok(if anthropic {
            Surface::Messages
        } else {
            Surface::ChatCompletions
        });
    }
    if has("input") || has("previous_response_id") || has("conversation") {
        return Ok(Surface::Responses);
    }
    if has("prompt") {
        return Ok(Surface::Completions);
    }
    let file = file.to_owned();
    Err(ExplainError::UnknownSurface { file })
}

/// Returns whether messages are Anthropic's, by what only one of the two APIs has in them.
fn whose(messages: &Value) -> Option<bool> {
    messages.as_array()?.iter().find_map(|message| {
        if let Some("system" | "developer" | "tool" | "function") = message["role"].as_str() {
            return Some(false);
        }
        if message.get("tool_calls").is_some() {
            return Some(false);
        }
        let blocks = message["content"].as_array()?;
        blocks.iter().find_map(|block| match block["type"].as_str()? {
            "tool_result" | "tool_use" | "document" | "search_result" | "image" | "thinking" => Some(true),
            "image_url" | "input_audio" | "file" | "refusal" => Some(false),
            _ => None,
        })
    })
}

/// Returns whether the keys beside the messages are Anthropic's.
fn names_anthropic(keys: &Map<String, Value>) -> bool {
    let only = [
        "system",
        "stop_sequences",
        "thinking",
        "top_k",
        "anthropic_version",
        "mcp_servers",
    ];
    let has_schema = |tool: &Value| tool.get("input_schema").is_some();
    let tools = keys.get("tools").and_then(Value::as_array);
    let is_claude = keys
        .get("model")
        .and_then(Value::as_str)
        .is_some_and(|model| model.starts_with("claude"));
    only.iter().any(|key| keys.contains_key(*key))
        || tools.is_some_and(|tools| tools.iter().any(has_schema))
        || (is_claude && keys.contains_key("max_tokens"))
}
