//! An Anthropic answer or error as a chat completion or an OpenAI error.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::StreamTranslator;
use crate::api::Usage;
use crate::sse::usage_of_body;

/// The facts of a request that the translation of its answer needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// The model that was asked for.
    pub(super) model: String,
    /// Whether the client wants a usage chunk at the stream's end.
    pub(super) include_usage: bool,
    /// The tool whose input is the answer itself.
    pub(super) answer_tool: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    id: Option<String>,
    model: Option<String>,
    #[serde(default)]
    content: Vec<Value>,
    stop_reason: Option<String>,
}

impl Translation {
    /// Translates a whole answer: status, body, and the usage in it.
    pub fn body(&self, status: StatusCode, body: &[u8]) -> (StatusCode, Bytes, Usage) {
        if !status.is_success() {
            return (
                translate_status(status),
                error(status, body).to_string().into(),
                Usage::default(),
            );
        }
        let Ok(message) = serde_json::from_slice::<Message>(body) else {
            let status = StatusCode::BAD_GATEWAY;
            return (status, error(status, body).to_string().into(), Usage::default());
        };
        let usage = usage_of_body(body);
        (status, self.completion(&message, usage).to_string().into(), usage)
    }

    /// Translates a stream as it comes.
    pub fn stream(&self) -> StreamTranslator {
        StreamTranslator::new(self.clone())
    }

    /// Returns whether this tool's input is the answer.
    pub(super) fn is_answer(&self, tool: &str) -> bool {
        self.answer_tool.as_deref() == Some(tool)
    }

    fn completion(&self, message: &Message, usage: Usage) -> Value {
        let mut text: Option<String> = None;
        let mut calls = Vec::new();
        for block in &message.content {
            let name = block["name"].as_str().unwrap_or_default();
            match block["type"].as_str() {
                Some("text") => text
                    .get_or_insert_default()
                    .push_str(block["text"].as_str().unwrap_or_default()),
                Some("tool_use") if self.is_answer(name) => {
                    text.get_or_insert_default().push_str(&block["input"].to_string());
                }
                Some("tool_use") => calls.push(json!({
                    "id": block["id"], "type": "function",
                    "function": {"name": name, "arguments": block["input"].to_string()},
                })),
                _ => {}
            }
        }
        let finish = self.finish_reason(message.stop_reason.as_deref(), !calls.is_empty());
        let mut answer = json!({"role": "assistant", "content": text, "refusal": null});
        if !calls.is_empty() {
            answer["tool_calls"] = calls.into();
        }
        json!({
            "id": message.id, "object": "chat.completion", "created": now(),
            "model": message.model.as_ref().unwrap_or(&self.model),
            "choices": [{"index": 0, "message": answer, "logprobs": null, "finish_reason": finish}],
            "usage": usage_object(usage),
        })
    }

    pub(super) fn finish_reason(&self, stop: Option<&str>, has_calls: bool) -> &'static str {
        match stop {
            Some("max_tokens" | "model_context_window_exceeded") => "length",
            Some("refusal") => "content_filter",
            Some("tool_use") if has_calls || self.answer_tool.is_none() => "tool_calls",
            _ => "stop",
        }
    }
}

/// Writes usage as OpenAI does.
pub(crate) fn usage_object(usage: Usage) -> Value {
    let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
    json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input.saturating_add(output),
        "prompt_tokens_details": {"cached_tokens": usage.cached.unwrap_or(0)},
    })
}

/// Returns the seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// Replaces Anthropic's own status for "overloaded".
fn translate_status(status: StatusCode) -> StatusCode {
    if status.as_u16() == 529 {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        status
    }
}

/// Translates an error's body, or the `error` event of a stream.
pub(super) fn error(status: StatusCode, body: &[u8]) -> Value {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let kind = parsed
        .pointer("/error/type")
        .and_then(Value::as_str)
        .unwrap_or("server_error");
    let message = parsed
        .pointer("/error/message")
        .and_then(Value::as_str)
        .map_or_else(
            || {
                format!(
                    "the upstream answered with status {} and a body that is no Anthropic message",
                    status.as_u16()
                )
            },
            str::to_owned,
        );
    json!({"error": {"message": message, "type": kind, "param": null, "code": kind}})
}
