//! The extractive answer as a legacy completion.

use serde_json::{Value, json};

use super::new_id;
use super::passage::ExtractiveAnswer;
use crate::api::Usage;
use crate::translate::{now, usage_object};

/// Writes the completion: the same answer as each of `n` choices.
pub(super) fn whole(model: &str, answer: &ExtractiveAnswer, n: usize, usage: Usage) -> Value {
    let text = answer.text();
    let choices: Vec<Value> = (0..n).map(|index| choice(index, &text, Some("stop"))).collect();
    json!({
        "id": new_id("cmpl-"), "object": "text_completion", "created": now(), "model": model,
        "choices": choices, "usage": usage_object(usage),
    })
}

/// Writes the chunks; with `usage` if the client asked for it.
pub(super) fn stream(model: &str, answer: &ExtractiveAnswer, n: usize, usage: Option<Usage>) -> Vec<String> {
    let (id, created) = (new_id("cmpl-"), now());
    let chunk = |choices: Value, of: Option<Usage>| {
        let mut chunk = json!({"id": id, "object": "text_completion", "created": created, "model": model});
        chunk["choices"] = choices;
        if usage.is_some() {
            chunk["usage"] = of.map_or(Value::Null, usage_object);
        }
        format!("data: {chunk}\n\n")
    };
    let mut events = Vec::new();
    for piece in &answer.pieces {
        events.extend((0..n).map(|index| chunk(json!([choice(index, piece, None)]), None)));
    }
    events.extend((0..n).map(|index| chunk(json!([choice(index, "", Some("stop"))]), None)));
    if usage.is_some() {
        events.push(chunk(json!([]), usage));
    }
    events.push("data: [DONE]\n\n".into());
    events
}

fn choice(index: usize, text: &str, finish: Option<&str>) -> Value {
    json!({"index": index, "text": text, "logprobs": null, "finish_reason": finish})
}
