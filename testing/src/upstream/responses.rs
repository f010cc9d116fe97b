//! `POST /v1/responses` as OpenAI answers it: typed output items, and a stream of typed, numbered events.

use bytes::Bytes;
use serde_json::{Value, json};

use super::deliver::Reply;
use super::prompt::{CREATED, ToolCall, echo, tokens, tool_call, user_text, words};
use crate::Recorded;
use crate::schema::example;

pub(super) fn answer(request: &Recorded, body: &Value, number: u64) -> Reply {
    let input = body.get("input").unwrap_or(&Value::Null);
    let text = input.as_str().map_or_else(|| user_text(input), str::to_owned);
    let answered = input
        .as_array()
        .and_then(|items| items.last())
        .and_then(|item| item.get("type"));
    let call = Call {
        body,
        id: format!("resp_mock_{number}"),
        content: content(body, &echo(request, &text)),
        tool: tool_call(body, answered.is_some_and(|kind| kind == "function_call_output")),
        input_tokens: tokens(&text),
    };
    let reply = if body.get("stream") == Some(&json!(true)) {
        call.stream()
    } else {
        Reply::json(200, &call.response("completed", &json!([call.item("completed")])))
    };
    reply.with_header("x-request-id", format!("req_mock_{number}"))
}

struct Call<'a> {
    body: &'a Value,
    id: String,
    content: String,
    tool: Option<ToolCall>,
    input_tokens: usize,
}

impl Call<'_> {
    fn response(&self, status: &str, output: &Value) -> Value {
        let done = status == "completed";
        let output_tokens = tokens(&self.content);
        let usage = json!({
            "input_tokens": self.input_tokens, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output_tokens, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.input_tokens + output_tokens,
        });
        json!({
            "id": self.id, "object": "response", "created_at": CREATED, "status": status,
            "background": false, "error": null, "incomplete_details": null, "instructions": null,
            "max_output_tokens": null, "metadata": {}, "model": self.body.get("model"), "output": output,
            "parallel_tool_calls": true, "previous_response_id": null, "service_tier": "default", "store": true,
            "temperature": 1.0, "text": {"format": {"type": "text"}}, "top_p": 1.0, "truncation": "disabled",
            "tool_choice": self.body.get("tool_choice").unwrap_or(&json!("auto")),
            "tools": self.body.get("tools").unwrap_or(&json!([])),
            "reasoning": {"effort": null, "summary": null}, "user": null,
            "usage": if done { usage } else { Value::Null },
        })
    }

    /// Returns the one output item: a message, or a function call.
    fn item(&self, status: &str) -> Value {
        let done = status == "completed";
        match &self.tool {
            Some(tool) => json!({
                "id": "fc_mock", "type": "function_call", "status": status, "call_id": "call_0", "name": tool.name,
                "arguments": if done { tool.arguments.to_string() } else { String::new() },
            }),
            None => json!({
                "id": "msg_mock", "type": "message", "status": status, "role": "assistant",
                "content": if done { json!([part(&self.content)]) } else { json!([]) },
            }),
        }
    }

    fn stream(&self) -> Reply {
        let started = self.response("in_progress", &json!([]));
        let mut events = vec![
            json!({"type": "response.created", "response": started}),
            json!({"type": "response.in_progress", "response": started}),
            json!({"type": "response.output_item.added", "output_index": 0, "item": self.item("in_progress")}),
        ];
        events.extend(self.deltas());
        let item = self.item("completed");
        events.push(json!({"type": "response.output_item.done", "output_index": 0, "item": item}));
        events.push(
            json!({"type": "response.completed", "response": self.response("completed", &json!([item]))}),
        );
        let error = json!({"type": "error", "code": "server_error", "message": "The server had an error", "param": null});
        let events = (0..)
            .zip(events)
            .map(|(number, event)| numbered(event, number))
            .collect();
        Reply::events(events, numbered(error, 99))
    }

    fn deltas(&self) -> Vec<Value> {
        if let Some(tool) = &self.tool {
            let at = json!({"item_id": "fc_mock", "output_index": 0});
            let arguments = tool.arguments.to_string();
            let mut events = arguments
                .split_inclusive(',')
                .map(|part| {
                    event(
                        "response.function_call_arguments.delta",
                        &at,
                        &[("delta", json!(part))],
                    )
                })
                .collect::<Vec<_>>();
            let done = [("arguments", json!(arguments)), ("name", json!(tool.name))];
            events.push(event("response.function_call_arguments.done", &at, &done));
            return events;
        }
        let at = json!({"item_id": "msg_mock", "output_index": 0, "content_index": 0});
        let mut events = vec![event("response.content_part.added", &at, &[("part", part(""))])];
        events.extend(words(&self.content).map(|word| {
            event(
                "response.output_text.delta",
                &at,
                &[("delta", json!(word)), ("logprobs", json!([]))],
            )
        }));
        let text = [("text", json!(self.content)), ("logprobs", json!([]))];
        events.push(event("response.output_text.done", &at, &text));
        events.push(event(
            "response.content_part.done",
            &at,
            &[("part", part(&self.content))],
        ));
        events
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn event(kind: &str, at: &Value, fields: &[(&str, Value)]) -> Value {
    let mut event = at.clone();
    event["type"] = json!(kind);
    for (name, value) in fields {
        event[*name] = value.clone();
    }
    event
}

fn numbered(mut event: Value, number: u64) -> Bytes {
    event["sequence_number"] = json!(number);
    let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
    Bytes::from(format!("event: {kind}\ndata: {event}\n\n"))
}

fn content(body: &Value, echo: &str) -> String {
    let format = body.pointer("/text/format").unwrap_or(&Value::Null);
    match format.get("type").and_then(Value::as_str) {
        Some("json_schema") => example(format.get("schema").unwrap_or(&Value::Null)).to_string(),
        Some("json_object") => json!({"echo": echo}).to_string(),
        _ => echo.to_owned(),
    }
}
