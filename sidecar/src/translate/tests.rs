//! Requests, answers and streams, each against the exact JSON of the other side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod faults;
mod generated;
mod rules;

use http::StatusCode;
use serde_json::{Value, json};

use super::response::Translation;
use super::*;
use crate::sse::Ending;

fn translate(request: &Value) -> Result<(Value, Translation), RequestError> {
    let out = super::request(
        Wire::Chat,
        ProviderKind::Anthropic,
        request.to_string().as_bytes(),
        None,
    )?;
    let super::Translation::Chat(translation) = out.translation else {
        panic!("translated the other way");
    };
    Ok((serde_json::from_slice(&out.body).unwrap(), translation))
}

fn with(fields: Value) -> Value {
    let mut request = json!({"model": "claude", "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in fields.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

#[test]
fn a_conversation_with_tools_and_images() {
    let (body, _) = translate(&json!({
        "model": "claude",
        "messages": [
            {"role": "developer", "content": "Rules."},
            {"role": "user", "content": [
                {"type": "text", "text": "See", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://host/a.png"}},
                {"type": "text", "text": ""}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1.0}"}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
            {"role": "user", "content": "And?"},
            {"role": "system", "content": "Later rule."}]
    }))
    .unwrap();
    assert_eq!(
        body,
        json!({
            "model": "claude", "max_tokens": 4096,
            "system": [{"type": "text", "text": "Rules."}, {"type": "text", "text": "Later rule."}],
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "See", "cache_control": {"type": "ephemeral"}},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "image", "source": {"type": "url", "url": "https://host/a.png"}}]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1.0}},
                    {"type": "tool_use", "id": "c2", "name": "g", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "one"}]},
                    {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "two"}]},
                    {"type": "text", "text": "And?"}]}],
            // Anthropic refuses calls in a conversation without tools.
            "tools": [
                {"name": "f", "description": "A tool of earlier turns.", "input_schema": {"type": "object"}},
                {"name": "g", "description": "A tool of earlier turns.", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "none"}
        })
    );
}

#[test]
fn tuning_and_tool_choice() {
    let tool = json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}});
    // Of this model, which takes both temperature and top_p.
    let (body, _) = translate(&with(json!({
        "model": "claude-3-5-haiku-20241022", "max_completion_tokens": 7, "max_tokens": 9, "temperature": 1.7, "top_p": 0.5, "stop": ["END", "\n"],
        "seed": 1, "logit_bias": {}, "user": "u", "stream": true, "tools": [tool, {"type": "function", "function": {"name": "g"}}],
        "tool_choice": "required", "parallel_tool_calls": false
    })))
    .unwrap();
    for (name, want) in [
        ("max_tokens", json!(7)),
        ("temperature", json!(1.0)),
        ("top_p", json!(0.5)),
        ("stop_sequences", json!(["END"])),
        ("metadata", json!({"user_id": "u"})),
        ("stream", json!(true)),
        (
            "tools",
            json!([{"name": "f", "description": "d", "input_schema": {"type": "object"}},
                         {"name": "g", "input_schema": {"type": "object", "properties": {}}}]),
        ),
        (
            "tool_choice",
            json!({"type": "any", "disable_parallel_tool_use": true}),
        ),
    ] {
        assert_eq!(body[name], want, "{name}");
    }
    assert!(body.get("seed").is_none());
    for (choice, want) in [
        (json!("auto"), json!({"type": "auto"})),
        (json!("none"), json!({"type": "none"})),
        (
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"type": "tool", "name": "f"}),
        ),
    ] {
        let (body, _) = translate(&with(json!({"tools": [tool], "tool_choice": choice}))).unwrap();
        assert_eq!(body["tool_choice"], want);
    }
}

#[test]
fn response_formats() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "out", "schema": schema}});
    let (body, translation) = translate(&with(json!({"response_format": format}))).unwrap();
    assert_eq!(
        body["tools"],
        json!([{"name": "out", "description": "Gives the answer.", "input_schema": schema}])
    );
    assert_eq!(body["tool_choice"], json!({"type": "tool", "name": "out"}));
    let answer = json!({"id": "m", "model": "claude", "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 2},
                        "content": [{"type": "tool_use", "id": "t", "name": "out", "input": {"a": 5}}]});
    let (_, body, _) = translation.body(StatusCode::OK, answer.to_string().as_bytes());
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["choices"][0]["message"]["content"], "{\"a\":5}");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");

    let tool = json!({"type": "function", "function": {"name": "f"}});
    for fields in [
        json!({"response_format": format, "tools": [tool]}),
        json!({"response_format": {"type": "json_object"}}),
    ] {
        let (body, _) = translate(&with(fields)).unwrap();
        assert!(body["system"][0]["text"].as_str().unwrap().contains("JSON"));
        assert!(body.get("tool_choice").is_none());
    }
}

#[test]
fn refusals_name_the_field() {
    for (fields, param) in [
        (json!({"n": 2}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"functions": []}), "functions"),
        (
            json!({"tools": [{"type": "custom", "custom": {"name": "x"}}]}),
            "tools",
        ),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "allowed_tools"}}),
            "tool_choice",
        ),
        (
            json!({"messages": [{"role": "function", "name": "f", "content": "x"}]}),
            "messages",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}),
            "messages.content",
        ),
    ] {
        assert_eq!(
            translate(&with(fields.clone())).unwrap_err().param(),
            Some(param),
            "{fields}"
        );
    }
    assert!(matches!(
        super::request(Wire::Chat, ProviderKind::Anthropic, b"{", None),
        Err(RequestError::Body(_))
    ));
    assert!(matches!(
        super::request(Wire::Messages, ProviderKind::Openai, b"{}", None),
        Err(RequestError::Api { .. })
    ));
}

#[test]
fn an_answer_with_tools_and_cached_tokens() {
    let translation = Translation {
        model: "claude".into(),
        include_usage: false,
        answer_tool: None,
        ..Translation::default()
    };
    let answer = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "tool_use",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "One "}, {"type": "text", "text": "two"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"b": 1, "a": 2.50}}],
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 1, "output_tokens": 4}
    });
    let (status, body, usage) = translation.body(StatusCode::OK, answer.to_string().as_bytes());
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    body["created"] = json!(0);
    assert_eq!(
        (status, usage.input, usage.output, usage.cached),
        (StatusCode::OK, Some(14), Some(4), Some(10))
    );
    assert_eq!(
        body,
        json!({
            "id": "msg_1", "object": "chat.completion", "created": 0, "model": "claude-x",
            "choices": [{"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": "One two", "refusal": null,
                "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"b\":1,\"a\":2.5}"}}]}}],
            "usage": {"prompt_tokens": 14, "completion_tokens": 4, "total_tokens": 18, "prompt_tokens_details": {"cached_tokens": 10}}
        })
    );
}

#[test]
fn errors_keep_status_and_words() {
    let translation = Translation {
        model: "m".into(),
        include_usage: false,
        answer_tool: None,
        ..Translation::default()
    };
    let overloaded = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let (status, body, _) = translation.body(StatusCode::from_u16(529).unwrap(), overloaded);
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let want = r#"{"error":{"message":"Overloaded","type":"overloaded_error","param":null,"code":"overloaded_error"}}"#;
    assert_eq!(body, want);
    let (status, body, _) = translation.body(StatusCode::OK, b"<html>");
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(String::from_utf8_lossy(&body).contains("no Anthropic message"));
}

/// Text, then two calls of which one has no arguments.
const STREAM: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","model":"claude-x","usage":{"input_tokens":5,"output_tokens":1}}}

event: ping
data: {"type":"ping"}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Größe"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t2","name":"g","input":{}}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}

event: message_stop
data: {"type":"message_stop"}

"#;

fn run(translation: &Translation, stream: &str, size: usize) -> (Vec<Value>, Ending, String) {
    let mut translator = translation.stream();
    let text: Vec<u8> = stream
        .as_bytes()
        .chunks(size)
        .flat_map(|part| translator.feed(part))
        .collect();
    let text = String::from_utf8(text).unwrap();
    let chunks = text
        .split("\n\n")
        .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok());
    (chunks.collect(), translator.ending(), text)
}

#[test]
fn a_stream_with_tools() {
    let translation = Translation {
        model: "claude".into(),
        include_usage: true,
        answer_tool: None,
        ..Translation::default()
    };
    let (chunks, ending, text) = run(&translation, STREAM, 7);
    assert_eq!(ending, Ending::Complete);
    assert!(text.ends_with("data: [DONE]\n\n"));
    let deltas: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    let call = |call: Value| json!({"tool_calls": [call]});
    assert_eq!(
        deltas,
        [
            &json!({"role": "assistant", "content": ""}),
            &json!({"content": "Größe"}),
            &call(
                json!({"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}})
            ),
            &call(json!({"index": 0, "function": {"arguments": "{\"a\":"}})),
            &call(json!({"index": 0, "function": {"arguments": "1}"}})),
            &call(
                json!({"index": 1, "id": "t2", "type": "function", "function": {"name": "g", "arguments": ""}})
            ),
            &call(json!({"index": 1, "function": {"arguments": "{}"}})),
            &json!({}),
            &Value::Null,
        ]
    );
    assert_eq!(chunks[7]["choices"][0]["finish_reason"], "tool_calls");
    assert!(
        chunks[..8]
            .iter()
            .all(|chunk| chunk["usage"].is_null() && chunk["id"] == "msg_1" && chunk["model"] == "claude-x")
    );
    assert_eq!(
        (
            chunks[8]["usage"]["prompt_tokens"].as_u64(),
            chunks[8]["usage"]["completion_tokens"].as_u64()
        ),
        (Some(5), Some(9))
    );
}

#[test]
fn a_stream_does_not_depend_on_borders() {
    let mut translation = Translation {
        model: "claude".into(),
        include_usage: false,
        answer_tool: Some("f".into()),
        ..Translation::default()
    };
    for answer_tool in [None, Some("f".to_owned())] {
        translation.answer_tool = answer_tool;
        let mut whole = run(&translation, STREAM, usize::MAX).0;
        for size in [1, 2, 3, 64] {
            let mut parts = run(&translation, STREAM, size).0;
            for chunk in whole.iter_mut().chain(&mut parts) {
                chunk["created"] = json!(0);
            }
            assert_eq!(parts, whole, "pieces of {size}");
        }
    }
    assert!(
        run(&translation, STREAM, 5)
            .2
            .contains(r#""delta":{"content":"{\"a\":"}"#)
    );
}

#[test]
fn an_error_event_and_a_cut_are_told_apart() {
    let translation = Translation {
        model: "m".into(),
        include_usage: false,
        answer_tool: None,
        ..Translation::default()
    };
    let failed = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"later\"}}\n\n";
    let (chunks, ending, _) = run(&translation, failed, 9);
    assert_eq!(
        (ending, chunks[0]["error"]["message"].as_str()),
        (Ending::Failed, Some("later"))
    );
    assert_eq!(run(&translation, &STREAM[..STREAM.len() / 2], 9).1, Ending::Open);
}
