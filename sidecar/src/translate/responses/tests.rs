//! Requests, answers and streams, each against the exact JSON of the other side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use http::StatusCode;
use serde_json::{Value, json};

use crate::api::{ProviderKind, Wire};
use crate::sse::Ending;
use crate::translate::{self, RequestError, TranslatedRequest, Translation};

fn translate(request: &Value) -> Result<TranslatedRequest, RequestError> {
    translate::request(
        Wire::Responses,
        ProviderKind::Liquid,
        request.to_string().as_bytes(),
        None,
    )
}

fn translated(request: &Value) -> Value {
    serde_json::from_slice(&translate(request).unwrap().body).unwrap()
}

fn translation(request: &Value) -> Translation {
    translate(request).unwrap().translation
}

#[test]
fn a_conversation_with_tools() {
    let request = json!({
        "model": "gpt-5.6", "instructions": "Rules.", "max_output_tokens": 64, "store": true, "metadata": {"a": "b"},
        "reasoning": {"effort": "low"},
        "input": [
            {"role": "developer", "content": "More."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "How"}, {"type": "input_text", "text": "long?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}]},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{\"a\":1}"},
            {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
            {"type": "function_call", "call_id": "c3", "name": "look", "arguments": "{}"}],
        "tools": [{"type": "function", "name": "look", "description": "d", "parameters": {"type": "object"}, "strict": true}],
        "tool_choice": {"type": "function", "name": "look"}, "parallel_tool_calls": false,
        "text": {"format": {"type": "json_schema", "name": "verdict", "schema": {"type": "object"}, "strict": true}},
        "temperature": 1.5, "top_p": 0.9, "stream": true,
    });
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "look", "arguments": arguments}});
    assert_eq!(
        translated(&request),
        json!({
            "model": null, "max_completion_tokens": 64, "temperature": 1.5, "top_p": 0.9,
            "messages": [
                {"role": "system", "content": "Rules."},
                {"role": "system", "content": "More."},
                {"role": "user", "content": "How\nlong?"},
                {"role": "assistant", "content": "Let me see.", "tool_calls": [call("c1", "{\"a\":1}"), call("c2", "{}")]},
                {"role": "tool", "tool_call_id": "c1", "content": "one"},
                {"role": "tool", "tool_call_id": "c2", "content": "two"},
                {"role": "assistant", "content": "", "tool_calls": [call("c3", "{}")]}],
            "tools": [{"type": "function", "function":
                {"name": "look", "description": "d", "parameters": {"type": "object"}, "strict": true}}],
            "tool_choice": {"type": "function", "function": {"name": "look"}}, "parallel_tool_calls": false,
            "response_format": {"type": "json_schema", "json_schema":
                {"name": "verdict", "schema": {"type": "object"}, "strict": true}},
            "stream": true, "stream_options": {"include_usage": true},
        })
    );
    let plain = json!({"model": null, "messages": [{"role": "user", "content": "Hi"}]});
    assert_eq!(
        translated(&json!({"model": "m", "input": "Hi", "background": false})),
        plain
    );
}

#[test]
fn what_has_no_counterpart_is_refused_by_name() {
    let image = json!([{"role": "user", "content": [{"type": "input_image", "image_url": "u"}]}]);
    for (fields, field) in [
        (
            json!({"input": "Hi", "previous_response_id": "resp_1"}),
            "previous_response_id",
        ),
        (json!({"input": "Hi", "conversation": "conv_1"}), "conversation"),
        (json!({"input": "Hi", "background": true}), "background"),
        (json!({"prompt": {"id": "p"}}), "prompt"),
        (json!({"input": []}), "input"),
        (json!({}), "input"),
        (json!({"input": image}), "input"),
        (json!({"input": [{"type": "item_reference", "id": "i"}]}), "input"),
        (json!({"input": [{"role": "robot", "content": "Hi"}]}), "input"),
        (json!({"input": "Hi", "tools": [{"type": "web_search"}]}), "tools"),
        (
            json!({"input": "Hi", "tool_choice": {"type": "file_search"}}),
            "tool_choice",
        ),
        (
            json!({"input": "Hi", "text": {"format": {"type": "grammar"}}}),
            "text",
        ),
        (
            json!({"input": "Hi", "max_output_tokens": 0}),
            "max_output_tokens",
        ),
    ] {
        assert_eq!(translate(&fields).unwrap_err().param(), Some(field), "{fields}");
    }
}

#[test]
fn a_whole_answer_repeats_the_request() {
    let tools = json!([{"type": "function", "name": "look", "parameters": {"type": "object"}}]);
    let translation =
        translation(&json!({"model": "m", "input": "Hi", "tools": tools, "instructions": "Rules."}));
    let completion = json!({
        "id": "chat-1", "object": "chat.completion", "created": 7, "model": "small",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "See.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "prompt_tokens_details": {"cached_tokens": 5}},
    });
    let (status, body, usage) = translation.body(StatusCode::OK, completion.to_string().as_bytes());
    assert_eq!((status, usage.cached), (StatusCode::OK, Some(5)));
    let text = json!({"type": "output_text", "text": "See.", "annotations": [], "logprobs": []});
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap(),
        json!({
            "id": "resp_chat-1", "object": "response", "created_at": 7, "model": "small", "status": "completed",
            "error": null, "incomplete_details": null, "previous_response_id": null, "instructions": "Rules.",
            "max_output_tokens": null, "metadata": null, "parallel_tool_calls": true, "temperature": null,
            "tool_choice": "auto", "tools": tools, "top_p": null,
            "output": [
                {"id": "msg_chat-1_0", "type": "message", "status": "completed", "role": "assistant", "content": [text]},
                {"id": "fc_chat-1_1", "type": "function_call", "status": "completed", "call_id": "c1", "name": "look",
                    "arguments": "{}"}],
            "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 5}, "output_tokens": 4,
                "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 13},
        })
    );
}

#[test]
fn an_error_keeps_its_words_and_no_answer_is_one() {
    let translation = translation(&json!({"model": "m", "input": "Hi"}));
    let error = json!({"error": {"message": "too long", "type": "invalid_request_error", "param": null, "code": "c"}});
    let (status, body, _) = translation.body(StatusCode::BAD_REQUEST, error.to_string().as_bytes());
    assert_eq!(
        (status, serde_json::from_slice::<Value>(&body).unwrap()),
        (StatusCode::BAD_REQUEST, error)
    );
    let (status, body, _) = translation.body(StatusCode::OK, b"<html>");
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(String::from_utf8_lossy(&body).contains("no chat completion"));
}

/// The events of a stream, name and data.
fn events(written: &[u8]) -> Vec<(String, Value)> {
    let text = std::str::from_utf8(written).unwrap();
    let events = text.split_terminator("\n\n").map(|event| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        let name = name.strip_prefix("event: ").unwrap().to_owned();
        assert_eq!(data["type"], name);
        (name, data)
    });
    events.collect()
}

#[test]
fn a_stream_opens_and_closes_every_item() {
    let translation = translation(&json!({"model": "m", "input": "Hi", "stream": true}));
    let chunk = |delta: Value, finish: Value| {
        format!(
            "data: {}\n\n",
            json!({"id": "1", "created": 7, "model": "small",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        )
    };
    let arguments = |text: &str| json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]});
    let opened = json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}]});
    let mut stream = translation.stream();
    let mut out = Vec::new();
    for bytes in [
        chunk(json!({"role": "assistant", "content": ""}), Value::Null),
        chunk(json!({"content": "Let "}), Value::Null),
        chunk(json!({"content": "me."}), Value::Null),
        chunk(opened, Value::Null),
        chunk(arguments("{\"a\""), Value::Null),
        chunk(arguments(":1}"), Value::Null),
        chunk(json!({}), json!("length")),
        "data: {\"id\":\"1\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n"
            .to_owned(),
        "data: [DONE]\n\n".to_owned(),
    ] {
        out.extend_from_slice(&stream.feed(bytes.as_bytes()));
    }
    out.extend_from_slice(&stream.finish());
    assert_eq!(stream.ending(), Ending::Complete);
    let events = events(&out);
    let names: Vec<_> = events
        .iter()
        .map(|(name, _)| name.strip_prefix("response.").unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "incomplete",
        ]
    );
    for (number, (_, data)) in events.iter().enumerate() {
        assert_eq!(data["sequence_number"], number);
    }
    assert_eq!(events[6].1["text"], "Let me.");
    assert_eq!(events[9].1["item"]["call_id"], "c1");
    assert_eq!(
        (&events[12].1["arguments"], &events[12].1["output_index"]),
        (&json!("{\"a\":1}"), &json!(1))
    );
    let response = &events[14].1["response"];
    assert_eq!(
        response["incomplete_details"],
        json!({"reason": "max_output_tokens"})
    );
    assert_eq!(
        response["output"],
        json!([events[8].1["item"], events[13].1["item"]])
    );
    assert_eq!(response["usage"]["total_tokens"], 5);
}

#[test]
fn a_stream_that_fails_ends_with_its_error_and_a_cut_one_has_no_end() {
    let translation = translation(&json!({"model": "m", "input": "Hi", "stream": true}));
    let first = b"data: {\"id\":\"1\",\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    let mut stream = translation.stream();
    let mut out = stream.feed(first).to_vec();
    out.extend_from_slice(
        &stream.feed(b"data: {\"error\":{\"message\":\"lost\",\"code\":\"e\",\"param\":null}}\n\n"),
    );
    out.extend_from_slice(&stream.finish());
    let written = events(&out);
    let (name, data) = written.last().unwrap();
    assert_eq!(
        (name.as_str(), &data["message"], &data["code"]),
        ("error", &json!("lost"), &json!("e"))
    );
    let mut stream = translation.stream();
    let mut out = stream.feed(first).to_vec();
    out.extend_from_slice(&stream.finish());
    assert!(events(&out).iter().all(|(name, _)| name != "response.completed"));
}
