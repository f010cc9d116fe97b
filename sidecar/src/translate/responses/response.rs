//! A chat completion as a response of OpenAI's Responses API.

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
    /// What the answer repeats of the request.
    pub(super) repeated: Map<String, Value>,
}

impl Translation {
    /// Translates a whole answer: status, body, and the usage in it.
    pub fn body(&self, status: StatusCode, body: &[u8]) -> (StatusCode, Bytes, Usage) {
        match read_completion(status, body) {
            Ok((completion, usage)) => {
                let writer = self.writer();
                let body = match self.stream {
                    true => ChunkReader::translate_completion(writer, &completion, usage),
                    false => writer.response_of(&completion, usage).to_string().into(),
                };
                (status, body, usage)
            }
            Err((status, whole)) => (status, error(&whole).to_string().into(), Usage::default()),
        }
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
pub(crate) fn usage_object(usage: Usage) -> Value {
    let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
    json!({
        "input_tokens": input, "input_tokens_details": {"cached_tokens": usage.cached.unwrap_or(0)},
        "output_tokens": output, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input.saturating_add(output),
    })
}
