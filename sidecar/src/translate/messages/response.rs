//! A chat completion or an OpenAI error as a message or an error of Anthropic's.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::stream::Writer;
use crate::api::Usage;
use crate::translate::completion::{ChunkReader, read_completion};

/// The facts of a request that the translation of its answer needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// Whether the client wants an event stream.
    pub(in crate::translate) stream: bool,
}

impl Translation {
    /// Translates a whole answer: status, body, and the usage in it.
    pub fn body(&self, status: StatusCode, body: &[u8]) -> (StatusCode, Bytes, Usage) {
        match read_completion(status, body) {
            Ok((completion, usage)) => {
                let body = match self.stream {
                    true => ChunkReader::translate_completion(self.writer(), &completion, usage),
                    false => message(&completion, usage).to_string().into(),
                };
                (status, body, usage)
            }
            Err((status, whole)) => (status, error(status, &whole).to_string().into(), Usage::default()),
        }
    }

    /// Starts to write an answer.
    pub(in crate::translate) fn writer(&self) -> Writer {
        Writer::default()
    }
}

fn message(completion: &Value, usage: Usage) -> Value {
    let answer = &completion["choices"][0]["message"];
    let mut content = Vec::new();
    if let Some(text) = answer["content"].as_str().filter(|text| !text.is_empty()) {
        content.push(json!({"type": "text", "text": text}));
    }
    for call in answer["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        content.push(json!({
            "type": "tool_use", "id": call["id"], "name": function["name"],
            "input": input(function["arguments"].as_str().unwrap_or_default()),
        }));
    }
    json!({
        "id": completion["id"], "type": "message", "role": "assistant", "model": completion["model"],
        "content": content, "stop_reason": stop_reason(&completion["choices"][0]["finish_reason"]),
        "stop_sequence": null, "usage": usage_object(usage),
    })
}

/// Reads a call's arguments. Anthropic's are an object; what is none becomes a member of one.
pub(super) fn input(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(Value::Object(input)) => Value::Object(input),
        _ if arguments.trim().is_empty() => Value::Object(Map::new()),
        _ => json!({"arguments": arguments}),
    }
}

/// Translates a finish reason.
pub(super) fn stop_reason(finish: &Value) -> &'static str {
    match finish.as_str() {
        Some("length") => "max_tokens",
        Some("tool_calls") => "tool_use",
        Some("content_filter") => "refusal",
        _ => "end_turn",
    }
}

/// Writes usage as Anthropic does, whose input does not hold what was cached.
pub(super) fn usage_object(usage: Usage) -> Value {
    let cached = usage.cached.unwrap_or(0);
    json!({
        "input_tokens": usage.input.unwrap_or(0).saturating_sub(cached), "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached, "output_tokens": usage.output.unwrap_or(0),
    })
}

/// Translates an error's body, or the error that a stream ends with.
pub(super) fn error(status: StatusCode, body: &Value) -> Value {
    let text = body.pointer("/error/message").and_then(Value::as_str);
    let message = text.unwrap_or("the worker's answer is no chat completion");
    json!({"type": "error", "error": {"type": error_kind(status), "message": message}})
}

/// Returns Anthropic's name for the errors of a status.
pub(crate) fn error_kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}
