//! Chat completion chunks as Anthropic's events, chunk by chunk as they come.

use bytes::{BufMut, BytesMut};
use http::StatusCode;
use serde_json::{Value, json};

use super::response::{error, stop_reason, usage_object};
use crate::api::Usage;
use crate::translate::completion::{AnswerWriter, Part};
use crate::translate::events::named_event;

/// Writes one stream.
#[derive(Debug, Default)]
pub(in crate::translate) struct Writer {
    /// The open block, and how many were opened before it.
    block: Option<Part>,
    blocks: u64,
    finish: Value,
    out: BytesMut,
}

impl AnswerWriter for Writer {
    fn start(&mut self, chunk: &Value) {
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

    fn open(&mut self, block: Part, call: &Value) {
        if self.block == Some(block) {
            return;
        }
        self.close();
        self.block = Some(block);
        let content = match block {
            Part::Text => json!({"type": "text", "text": ""}),
            Part::Call(_) => {
                json!({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": {}})
            }
        };
        let start = json!({"type": "content_block_start", "index": self.blocks, "content_block": content});
        self.write("content_block_start", &start);
    }

    fn add(&mut self, text: &str) {
        let delta = match self.block {
            Some(Part::Call(_)) => json!({"type": "input_json_delta", "partial_json": text}),
            _ => json!({"type": "text_delta", "text": text}),
        };
        let event = json!({"type": "content_block_delta", "index": self.blocks, "delta": delta});
        self.write("content_block_delta", &event);
    }

    fn stop(&mut self, reason: &str) {
        self.finish = reason.into();
    }

    fn end(&mut self, usage: Usage) {
        self.close();
        let delta = json!({"stop_reason": stop_reason(&self.finish), "stop_sequence": null});
        let event = json!({"type": "message_delta", "delta": delta, "usage": usage_object(usage)});
        self.write("message_delta", &event);
        self.write("message_stop", &json!({"type": "message_stop"}));
    }

    fn fail(&mut self, chunk: &Value) {
        self.write("error", &error(StatusCode::INTERNAL_SERVER_ERROR, chunk));
    }

    fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }
}

impl Writer {
    fn close(&mut self) {
        if self.block.take().is_some() {
            let stop = json!({"type": "content_block_stop", "index": self.blocks});
            self.write("content_block_stop", &stop);
            self.blocks += 1;
        }
    }

    fn write(&mut self, name: &str, data: &Value) {
        self.out.put_slice(named_event(name, data).as_bytes());
    }
}
