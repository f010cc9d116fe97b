//! A chat completion as a response of OpenAI's Responses API.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::Writer;
use crate::api::Usage;
use crate::sse::{is_error, usage_of_body};

/// The facts of a request that the translation of its answer needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// Whether the client wants an event stream.
    pub(super) stream: bool,
    /// What the answer repeats of the request.
    pub(super) repeated: Map<String, Value>,
}

impl Translation {
    /// Translates a whole answer: status, body, and the usage in it.
    pub fn body(&self, status: StatusCode, body: &[u8]) -> (StatusCode, Bytes, Usage) {
        let whole: Value = serde_json::from_slice(body).unwrap_or_default();
        let completion = whole.pointer("/choices/0/message").is_some() && !is_error(&whole["error"]);
        if !status.is_success() || !completion {
            let status = match status.is_success() {
                true => StatusCode::BAD_GATEWAY,
                false => status,
            };
            return (status, error(&whole).to_string().into(), Usage::default());
        }
        let usage = usage_of_body(body);
        let writer = self.writer();
        let body = match self.stream {
            true => writer.translate_completion(&whole, usage),
            false => writer.response_of(&whole, usage).to_string().into(),
        };
        (status, body, usage)
    }

    /// Returns the content type of what [`Translation::body`] returned with this status.
    pub fn content_type(&self, status: StatusCode) -> &'static str {
        match self.stream && status.is_success() {
            true => "text/event-stream; charset=utf-8",
            false => "application/json",
        }
    }

    /// Returns whether the client wants an event stream.
    pub fn wants_stream(&self) -> bool {
        self.stream
    }

    /// Starts to write an answer.
    pub(in crate::translate) fn writer(&self) -> Writer {
        Writer::new(self.repeated.clone())
    }
}

/// Returns the error in a body, or says that it holds none.
fn error(body: &Value) -> Value {
    match &body["error"] {
        Value::Null => json!({"error": {
            "message": "the worker's answer is no chat completion", "type": "server_error", "param": null, "code": null,
        }}),
        error => json!({ "error": error }),
    }
}

/// Writes usage as the Responses API does.
pub(super) fn usage_object(usage: Usage) -> Value {
    let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
    json!({
        "input_tokens": input, "input_tokens_details": {"cached_tokens": usage.cached.unwrap_or(0)},
        "output_tokens": output, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input.saturating_add(output),
    })
}
