//! Chat completion chunks as events of OpenAI's Responses API, chunk by chunk as they come.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value, json};

use super::super::events::{EventWriter, as_chunk};
use super::response::usage_object;
use crate::api::Usage;
use crate::sse::{Event, StreamState, is_error};

/// Writes one answer.
#[derive(Debug)]
pub(in crate::translate) struct Writer {
    /// What the answer repeats of the request, and from the first chunk on its id, model and time.
    response: Map<String, Value>,
    /// The id of the upstream's answer, from the first chunk on.
    id: Option<String>,
    /// The items that are complete, and the one that is being written.
    output: Vec<Value>,
    item: Option<Item>,
    finish: Value,
    /// Whether the last event is out.
    ended: bool,
    number: u64,
    out: BytesMut,
}

/// The item that is being written.
#[derive(Debug)]
struct Item {
    kind: Kind,
    id: String,
    /// The text, or a call's arguments.
    text: String,
    /// A call's id and name.
    call: Value,
    name: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// The call with this number in the upstream's chunks.
    Call(u64),
}

impl Item {
    fn value(&self, status: &str) -> Value {
        match self.kind {
            Kind::Text => json!({
                "id": self.id, "type": "message", "status": status, "role": "assistant",
                "content": if status == IN_PROGRESS { json!([]) } else { json!([self.part()]) },
            }),
            Kind::Call(_) => json!({
                "id": self.id, "type": "function_call", "status": status, "call_id": self.call,
                "name": self.name, "arguments": self.text,
            }),
        }
    }

    fn part(&self) -> Value {
        json!({"type": "output_text", "text": self.text, "annotations": [], "logprobs": []})
    }
}

const IN_PROGRESS: &str = "in_progress";
const COMPLETED: &str = "completed";
const INCOMPLETE: &str = "incomplete";

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
            let error = &chunk["error"];
            let event = json!({"code": error["code"], "message": error["message"], "param": error["param"]});
            self.write("error", event);
            return;
        }
        self.chunk(&chunk);
    }

    fn finish(&mut self, usage: Usage) {
        if self.id.is_none() || self.ended {
            return;
        }
        self.close();
        self.ended = true;
        let response = self.response(self.status(), Some(usage));
        self.write(
            &format!("response.{}", self.status()),
            json!({ "response": response }),
        );
    }

    fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }
}

impl Writer {
    pub(super) fn new(repeated: Map<String, Value>) -> Self {
        Self {
            response: repeated,
            id: None,
            output: Vec::new(),
            item: None,
            finish: Value::Null,
            ended: false,
            number: 0,
            out: BytesMut::new(),
        }
    }

    /// Translates a completion that came in one piece into the events of a stream.
    pub(super) fn translate_completion(mut self, completion: &Value, usage: Usage) -> Bytes {
        self.chunk(&as_chunk(completion));
        self.finish(usage);
        self.out.freeze()
    }

    /// Translates a completion into a response.
    pub(super) fn response_of(mut self, completion: &Value, usage: Usage) -> Value {
        self.chunk(&as_chunk(completion));
        self.close();
        self.response(self.status(), Some(usage))
    }

    fn chunk(&mut self, chunk: &Value) {
        if self.ended {
            return;
        }
        self.start(chunk);
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        if let Some(text) = delta["content"].as_str().filter(|text| !text.is_empty()) {
            self.open(Kind::Text, &Value::Null);
            self.delta(text);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            self.open(Kind::Call(call["index"].as_u64().unwrap_or(0)), call);
            if let Some(text) = call["function"]["arguments"]
                .as_str()
                .filter(|text| !text.is_empty())
            {
                self.delta(text);
            }
        }
        if choice["finish_reason"].is_string() {
            self.finish = choice["finish_reason"].clone();
        }
    }

    fn start(&mut self, chunk: &Value) {
        if self.id.is_some() {
            return;
        }
        let id = chunk["id"].as_str().unwrap_or_default().to_owned();
        self.response.insert("id".into(), format!("resp_{id}").into());
        self.response.insert("object".into(), "response".into());
        self.response
            .insert("created_at".into(), chunk["created"].clone());
        self.response.insert("model".into(), chunk["model"].clone());
        self.id = Some(id);
        let response = self.response(IN_PROGRESS, None);
        self.write("response.created", json!({ "response": response }));
        self.write("response.in_progress", json!({ "response": response }));
    }

    /// Returns the whole response as it is now.
    fn response(&self, status: &str, usage: Option<Usage>) -> Value {
        let mut response = self.response.clone();
        let reason = match self.finish.as_str() {
            _ if status != INCOMPLETE => Value::Null,
            Some("content_filter") => json!({"reason": "content_filter"}),
            _ => json!({"reason": "max_output_tokens"}),
        };
        response.insert("status".into(), status.into());
        response.insert("error".into(), Value::Null);
        response.insert("incomplete_details".into(), reason);
        response.insert("previous_response_id".into(), Value::Null);
        response.insert("output".into(), self.output.clone().into());
        response.insert("usage".into(), usage.map_or(Value::Null, usage_object));
        response.into()
    }

    /// Returns the status of the finished answer.
    fn status(&self) -> &'static str {
        match self.finish.as_str() {
            Some("length" | "content_filter") => INCOMPLETE,
            _ => COMPLETED,
        }
    }

    /// Opens an item, unless it is open already; another one is closed before.
    fn open(&mut self, kind: Kind, call: &Value) {
        if self.item.as_ref().is_some_and(|item| item.kind == kind) {
            return;
        }
        self.close();
        let name = match kind {
            Kind::Text => "msg",
            Kind::Call(_) => "fc",
        };
        let answer = self.id.as_deref().unwrap_or_default();
        let item = Item {
            kind,
            id: format!("{name}_{answer}_{}", self.output.len()),
            text: String::new(),
            call: call["id"].clone(),
            name: call["function"]["name"].clone(),
        };
        self.write(
            "response.output_item.added",
            json!({"output_index": self.output.len(), "item": item.value(IN_PROGRESS)}),
        );
        if kind == Kind::Text {
            self.write_part("response.content_part.added", &item, json!({"part": item.part()}));
        }
        self.item = Some(item);
    }

    fn delta(&mut self, text: &str) {
        let Some(mut item) = self.item.take() else {
            return;
        };
        item.text.push_str(text);
        match item.kind {
            Kind::Text => {
                self.write_part(
                    "response.output_text.delta",
                    &item,
                    json!({"delta": text, "logprobs": []}),
                );
            }
            Kind::Call(_) => {
                self.write_of(
                    "response.function_call_arguments.delta",
                    &item,
                    json!({"delta": text}),
                );
            }
        }
        self.item = Some(item);
    }

    /// Closes the open item.
    fn close(&mut self) {
        let Some(item) = self.item.take() else {
            return;
        };
        if item.kind == Kind::Text {
            self.write_part(
                "response.output_text.done",
                &item,
                json!({"text": item.text, "logprobs": []}),
            );
            self.write_part("response.content_part.done", &item, json!({"part": item.part()}));
        } else {
            let done = json!({"name": item.name, "arguments": item.text});
            self.write_of("response.function_call_arguments.done", &item, done);
        }
        let value = item.value(self.status());
        self.write(
            "response.output_item.done",
            json!({"output_index": self.output.len(), "item": value}),
        );
        self.output.push(value);
    }

    /// Writes an event about the text of an item.
    fn write_part(&mut self, name: &str, item: &Item, mut data: Value) {
        data["content_index"] = 0.into();
        self.write_of(name, item, data);
    }

    /// Writes an event about an item.
    fn write_of(&mut self, name: &str, item: &Item, mut data: Value) {
        data["item_id"] = item.id.as_str().into();
        data["output_index"] = self.output.len().into();
        self.write(name, data);
    }

    fn write(&mut self, name: &str, mut data: Value) {
        data["type"] = name.into();
        data["sequence_number"] = self.number.into();
        self.number += 1;
        self.out
            .put_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
    }
}
