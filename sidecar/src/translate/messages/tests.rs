//! Requests, answers and streams, each against the exact JSON of the other side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use http::StatusCode;
use serde_json::{Value, json};

use super::response::Translation;
use crate::api::{ProviderKind, Wire};
use crate::sse::Ending;
use crate::translate::{self, RequestError};

fn translated(request: &Value) -> Result<Value, RequestError> {
    let body = request.to_string();
    let out = translate::request(Wire::Messages, ProviderKind::Liquid, body.as_bytes(), None)?;
    Ok(serde_json::from_slice(&out.body).unwrap())
}

fn with(fields: Value) -> Value {
    let mut request =
        json!({"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    let fields = fields.as_object().unwrap().clone();
    request.as_object_mut().unwrap().extend(fields);
    request
}

#[test]
fn a_conversation_with_tools() {
    let request = json!({
        "model": "claude", "max_tokens": 64, "metadata": {"user_id": "u"}, "thinking": {"type": "enabled", "budget_tokens": 9},
        "system": [{"type": "text", "text": "Rules.", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "More."}],
        "messages": [
            {"role": "user", "content": [
                {"type": "document", "title": "Lease", "source": {"type": "text", "media_type": "text/plain", "data": "93 days."}},
                {"type": "text", "text": "How long?"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1.0}},
                {"type": "tool_use", "id": "t2", "name": "look", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [{"type": "text", "text": "two"}]},
                {"type": "text", "text": "And?"}]}],
        "tools": [{"name": "look", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": true},
        "stop_sequences": ["END"], "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stream": true,
    });
    assert_eq!(
        translated(&request).unwrap(),
        json!({
            "model": null, "max_completion_tokens": 64,
            "messages": [
                {"role": "system", "content": "Rules.\nMore."},
                {"role": "user", "content": "Lease\n93 days.\nHow long?"},
                {"role": "assistant", "content": "Let me see.", "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "look", "arguments": "{\"a\":1.0}"}},
                    {"id": "t2", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "t1", "content": "one"},
                {"role": "tool", "tool_call_id": "t2", "content": "two"},
                {"role": "user", "content": "And?"}],
            "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop": ["END"], "parallel_tool_calls": false,
            "tool_choice": {"type": "function", "function": {"name": "look"}},
            "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}, "description": "d"}}],
            "stream": true, "stream_options": {"include_usage": true},
        })
    );
}

#[test]
fn choices_and_structured_outputs() {
    for (choice, want) in [("auto", "auto"), ("any", "required"), ("none", "none")] {
        let body = translated(&with(json!({"tool_choice": {"type": choice}}))).unwrap();
        assert_eq!(body["tool_choice"], want);
    }
    let format = json!({"type": "json_schema", "schema": {"type": "object"}});
    let wanted = json!({"type": "json_schema", "json_schema":
        {"name": "answer", "schema": {"type": "object"}, "strict": true}});
    for fields in [
        json!({"output_config": {"format": format}}),
        json!({"output_format": format}),
    ] {
        assert_eq!(translated(&with(fields)).unwrap()["response_format"], wanted);
    }
    let effort = translated(&with(json!({"output_config": {"effort": "low"}}))).unwrap();
    assert!(effort.get("response_format").is_none());
}

#[test]
fn what_has_no_counterpart_is_named() {
    let turns = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let image = json!([{"type": "image", "source": {"type": "url", "url": "https://host/a.png"}}]);
    let file = json!([{"type": "document", "source": {"type": "base64", "data": "AAAA"}}]);
    let result = json!([{"type": "tool_result", "tool_use_id": "t", "content": image}]);
    let last = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    for (fields, field) in [
        (turns(image.clone()), "messages"),
        (turns(file), "messages"),
        (turns(result), "messages"),
        (turns(json!(5)), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": last}), "messages"),
        (
            json!({"messages": [{"role": "robot", "content": "a"}]}),
            "messages",
        ),
        (json!({"system": image}), "system"),
        (
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
            "tools",
        ),
        (json!({"tools": [{"input_schema": {}}]}), "tools"),
        (json!({"tool_choice": {"type": "tool"}}), "tool_choice"),
        (json!({"mcp_servers": [{"url": "https://host"}]}), "mcp_servers"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"temperature": 1.5}), "temperature"),
    ] {
        let error = translated(&with(fields.clone())).unwrap_err();
        assert_eq!(error.param(), Some(field), "{fields}: {error}");
    }
}

fn completion() -> Value {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "small",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "Hm.",
            "tool_calls": [call("c1", "{\"a\":1}"), call("c2", "")]}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 64}},
    })
}

#[test]
fn a_whole_answer() {
    let translation = Translation { stream: false };
    let (status, body, usage) = translation.body(StatusCode::OK, completion().to_string().as_bytes());
    assert_eq!((status, usage.output), (StatusCode::OK, Some(7)));
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap(),
        json!({
            "id": "chatcmpl-1", "type": "message", "role": "assistant", "model": "small",
            "content": [{"type": "text", "text": "Hm."}, {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "c2", "name": "f", "input": {}}],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 36, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 64, "output_tokens": 7},
        })
    );
}

#[test]
fn errors_have_anthropics_types() {
    let body =
        br#"{"error":{"message":"too long","type":"invalid_request_error","param":"messages","code":"x"}}"#;
    for (status, kind) in [
        (400, "invalid_request_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
        (500, "api_error"),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let (sent, body, _) = Translation { stream: true }.body(status, body);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(sent, status);
        assert_eq!(
            body,
            json!({"type": "error", "error": {"type": kind, "message": "too long"}})
        );
    }
    let (status, body, _) = Translation { stream: false }.body(StatusCode::OK, b"<html>");
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(String::from_utf8(body.to_vec()).unwrap().contains("api_error"));
}

/// The stream of [`completion`], in pieces.
fn chunks() -> String {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        json!({"id": "chatcmpl-1", "model": "small", "choices": [choice], "usage": null})
    };
    let call = |index: u64, call: Value| json!({"tool_calls": [{"index": index, "function": call}]});
    let named = |index: u64, id: &str| json!({"tool_calls": [{"index": index, "id": id, "function": {"name": "f", "arguments": ""}}]});
    let mut usage = completion();
    usage["choices"] = json!([]);
    let chunks = [
        chunk(json!({"role": "assistant", "content": ""}), Value::Null),
        chunk(json!({"content": "H"}), Value::Null),
        chunk(json!({"content": "m."}), Value::Null),
        chunk(named(0, "c1"), Value::Null),
        chunk(call(0, json!({"arguments": "{\"a\""})), Value::Null),
        chunk(call(0, json!({"arguments": ":1}"})), Value::Null),
        chunk(named(1, "c2"), Value::Null),
        chunk(json!({}), json!("tool_calls")),
        usage,
    ];
    let events = chunks.iter().map(|chunk| format!("data: {chunk}\n\n"));
    events.chain(["data: [DONE]\n\n".to_owned()]).collect()
}

/// Translates a stream that comes in pieces of so many bytes.
fn run(stream: &str, size: usize) -> (Vec<Value>, Ending) {
    let translation = translate::Translation::from(Translation { stream: true });
    let mut translator = translation.stream();
    let mut out = String::new();
    for piece in stream.as_bytes().chunks(size) {
        out.push_str(std::str::from_utf8(&translator.feed(piece)).unwrap());
    }
    out.push_str(std::str::from_utf8(&translator.finish()).unwrap());
    let events = out.split_terminator("\n\n").map(|event| {
        let (name, data) = event.split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
        data
    });
    (events.collect(), translator.ending())
}

#[test]
fn a_stream_is_the_same_in_pieces_of_any_size() {
    let (events, ending) = run(&chunks(), usize::MAX);
    assert_eq!(ending, Ending::Complete);
    let start = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let stop = |index: u64| json!({"type": "content_block_stop", "index": index});
    let text = |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    let input = |piece: &str| json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": piece}});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    assert_eq!(
        events,
        [
            json!({"type": "message_start", "message": {"id": "chatcmpl-1", "type": "message", "role": "assistant",
                "model": "small", "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 0,
                "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}}}),
            start(0, json!({"type": "text", "text": ""})),
            text("H"),
            text("m."),
            stop(0),
            start(1, call("c1")),
            input("{\"a\""),
            input(":1}"),
            stop(1),
            start(2, call("c2")),
            stop(2),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
                "usage": {"input_tokens": 36, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 64,
                "output_tokens": 7}}),
            json!({"type": "message_stop"}),
        ]
    );
    for size in [1, 7, 100] {
        assert_eq!(run(&chunks(), size), (events.clone(), ending), "{size}");
    }
    // Without its last event it is complete as well: every choice has finished.
    assert_eq!(run(chunks().trim_end_matches("data: [DONE]\n\n"), 50).0, events);
}

#[test]
fn a_whole_answer_to_a_client_that_wants_a_stream_is_one() {
    let translation = Translation { stream: true };
    let (_, body, _) = translation.body(StatusCode::OK, completion().to_string().as_bytes());
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.starts_with("event: message_start\n") && text.ends_with("{\"type\":\"message_stop\"}\n\n"));
    assert!(
        text.contains("\"partial_json\":\"{\\\"a\\\":1}\"") && text.contains("\"stop_reason\":\"tool_use\"")
    );
}

#[test]
fn a_broken_stream_has_no_end_and_an_error_is_one() {
    let whole = chunks();
    let cut = &whole[..whole.find("m.").unwrap()];
    let (events, ending) = run(cut, 64);
    assert_eq!(ending, Ending::Open);
    assert!(events.iter().all(|event| event["type"] != "message_stop"));
    let failed = format!("{cut}\n\ndata: {{\"error\":{{\"message\":\"drain\",\"code\":\"x\"}}}}\n\n");
    let (events, ending) = run(&failed, 64);
    assert_eq!(ending, Ending::Failed);
    let last = events.last().unwrap();
    assert_eq!(
        last,
        &json!({"type": "error", "error": {"type": "api_error", "message": "drain"}})
    );
}
