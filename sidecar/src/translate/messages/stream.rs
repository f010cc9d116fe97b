//! Chat completion chunks as Anthropic's events, chunk by chunk as they come.

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use serde_json::{Value, json};

use super::super::events::{EventWriter, as_chunk};
use super::response::{error, stop_reason, usage_object};
use crate::api::Usage;
use crate::sse::{Event, StreamState, is_error};

/// Writes one stream.
#[derive(Debug, Default)]
pub(in crate::translate) struct Writer {
    /// Whether `message_start` is out.
    started: bool,
    /// The open block, and how many were opened before it.
    block: Option<Block>,
    blocks: u64,
    finish: Value,
    /// Whether the last event is out.
    ended: bool,
    out: BytesMut,
}

#[derive(Debug, PartialEq, Eq)]
enum Block {
    Text,
    /// The call with this number in the upstream's chunks.
    Call(u64),
}

impl EventWriter for Writer {
    fn event(&mut self, event: Event<'_>, state: &StreamState) {
        if event.data == b"[DONE]" {
            self.finish(state.usage());
            return;
        }
        let Ok(chunk) = serde_json::from_slice::<Value>(event.data) else {
            return;
        };
        if is_error(&chunk["error"]) && !self.ended {
            self.ended = true;
            self.write("error", &error(StatusCode::INTERNAL_SERVER_ERROR, &chunk));
            return;
        }
        self.chunk(&chunk);
    }

    fn finish(&mut self, usage: Usage) {
        if !self.started || std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.close();
        let delta = json!({"stop_reason": stop_reason(&self.finish), "stop_sequence": null});
        let event = json!({"type": "message_delta", "delta": delta, "usage": usage_object(usage)});
        self.write("message_delta", &event);
        self.write("message_stop", &json!({"type": "message_stop"}));
    }

    fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }
}

impl Writer {
    /// Translates a completion that came in one piece into the events of a stream.
    pub(super) fn translate_completion(mut self, completion: &Value, usage: Usage) -> Bytes {
        self.chunk(&as_chunk(completion));
        self.finish(usage);
        self.out.freeze()
    }

    fn chunk(&mut self, chunk: &Value) {
        if self.ended {
            return;
        }
        self.start(chunk);
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        if let Some(text) = delta["content"].as_str().filter(|text| !text.is_empty()) {
            self.open(Block::Text, || json!({"type": "text", "text": ""}));
            self.delta(json!({"type": "text_delta", "text": text}));
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let (number, function) = (call["index"].as_u64().unwrap_or(0), &call["function"]);
            let block =
                || json!({"type": "tool_use", "id": call["id"], "name": function["name"], "input": {}});
            self.open(Block::Call(number), block);
            if let Some(text) = function["arguments"].as_str().filter(|text| !text.is_empty()) {
                self.delta(json!({"type": "input_json_delta", "partial_json": text}));
            }
        }
        if choice["finish_reason"].is_string() {
            self.finish = choice["finish_reason"].clone();
        }
    }

    fn start(&mut self, chunk: &Value) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        // The prompt's tokens are known at the end.
        let message = json!({
            "id": chunk["id"], "type": "message", "role": "assistant", "model": chunk["model"], "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage_object(Usage::default()),
        });
        self.write(
            "message_start",
            &json!({"type": "message_start", "message": message}),
        );
    }

    /// Opens a block, unless it is open already; another one is closed before.
    fn open(&mut self, block: Block, content: impl FnOnce() -> Value) {
        if self.block.as_ref() == Some(&block) {
            return;
        }
        self.close();
        self.block = Some(block);
        let start = json!({"type": "content_block_start", "index": self.blocks, "content_block": content()});
        self.write("content_block_start", &start);
    }

    fn close(&mut self) {
        if self.block.take().is_some() {
            let stop = json!({"type": "content_block_stop", "index": self.blocks});
            self.write("content_block_stop", &stop);
            self.blocks += 1;
        }
    }

    fn delta(&mut self, delta: Value) {
        let event = json!({"type": "content_block_delta", "index": self.blocks, "delta": delta});
        self.write("content_block_delta", &event);
    }

    fn write(&mut self, name: &str, data: &Value) {
        self.out
            .put_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
    }
}
