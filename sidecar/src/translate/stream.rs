//! An Anthropic event stream as chat completion chunks, event by event as it comes.

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use serde_json::{Value, json};

use super::events::{EventWriter, MAX_EVENT_BYTES};
use super::response::{Translation, error, error_answer, now, usage_object};
use crate::api::{Usage, Wire};
use crate::sse::{Ending, Event, Parser, StreamState};

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Writer {
    translation: Translation,
    id: String,
    model: String,
    created: u64,
    /// Whether the chunk with the role is out.
    started: bool,
    /// The open content block.
    block: Block,
    calls: u64,
    finish: &'static str,
    /// Whether the last event is out.
    ended: bool,
    out: BytesMut,
}

#[derive(Debug, PartialEq)]
enum Block {
    /// Text, or nothing that is translated.
    Other,
    /// The call with this number.
    Call { index: u64, input: PendingInput },
    /// The tool whose input is the answer.
    Answer { input: PendingInput },
}

/// A tool's input until its first piece arrives: what the block's start says of it, which is all where no piece
/// follows. `None` once one has come.
type PendingInput = Option<Value>;

/// Returns the error that a stream begins with, as a whole answer with its status; `None` where the first event
/// is another, or is not here yet.
pub(super) fn opening_error(first: &[u8]) -> Option<(StatusCode, Bytes)> {
    let mut parser = Parser::new(MAX_EVENT_BYTES);
    let mut state = StreamState::new(Wire::Messages);
    let (mut found, mut begun) = (None, false);
    parser.feed(first, |event| {
        if begun || event.name == b"ping" {
            return;
        }
        begun = true;
        state.read(event);
        if state.ending() == Ending::Failed {
            found = Some(error_answer(event.data));
        }
    });
    found
}

impl Writer {
    /// Starts a stream.
    pub(super) fn new(translation: Translation) -> Self {
        Self {
            id: String::new(),
            model: translation.model.clone(),
            created: now(),
            started: false,
            block: Block::Other,
            calls: 0,
            finish: "stop",
            ended: false,
            out: BytesMut::new(),
            translation,
        }
    }

    /// Translates a message that came in one piece into the chunks of a stream.
    pub(super) fn translate_message(mut self, message: &Value, usage: Usage) -> Bytes {
        self.start_message(message);
        for block in message["content"].as_array().into_iter().flatten() {
            self.start(block);
        }
        self.stop_block();
        self.stop_reason(&message["stop_reason"]);
        self.finish(usage);
        self.out.freeze()
    }
}

impl EventWriter for Writer {
    fn event(&mut self, event: Event<'_>, state: &StreamState) {
        if self.ended {
            return;
        }
        if state.ending() == Ending::Failed {
            self.write(&error(StatusCode::OK, event.data));
            self.ended = true;
            return;
        }
        let Ok(data) = serde_json::from_slice::<Value>(event.data) else {
            return;
        };
        match data["type"].as_str() {
            Some("message_start") => self.start_message(&data["message"]),
            Some("content_block_start") => self.start(&data["content_block"]),
            Some("content_block_delta") => self.continue_block(&data["delta"]),
            Some("content_block_stop") => self.stop_block(),
            Some("message_delta") => self.stop_reason(&data["delta"]["stop_reason"]),
            Some("message_stop") => self.finish(state.usage()),
            Some("ping") => self.comment("ping"),
            _ => {}
        }
    }

    fn finish(&mut self, usage: Usage) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.stop_block();
        self.delta(&json!({}), Some(self.finish));
        if self.translation.include_usage {
            let mut chunk = self.chunk();
            chunk["choices"] = json!([]);
            chunk["usage"] = usage_object(usage);
            self.write(&chunk);
        }
        self.out.put_slice(b"data: [DONE]\n\n");
    }

    /// Comments are what clients skip (WHATWG HTML, 9.2.6).
    fn keep_alive(&mut self) {
        if !self.ended {
            self.comment("keep-alive");
        }
    }

    fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }
}

impl Writer {
    fn start_message(&mut self, message: &Value) {
        self.id = message["id"].as_str().unwrap_or_default().into();
        if let Some(model) = message["model"].as_str() {
            self.model = model.into();
        }
        self.start_answer();
    }

    fn start_answer(&mut self) {
        if !std::mem::replace(&mut self.started, true) {
            self.delta(&json!({"role": "assistant", "content": ""}), None);
        }
    }

    fn stop_reason(&mut self, reason: &Value) {
        if let Some(reason) = reason.as_str().filter(|reason| !reason.is_empty()) {
            self.finish = self.translation.finish_reason(Some(reason), self.calls > 0);
        }
    }

    fn start(&mut self, block: &Value) {
        self.stop_block();
        let name = block["name"].as_str().unwrap_or_default();
        let input = Some(block["input"].clone());
        match block["type"].as_str() {
            Some("tool_use") if self.translation.is_answer(name) => self.block = Block::Answer { input },
            Some("tool_use") => {
                let index = self.calls;
                self.calls += 1;
                let function = json!({"name": self.translation.client_name(name), "arguments": ""});
                let call =
                    json!({"index": index, "id": block["id"], "type": "function", "function": function});
                self.delta(&json!({"tool_calls": [call]}), None);
                self.block = Block::Call { index, input };
            }
            _ => self.text(&block["text"]),
        }
    }

    fn continue_block(&mut self, delta: &Value) {
        let json_part = delta["partial_json"].as_str().filter(|part| !part.is_empty());
        match (&mut self.block, json_part) {
            (Block::Answer { input }, Some(part)) => {
                *input = None;
                self.delta(&json!({"content": part}), None);
            }
            (Block::Call { index, input }, Some(part)) => {
                *input = None;
                let call = json!({"index": *index, "function": {"arguments": part}});
                self.delta(&json!({"tool_calls": [call]}), None);
            }
            _ => self.text(&delta["text"]),
        }
    }

    fn text(&mut self, text: &Value) {
        if let Some(text) = text.as_str().filter(|text| !text.is_empty()) {
            self.delta(&json!({"content": text}), None);
        }
    }

    fn stop_block(&mut self) {
        // OpenAI's clients parse the arguments, and nothing is not JSON.
        let whole = |input: Value| {
            if input.is_object() {
                input.to_string()
            } else {
                "{}".into()
            }
        };
        match std::mem::replace(&mut self.block, Block::Other) {
            Block::Call {
                index,
                input: Some(input),
            } => {
                let call = json!({"index": index, "function": {"arguments": whole(input)}});
                self.delta(&json!({"tool_calls": [call]}), None);
            }
            Block::Answer { input: Some(input) } => self.delta(&json!({"content": whole(input)}), None),
            _ => {}
        }
    }

    /// Writes a line that clients skip (WHATWG HTML, 9.2.6), and that keeps their connection alive.
    fn comment(&mut self, text: &str) {
        self.out.put_slice(format!(": {text}\n\n").as_bytes());
    }

    fn delta(&mut self, delta: &Value, finish: Option<&'static str>) {
        self.start_answer();
        let mut chunk = self.chunk();
        chunk["choices"] = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        if self.translation.include_usage {
            chunk["usage"] = Value::Null;
        }
        self.write(&chunk);
    }

    fn chunk(&self) -> Value {
        json!({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model})
    }

    fn write(&mut self, value: &Value) {
        self.out.put_slice(b"data: ");
        self.out.put_slice(value.to_string().as_bytes());
        self.out.put_slice(b"\n\n");
    }
}
