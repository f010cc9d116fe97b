//! An Anthropic event stream as chat completion chunks, event by event as it comes.

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use serde_json::{Value, json};

use super::Translation;
use super::response::{error, now, usage_object};
use crate::api::{Usage, Wire};
use crate::sse::{Ending, Event, Parser, Tap};

/// Larger events cannot be translated and are left out.
const MAX_EVENT_BYTES: usize = 8 << 20;

/// Translates one stream.
#[derive(Debug)]
pub struct StreamTranslator {
    parser: Parser,
    tap: Tap,
    writer: Writer,
}

#[derive(Debug)]
struct Writer {
    translation: Translation,
    id: String,
    model: String,
    created: u64,
    /// The open content block.
    block: Block,
    calls: u64,
    finish: &'static str,
    out: BytesMut,
}

#[derive(Debug, PartialEq, Eq)]
enum Block {
    /// Text, or nothing that is translated.
    Other,
    /// The call with this number; whether any of its arguments came.
    Call(u64, bool),
    /// The tool whose input is the answer.
    Answer,
}

impl StreamTranslator {
    /// Starts a stream.
    pub(super) fn new(translation: Translation) -> Self {
        let writer = Writer {
            id: String::new(),
            model: translation.model.clone(),
            created: now(),
            block: Block::Other,
            calls: 0,
            finish: "stop",
            out: BytesMut::new(),
            translation,
        };
        Self {
            parser: Parser::new(MAX_EVENT_BYTES),
            tap: Tap::new(Wire::Messages),
            writer,
        }
    }

    /// Returns the events that the next bytes complete, translated; may be empty.
    pub fn feed(&mut self, bytes: &[u8]) -> Bytes {
        self.tap.feed(bytes);
        let (writer, usage) = (&mut self.writer, self.tap.usage());
        self.parser.feed(bytes, |event| writer.event(event, usage));
        self.writer.out.split().freeze()
    }

    /// Returns the usage seen so far.
    pub fn usage(&self) -> Usage {
        self.tap.usage()
    }

    /// Returns whether the stream may end here.
    pub fn ending(&self) -> Ending {
        self.tap.ending()
    }
}

impl Writer {
    fn event(&mut self, event: Event<'_>, usage: Usage) {
        let Ok(data) = serde_json::from_slice::<Value>(event.data) else {
            return;
        };
        match data["type"].as_str() {
            Some("message_start") => {
                let message = &data["message"];
                self.id = message["id"].as_str().unwrap_or_default().into();
                if let Some(model) = message["model"].as_str() {
                    self.model = model.into();
                }
                self.delta(&json!({"role": "assistant", "content": ""}), None);
            }
            Some("content_block_start") => self.start(&data["content_block"]),
            Some("content_block_delta") => self.continue_block(&data["delta"]),
            Some("content_block_stop") => self.stop_block(),
            Some("message_delta") => {
                if let Some(stop) = data["delta"]["stop_reason"].as_str() {
                    self.finish = self.translation.finish_reason(Some(stop), self.calls > 0);
                }
            }
            Some("message_stop") => self.finish(usage),
            Some("error") => self.write(&error(StatusCode::BAD_GATEWAY, event.data)),
            _ => {}
        }
    }

    fn start(&mut self, block: &Value) {
        let name = block["name"].as_str().unwrap_or_default();
        self.block = match block["type"].as_str() {
            Some("tool_use") if self.translation.is_answer(name) => Block::Answer,
            Some("tool_use") => {
                let index = self.calls;
                self.calls += 1;
                let function = json!({"name": name, "arguments": ""});
                let call =
                    json!({"index": index, "id": block["id"], "type": "function", "function": function});
                self.delta(&json!({"tool_calls": [call]}), None);
                Block::Call(index, false)
            }
            _ => Block::Other,
        };
    }

    fn continue_block(&mut self, delta: &Value) {
        let json_part = delta["partial_json"].as_str().filter(|part| !part.is_empty());
        match (&mut self.block, json_part) {
            (Block::Answer, Some(part)) => self.delta(&json!({"content": part}), None),
            (Block::Call(index, begun), Some(part)) => {
                *begun = true;
                let call = json!({"index": *index, "function": {"arguments": part}});
                self.delta(&json!({"tool_calls": [call]}), None);
            }
            _ => {
                if let Some(text) = delta["text"].as_str() {
                    self.delta(&json!({"content": text}), None);
                }
            }
        }
    }

    fn stop_block(&mut self) {
        // OpenAI's clients parse the arguments, and nothing is not JSON.
        if let Block::Call(index, false) = self.block {
            let call = json!({"index": index, "function": {"arguments": "{}"}});
            self.delta(&json!({"tool_calls": [call]}), None);
        }
        self.block = Block::Other;
    }

    fn finish(&mut self, usage: Usage) {
        self.delta(&json!({}), Some(self.finish));
        if self.translation.include_usage {
            let mut chunk = self.chunk();
            chunk["choices"] = json!([]);
            chunk["usage"] = usage_object(usage);
            self.write(&chunk);
        }
        self.out.put_slice(b"data: [DONE]\n\n");
    }

    fn delta(&mut self, delta: &Value, finish: Option<&'static str>) {
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
