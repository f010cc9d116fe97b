//! The extractive answer as an Anthropic message.

use serde_json::{Value, json};

use super::new_id;
use super::passage::ExtractiveAnswer;
use crate::api::Usage;
use crate::translate::named_event;

/// Writes the message.
pub(super) fn whole(model: &str, answer: &ExtractiveAnswer, usage: Usage) -> Value {
    let content = json!([{"type": "text", "text": answer.text()}]);
    message(model, content, Some("end_turn"), usage.input, usage.output)
}

fn message(
    model: &str,
    content: Value,
    stop: Option<&str>,
    input: Option<u64>,
    output: Option<u64>,
) -> Value {
    json!({
        "id": new_id("msg_"), "type": "message", "role": "assistant", "model": model, "content": content,
        "stop_reason": stop, "stop_sequence": null,
        "usage": {
            "input_tokens": input.unwrap_or(0), "output_tokens": output.unwrap_or(0),
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        },
    })
}

/// Writes the typed events.
pub(super) fn stream(model: &str, answer: &ExtractiveAnswer, usage: Usage) -> Vec<String> {
    let start = message(model, json!([]), None, usage.input, Some(0));
    let block = json!({"type": "text", "text": ""});
    let mut events = vec![
        event(&json!({"type": "message_start", "message": start})),
        event(&json!({"type": "content_block_start", "index": 0, "content_block": block})),
    ];
    for piece in &answer.pieces {
        let delta = json!({"type": "text_delta", "text": piece});
        events.push(event(
            &json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        ));
    }
    events.push(event(&json!({"type": "content_block_stop", "index": 0})));
    let delta = json!({"stop_reason": "end_turn", "stop_sequence": null});
    let used = json!({"output_tokens": usage.output.unwrap_or(0)});
    events.push(event(
        &json!({"type": "message_delta", "delta": delta, "usage": used}),
    ));
    events.push(event(&json!({"type": "message_stop"})));
    events
}

fn event(data: &Value) -> String {
    named_event(data["type"].as_str().unwrap_or_default(), data)
}
