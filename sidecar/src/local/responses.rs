//! The extractive answer as an OpenAI response.

use serde_json::{Value, json};

use super::new_id;
use super::passage::ExtractiveAnswer;
use crate::api::Usage;
use crate::translate::{named_event, now, responses_usage_object};

/// Writes the response.
pub(super) fn whole(model: &str, answer: &ExtractiveAnswer, usage: Usage) -> Value {
    let item = item(&new_id("msg_"), "completed", &json!([part(&answer.text())]));
    response(&new_id("resp_"), model, "completed", &json!([item]), Some(usage))
}

fn response(id: &str, model: &str, status: &str, output: &Value, usage: Option<Usage>) -> Value {
    json!({
        "id": id, "object": "response", "created_at": now(), "status": status, "error": null,
        "incomplete_details": null, "instructions": null, "max_output_tokens": null, "metadata": {},
        "model": model, "output": output, "parallel_tool_calls": true, "previous_response_id": null,
        "reasoning": {"effort": null, "summary": null}, "store": false, "temperature": 1.0,
        "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "truncation": "disabled", "usage": usage.map(responses_usage_object), "user": null,
    })
}

fn item(id: &str, status: &str, content: &Value) -> Value {
    json!({"id": id, "type": "message", "role": "assistant", "status": status, "content": content})
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

/// Numbers the events as they are written.
struct Events(Vec<String>);

impl Events {
    fn push(&mut self, kind: &str, mut data: Value) {
        data["type"] = kind.into();
        data["sequence_number"] = self.0.len().into();
        self.0.push(named_event(kind, &data));
    }
}

/// Writes the typed events.
pub(super) fn stream(model: &str, answer: &ExtractiveAnswer, usage: Usage) -> Vec<String> {
    let (id, message) = (new_id("resp_"), new_id("msg_"));
    let text = answer.text();
    let mut events = Events(Vec::new());
    let begun = response(&id, model, "in_progress", &json!([]), None);
    events.push("response.created", json!({"response": begun}));
    events.push("response.in_progress", json!({"response": begun}));
    let open = item(&message, "in_progress", &json!([]));
    events.push(
        "response.output_item.added",
        json!({"output_index": 0, "item": open}),
    );
    let at = |mut data: Value| {
        data["item_id"] = message.as_str().into();
        data["output_index"] = 0.into();
        data["content_index"] = 0.into();
        data
    };
    events.push("response.content_part.added", at(json!({"part": part("")})));
    for piece in &answer.pieces {
        events.push(
            "response.output_text.delta",
            at(json!({"delta": piece, "logprobs": []})),
        );
    }
    events.push(
        "response.output_text.done",
        at(json!({"text": text, "logprobs": []})),
    );
    events.push("response.content_part.done", at(json!({"part": part(&text)})));
    let closed = item(&message, "completed", &json!([part(&text)]));
    events.push(
        "response.output_item.done",
        json!({"output_index": 0, "item": closed}),
    );
    let done = response(&id, model, "completed", &json!([closed]), Some(usage));
    events.push("response.completed", json!({"response": done}));
    events.0
}
