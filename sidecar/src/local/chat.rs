//! The extractive answer as a chat completion.

use serde_json::{Value, json};

use super::new_id;
use super::passage::ExtractiveAnswer;
use crate::api::Usage;
use crate::translate::{now, usage_object};

/// Writes the completion: the same answer as each of `n` choices.
pub(super) fn whole(model: &str, answer: &ExtractiveAnswer, n: usize, usage: Usage) -> Value {
    let message = json!({"role": "assistant", "content": answer.text(), "refusal": null});
    let choices: Vec<Value> = (0..n)
        .map(|index| json!({"index": index, "message": message, "logprobs": null, "finish_reason": "stop"}))
        .collect();
    json!({
        "id": new_id("chatcmpl-"), "object": "chat.completion", "created": now(), "model": model,
        "choices": choices, "usage": usage_object(usage),
    })
}

/// Writes the chunks; with `usage` if the client asked for it.
pub(super) fn stream(model: &str, answer: &ExtractiveAnswer, n: usize, usage: Option<Usage>) -> Vec<String> {
    let (id, created) = (new_id("chatcmpl-"), now());
    let chunk = |choices: Value, of: Option<Usage>| {
        let mut chunk =
            json!({"id": id, "object": "chat.completion.chunk", "created": created, "model": model});
        chunk["choices"] = choices;
        if usage.is_some() {
            chunk["usage"] = of.map_or(Value::Null, usage_object);
        }
        format!("data: {chunk}\n\n")
    };
    let choice = |index: usize, delta: Value, finish: Option<&str>| {
        chunk(
            json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": finish}]),
            None,
        )
    };
    let mut events = Vec::new();
    for index in 0..n {
        events.push(choice(index, json!({"role": "assistant", "content": ""}), None));
    }
    for piece in &answer.pieces {
        events.extend((0..n).map(|index| choice(index, json!({"content": piece}), None)));
    }
    events.extend((0..n).map(|index| choice(index, json!({}), Some("stop"))));
    if usage.is_some() {
        events.push(chunk(json!([]), usage));
    }
    events.push("data: [DONE]\n\n".into());
    events
}
