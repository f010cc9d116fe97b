//! `POST /v1/chat/completions` as OpenAI answers it (API description 2.3.0), plain and streamed.

use bytes::Bytes;
use serde_json::{Value, json};

use super::deliver::Reply;
use super::prompt::{CREATED, ToolCall, echo, tokens, tool_call, user_text, words};
use crate::Recorded;
use crate::schema::example;

pub(super) fn answer(request: &Recorded, body: &Value, number: u64) -> Reply {
    let call = Call::new(request, body, number);
    let reply = if body.get("stream") == Some(&json!(true)) {
        call.stream()
    } else {
        call.whole()
    };
    reply
        .with_header("x-request-id", format!("req_mock_{number}"))
        .with_header("openai-processing-ms", "1")
        .with_header("x-ratelimit-remaining-requests", "9999")
}

struct Call<'a> {
    body: &'a Value,
    id: String,
    model: &'a str,
    content: String,
    tool: Option<ToolCall>,
    prompt_tokens: usize,
}

impl<'a> Call<'a> {
    fn new(request: &Recorded, body: &'a Value, number: u64) -> Self {
        let messages = body.get("messages").unwrap_or(&Value::Null);
        let last = messages.as_array().and_then(|all| all.last());
        let answered = last
            .and_then(|last| last.get("role"))
            .is_some_and(|role| role == "tool");
        let text = user_text(messages);
        Self {
            body,
            id: format!("chatcmpl-mock-{number}"),
            model: body.get("model").and_then(Value::as_str).unwrap_or_default(),
            content: content(body, &echo(request, &text)),
            tool: tool_call(body, answered),
            prompt_tokens: tokens(&text),
        }
    }

    fn choices(&self) -> u64 {
        self.body.get("n").and_then(Value::as_u64).unwrap_or(1)
    }

    fn finish_reason(&self) -> &'static str {
        if self.tool.is_some() { "tool_calls" } else { "stop" }
    }

    fn whole(&self) -> Reply {
        let choices = (0..self.choices())
            .map(|index| self.choice(index))
            .collect::<Vec<_>>();
        Reply::json(
            200,
            &json!({
                "id": self.id, "object": "chat.completion", "created": CREATED, "model": self.model,
                "choices": choices, "usage": self.usage(), "service_tier": "default", "system_fingerprint": "fp_mock",
            }),
        )
    }

    fn choice(&self, index: u64) -> Value {
        let mut message =
            json!({"role": "assistant", "content": self.content, "refusal": null, "annotations": []});
        if let Some(tool) = &self.tool {
            message["content"] = Value::Null;
            message["tool_calls"] = json!([{
                "id": format!("call_{index}"), "type": "function",
                "function": {"name": tool.name, "arguments": tool.arguments.to_string()},
            }]);
        }
        json!({
            "index": index, "message": message, "logprobs": self.logprobs(words(&self.content)),
            "finish_reason": self.finish_reason(),
        })
    }

    fn logprobs<'t>(&self, tokens: impl Iterator<Item = &'t str>) -> Value {
        if self.body.get("logprobs") != Some(&json!(true)) {
            return Value::Null;
        }
        let content = tokens
            .map(|token| json!({"token": token, "logprob": -0.25, "bytes": token.as_bytes(), "top_logprobs": []}))
            .collect::<Vec<_>>();
        json!({"content": content, "refusal": null})
    }

    fn usage(&self) -> Value {
        let completion = tokens(&self.content);
        json!({
            "prompt_tokens": self.prompt_tokens, "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
            },
        })
    }

    fn stream(&self) -> Reply {
        let mut events = Vec::new();
        for index in 0..self.choices() {
            let deltas = self.deltas(index).into_iter();
            events.extend(deltas.map(|(delta, logprobs)| self.chunk(index, &delta, &logprobs, &Value::Null)));
            events.push(self.chunk(index, &json!({}), &Value::Null, &json!(self.finish_reason())));
        }
        if self.wants_usage() {
            let mut chunk = self.head();
            chunk["choices"] = json!([]);
            chunk["usage"] = self.usage();
            events.push(event(&chunk));
        }
        events.push(Bytes::from_static(b"data: [DONE]\n\n"));
        let error = json!({"error": {
            "message": "The server had an error", "type": "server_error", "param": null, "code": null,
        }});
        Reply::events(events, event(&error))
    }

    fn wants_usage(&self) -> bool {
        self.body.pointer("/stream_options/include_usage") == Some(&json!(true))
    }

    fn head(&self) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": CREATED, "model": self.model,
            "service_tier": "default", "system_fingerprint": "fp_mock",
        })
    }

    fn chunk(&self, index: u64, delta: &Value, logprobs: &Value, finish: &Value) -> Bytes {
        let mut chunk = self.head();
        chunk["choices"] =
            json!([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]);
        if self.wants_usage() {
            chunk["usage"] = Value::Null;
        }
        event(&chunk)
    }

    /// Returns the deltas of a stream: the role, then the content word by word, or the tool call: id and name
    /// once, then its arguments.
    fn deltas(&self, index: u64) -> Vec<(Value, Value)> {
        let Some(tool) = &self.tool else {
            let role = (
                json!({"role": "assistant", "content": "", "refusal": null}),
                Value::Null,
            );
            let text = words(&self.content);
            let text = text.map(|word| (json!({"content": word}), self.logprobs(std::iter::once(word))));
            return std::iter::once(role).chain(text).collect();
        };
        let first = json!({"role": "assistant", "content": null, "tool_calls": [{
            "index": 0, "id": format!("call_{index}"), "type": "function",
            "function": {"name": tool.name, "arguments": ""},
        }]});
        let arguments = tool.arguments.to_string();
        let rest = arguments.split_inclusive(',').map(|part| {
            (
                json!({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}),
                Value::Null,
            )
        });
        std::iter::once((first, Value::Null)).chain(rest).collect()
    }
}

fn content(body: &Value, echo: &str) -> String {
    let format = body.get("response_format").unwrap_or(&Value::Null);
    match format.get("type").and_then(Value::as_str) {
        Some("json_schema") => {
            example(format.pointer("/json_schema/schema").unwrap_or(&Value::Null)).to_string()
        }
        Some("json_object") => json!({"echo": echo}).to_string(),
        _ => echo.to_owned(),
    }
}

fn event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}
