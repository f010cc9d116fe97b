//! An Anthropic answer or error as a chat completion or an OpenAI error.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::events::StreamTranslator;
use super::stream::Writer;
use super::text::is_blank;
use crate::api::{Usage, Wire};
use crate::sse::{is_error, usage_of_body};

/// Longest part of an upstream's body in an error, in characters.
const MAX_QUOTED: usize = 500;

/// Where servers put the text of an error.
const ERROR_TEXTS: [&str; 9] = [
    "/error/message",
    "/error",
    "/error/msg",
    "/message",
    "/msg",
    "/detail",
    "/errors/0/message",
    "/error_description",
    "/error_msg",
];

/// Where servers put the status of an error that they answer with status 200.
const ERROR_STATUSES: [&str; 6] = [
    "/error/code",
    "/error/status",
    "/code",
    "/status",
    "/status_code",
    "/error/status_code",
];

/// The facts of a request that the translation of its answer needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translation {
    /// The model that was asked for.
    pub(super) model: String,
    /// Whether the client wants an event stream.
    pub(super) stream: bool,
    /// Whether the client wants a usage chunk at the stream's end.
    pub(super) include_usage: bool,
    /// The tool whose input is the answer itself.
    pub(super) answer_tool: Option<String>,
    /// The client's names of tools that were sent under another.
    pub(super) names: BTreeMap<String, String>,
}

/// An Anthropic message.
#[derive(Debug, Deserialize)]
struct Message {
    id: Option<String>,
    model: Option<String>,
    content: Vec<Value>,
    stop_reason: Option<String>,
}

impl Message {
    /// Reads a message; `None` for everything else, above all for errors with status 200.
    fn read(body: &[u8]) -> Option<(Self, Value)> {
        let whole: Value = serde_json::from_slice(body).ok()?;
        let is_message = whole.get("type").is_none_or(|kind| kind == "message");
        if !is_message || is_error(&whole["error"]) {
            return None;
        }
        Some((Self::deserialize(&whole).ok()?, whole))
    }
}

impl Translation {
    /// Translates a whole answer: status, body, and the usage in it. A message becomes a completion, or its chunks
    /// if the client wants a stream; everything else becomes an error with the upstream's text.
    pub fn body(&self, status: StatusCode, body: &[u8]) -> (StatusCode, Bytes, Usage) {
        if !status.is_success() {
            let status_sent = translate_status(status);
            return (
                status_sent,
                error(status, body).to_string().into(),
                Usage::default(),
            );
        }
        let Some((message, whole)) = Message::read(body) else {
            let status_sent = status_of_error(body);
            return (
                status_sent,
                error(status, body).to_string().into(),
                Usage::default(),
            );
        };
        let usage = usage_of_body(body);
        if self.stream {
            return (
                status,
                Writer::new(self.clone()).translate_message(&whole, usage),
                usage,
            );
        }
        (status, self.completion(&message, usage).to_string().into(), usage)
    }

    /// Translates a stream as it comes.
    pub fn stream(&self) -> StreamTranslator {
        StreamTranslator::new(Wire::Messages, Writer::new(self.clone()))
    }

    /// Returns whether this tool's input is the answer.
    pub(super) fn is_answer(&self, tool: &str) -> bool {
        self.answer_tool.as_deref() == Some(tool)
    }

    /// Returns the client's name of a tool.
    pub(super) fn client_name<'a>(&'a self, tool: &'a str) -> &'a str {
        self.names.get(tool).map_or(tool, String::as_str)
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
                    "function": {"name": self.client_name(name), "arguments": block["input"].to_string()},
                })),
                _ => {}
            }
        }
        let finish = self.finish_reason(message.stop_reason.as_deref(), !calls.is_empty());
        if calls.is_empty() {
            // Only beside calls may the content be null.
            text.get_or_insert_default();
        }
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

/// Replaces Anthropic's own status for "overloaded", and what is no error to a client.
fn translate_status(status: StatusCode) -> StatusCode {
    match status.as_u16() {
        529 => StatusCode::SERVICE_UNAVAILABLE,
        400.. => status,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// Returns the status for an error that came without one: by its type, or by the number that it names.
fn status_of_error(body: &[u8]) -> StatusCode {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    match parsed.pointer("/error/type").and_then(Value::as_str) {
        Some("invalid_request_error") => return StatusCode::BAD_REQUEST,
        Some("authentication_error") => return StatusCode::UNAUTHORIZED,
        Some("billing_error") => return StatusCode::PAYMENT_REQUIRED,
        Some("permission_error") => return StatusCode::FORBIDDEN,
        Some("not_found_error") => return StatusCode::NOT_FOUND,
        Some("request_too_large") => return StatusCode::PAYLOAD_TOO_LARGE,
        Some("rate_limit_error") => return StatusCode::TOO_MANY_REQUESTS,
        Some("overloaded_error") => return StatusCode::SERVICE_UNAVAILABLE,
        Some("timeout_error") => return StatusCode::GATEWAY_TIMEOUT,
        _ => {}
    }
    let numbers = ERROR_STATUSES
        .iter()
        .filter_map(|path| parsed.pointer(path)?.as_u64());
    let number = numbers.into_iter().find(|number| (400..600).contains(number));
    let status = number.and_then(|number| StatusCode::from_u16(u16::try_from(number).ok()?).ok());
    match status.map(translate_status) {
        Some(status) if status.is_client_error() => status,
        Some(status @ (StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)) => status,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// Translates an error event of a stream, of which nothing has gone out yet, as a whole answer.
pub(super) fn error_answer(data: &[u8]) -> (StatusCode, Bytes) {
    let body = error(StatusCode::OK, data).to_string();
    (status_of_error(data), body.into())
}

/// Translates an error's body, or the `error` event of a stream, with the upstream's text.
pub(super) fn error(status: StatusCode, body: &[u8]) -> Value {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let kind = parsed
        .pointer("/error/type")
        .and_then(Value::as_str)
        .unwrap_or("server_error");
    let texts = ERROR_TEXTS
        .iter()
        .filter_map(|path| parsed.pointer(path)?.as_str());
    let text = texts.into_iter().find(|text| !is_blank(text));
    let message = text.map_or_else(
        || {
            format!(
                "the upstream answered with status {} and a body that is no Anthropic message: {}",
                status.as_u16(),
                quoted(body)
            )
        },
        bounded,
    );
    json!({"error": {"message": message, "type": kind, "param": null, "code": kind}})
}

/// Returns the beginning of a body as one line of text.
fn quoted(body: &[u8]) -> String {
    let start = &body[..body.len().min(4 * MAX_QUOTED)];
    let text = String::from_utf8_lossy(start);
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() {
        return "(empty)".into();
    }
    bounded(&words.join(" "))
}

fn bounded(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
