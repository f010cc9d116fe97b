//! Chat completion chunks as events of OpenAI's Responses API, chunk by chunk as they come.

use bytes::{BufMut, BytesMut};
use serde_json::{Map, Value, json};

use super::response::usage_object;
use crate::api::Usage;
use crate::translate::completion::{AnswerWriter, ChunkReader, Part};
use crate::translate::events::named_event;

/// Writes one answer.
#[derive(Debug)]
pub(in crate::translate) struct Writer {
    /// What the answer repeats of the request, and from the first chunk on its id, model and time.
    response: Map<String, Value>,
    /// The id of the upstream's answer, from the first chunk on.
    id: String,
    /// The items that are complete, and the one that is being written.
    output: Vec<Value>,
    item: Option<Item>,
    finish: Value,
    number: u64,
    out: BytesMut,
}

/// The item that is being written.
#[derive(Debug)]
struct Item {
    part: Part,
    id: String,
    /// The text, or a call's arguments.
    text: String,
    /// A call's id and name.
    call: Value,
    name: Value,
}

impl Item {
    fn value(&self, status: &str) -> Value {
        match self.part {
            Part::Text => json!({
                "id": self.id, "type": "message", "status": status, "role": "assistant",
                "content": if status == IN_PROGRESS { json!([]) } else { json!([self.text_part()]) },
            }),
            Part::Call(_) => json!({
                "id": self.id, "type": "function_call", "status": status, "call_id": self.call,
                "name": self.name, "arguments": self.text,
            }),
        }
    }

    fn text_part(&self) -> Value {
        json!({"type": "output_text", "text": self.text, "annotations": [], "logprobs": []})
    }
}

const IN_PROGRESS: &str = "in_progress";
const COMPLETED: &str = "completed";
const INCOMPLETE: &str = "incomplete";

impl AnswerWriter for Writer {
    fn start(&mut self, chunk: &Value) {
        self.id = chunk["id"].as_str().unwrap_or_default().to_owned();
        self.response
            .insert("id".into(), format!("resp_{}", self.id).into());
        self.response.insert("object".into(), "response".into());
        self.response
            .insert("created_at".into(), chunk["created"].clone());
        self.response.insert("model".into(), chunk["model"].clone());
        let response = self.response(IN_PROGRESS, None);
        self.write("response.created", json!({ "response": response }));
        self.write("response.in_progress", json!({ "response": response }));
    }

    fn open(&mut self, part: Part, call: &Value) {
        if self.item.as_ref().is_some_and(|item| item.part == part) {
            return;
        }
        self.close();
        let name = match part {
            Part::Text => "msg",
            Part::Call(_) => "fc",
        };
        let item = Item {
            part,
            id: format!("{name}_{}_{}", self.id, self.output.len()),
            text: String::new(),
            call: call["id"].clone(),
            name: call["function"]["name"].clone(),
        };
        self.write(
            "response.output_item.added",
            json!({"output_index": self.output.len(), "item": item.value(IN_PROGRESS)}),
        );
        if part == Part::Text {
            let data = json!({"part": item.text_part()});
            self.write_part("response.content_part.added", &item, data);
        }
        self.item = Some(item);
    }

    fn add(&mut self, text: &str) {
        let Some(mut item) = self.item.take() else {
            return;
        };
        item.text.push_str(text);
        match item.part {
            Part::Text => {
                self.write_part(
                    "response.output_text.delta",
                    &item,
                    json!({"delta": text, "logprobs": []}),
                );
            }
            Part::Call(_) => {
                self.write_of(
                    "response.function_call_arguments.delta",
                    &item,
                    json!({"delta": text}),
                );
            }
        }
        self.item = Some(item);
    }

    fn stop(&mut self, reason: &str) {
        self.finish = reason.into();
    }

    fn end(&mut self, usage: Usage) {
        self.close();
        let response = self.response(self.status(), Some(usage));
        self.write(
            &format!("response.{}", self.status()),
            json!({ "response": response }),
        );
    }

    fn fail(&mut self, chunk: &Value) {
        let error = &chunk["error"];
        let event = json!({"code": error["code"], "message": error["message"], "param": error["param"]});
        self.write("error", event);
    }

    fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }
}

impl Writer {
    pub(super) fn new(repeated: Map<String, Value>) -> Self {
        Self {
            response: repeated,
            id: String::new(),
            output: Vec::new(),
            item: None,
            finish: Value::Null,
            number: 0,
            out: BytesMut::new(),
        }
    }

    /// Translates a completion into a response.
    pub(super) fn response_of(self, completion: &Value, usage: Usage) -> Value {
        let mut writer = ChunkReader::write_completion(self, completion);
        writer.close();
        writer.response(writer.status(), Some(usage))
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

    /// Closes the open item.
    fn close(&mut self) {
        let Some(item) = self.item.take() else {
            return;
        };
        if item.part == Part::Text {
            self.write_part(
                "response.output_text.done",
                &item,
                json!({"text": item.text, "logprobs": []}),
            );
            self.write_part(
                "response.content_part.done",
                &item,
                json!({"part": item.text_part()}),
            );
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
        self.out.put_slice(named_event(name, &data).as_bytes());
    }
}
