//! `POST /v1/messages` and `/v1/messages/count_tokens` as Anthropic answers them, plain and streamed.

use bytes::Bytes;
use serde_json::{Value, json};

use super::deliver::Reply;
use super::prompt::{ToolCall, echo, tokens, tool_call, user_text, words};
use crate::Recorded;
use crate::schema::example;

pub(super) fn answer(request: &Recorded, body: &Value, number: u64) -> Reply {
    let messages = body.get("messages").unwrap_or(&Value::Null);
    let text = user_text(messages);
    let call = Call {
        model: body.get("model").cloned().unwrap_or_default(),
        id: format!("msg_mock_{number}"),
        content: content(body, &echo(request, &text)),
        tool: tool_call(body, answered(messages)),
        input_tokens: tokens(&text),
    };
    let streamed = body.get("stream") == Some(&json!(true));
    let reply = if streamed {
        call.stream()
    } else {
        Reply::json(200, &call.whole())
    };
    reply.with_header("request-id", format!("req_mock_{number}"))
}

pub(super) fn count(body: &Value) -> Reply {
    let text = user_text(body.get("messages").unwrap_or(&Value::Null));
    Reply::json(200, &json!({"input_tokens": tokens(&text)}))
}

fn answered(messages: &Value) -> bool {
    let last = messages.as_array().and_then(|all| all.last());
    let parts = last
        .and_then(|last| last.get("content"))
        .and_then(Value::as_array);
    parts.is_some_and(|parts| {
        parts
            .iter()
            .any(|part| part.get("type").is_some_and(|kind| kind == "tool_result"))
    })
}

fn content(body: &Value, echo: &str) -> String {
    let format = body
        .pointer("/output_config/format")
        .or_else(|| body.get("output_format"));
    format
        .and_then(|format| format.get("schema"))
        .map_or_else(|| echo.to_owned(), |schema| example(schema).to_string())
}

struct Call {
    model: Value,
    id: String,
    content: String,
    tool: Option<ToolCall>,
    input_tokens: usize,
}

impl Call {
    fn stop_reason(&self) -> &'static str {
        if self.tool.is_some() {
            "tool_use"
        } else {
            "end_turn"
        }
    }

    fn message(&self, content: &Value, stop_reason: &Value, output_tokens: usize) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": stop_reason, "stop_sequence": null,
            "usage": {
                "input_tokens": self.input_tokens, "output_tokens": output_tokens,
                "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "service_tier": "standard",
            },
        })
    }

    fn whole(&self) -> Value {
        let block = match &self.tool {
            Some(tool) => {
                json!({"type": "tool_use", "id": "toolu_0", "name": tool.name, "input": tool.arguments})
            }
            None => json!({"type": "text", "text": self.content}),
        };
        self.message(&json!([block]), &json!(self.stop_reason()), tokens(&self.content))
    }

    fn stream(&self) -> Reply {
        let (block, deltas) = match &self.tool {
            Some(tool) => {
                let start = json!({"type": "tool_use", "id": "toolu_0", "name": tool.name, "input": {}});
                let arguments = tool.arguments.to_string();
                let parts = arguments.split_inclusive(',');
                (
                    start,
                    parts
                        .map(|part| json!({"type": "input_json_delta", "partial_json": part}))
                        .collect(),
                )
            }
            None => {
                let parts = words(&self.content).map(|word| json!({"type": "text_delta", "text": word}));
                (json!({"type": "text", "text": ""}), parts.collect::<Vec<_>>())
            }
        };
        let mut events = vec![
            json!({"type": "message_start", "message": self.message(&json!([]), &Value::Null, 1)}),
            json!({"type": "content_block_start", "index": 0, "content_block": block}),
            json!({"type": "ping"}),
        ];
        let deltas = deltas.into_iter();
        events.extend(deltas.map(|delta| json!({"type": "content_block_delta", "index": 0, "delta": delta})));
        events.push(json!({"type": "content_block_stop", "index": 0}));
        events.push(json!({
            "type": "message_delta", "delta": {"stop_reason": self.stop_reason(), "stop_sequence": null},
            "usage": {"output_tokens": tokens(&self.content)},
        }));
        events.push(json!({"type": "message_stop"}));
        let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
        Reply::events(events.iter().map(event).collect(), event(&error))
    }
}

fn event(data: &Value) -> Bytes {
    let kind = data.get("type").and_then(Value::as_str).unwrap_or_default();
    Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
}
