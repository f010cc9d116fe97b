//! Faults from the field, of each kind several, and what becomes of them.

use http::StatusCode;
use serde_json::{Value, json};

use super::super::stream::opening_error;
use super::{Translation, run, translate, with};
use crate::sse::Ending;

fn call(arguments: &Value) -> Value {
    with(json!({"messages": [
        {"role": "user", "content": "Stock?"},
        {"role": "assistant", "content": "\u{a0}", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "stock", "arguments": arguments}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "41"}]}))
}

#[test]
fn arguments_are_an_object_or_an_error_that_names_the_call() {
    for (arguments, want) in [
        (json!(null), json!({})),
        (json!("null"), json!({})),
        (json!(""), json!({})),
        (json!("\t"), json!({})),
        (json!("[]"), json!({})),
        (json!({"part": "G7"}), json!({"part": "G7"})),
        (json!("\"{\\\"part\\\":\\\"G7\\\"}\""), json!({"part": "G7"})),
    ] {
        let (sent, _) = translate(&call(&arguments)).unwrap();
        let content = &sent["messages"][1]["content"];
        assert_eq!(
            *content,
            json!([{"type": "tool_use", "id": "call_1", "name": "stock", "input": want}]),
            "{arguments}"
        );
        assert_eq!(sent["tool_choice"], json!({"type": "none"}));
        assert_eq!(sent["tools"][0]["name"], "stock");
    }
    for arguments in [
        json!("{\"part\": \"G"),
        json!("[\"G7\"]"),
        json!(["G7"]),
        json!("7"),
        json!(true),
    ] {
        let error = translate(&call(&arguments)).unwrap_err();
        assert_eq!((error.param(), error.code()), (Some("messages"), "invalid_value"));
        let text = error.to_string();
        assert!(
            text.contains("messages[1]") && text.contains("call_1") && text.contains("stock"),
            "{text}"
        );
        assert!(!text.contains("G7"), "{text}");
    }
}

#[test]
fn a_blank_turn_keeps_its_place_only_where_turns_would_merge() {
    let said = |messages: Value| {
        translate(&with(json!({"messages": messages}))).map(|(sent, _)| sent["messages"].clone())
    };
    let sent = said(json!([
        {"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}, {"role": "user", "content": " "}]));
    assert_eq!(sent.unwrap()[2]["content"][0]["text"], "(empty message)");
    let sent = said(json!([
        {"role": "user", "content": "A"}, {"role": "assistant", "content": "\n"}, {"role": "user", "content": "C"}]));
    assert_eq!(sent.unwrap()[0]["content"].as_array().unwrap().len(), 2);
    let sent = said(json!([{"role": "assistant", "content": "Welcome. \n"}])).unwrap();
    assert_eq!(
        (sent[0]["role"].as_str(), &sent[1]["content"][0]["text"]),
        (Some("user"), &json!("Welcome."))
    );
    assert_eq!(said(json!([])).unwrap_err().param(), Some("messages"));
}

#[test]
fn a_schema_keeps_its_members_and_becomes_an_object() {
    let sent = |parameters: Value| {
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": parameters}});
        translate(&with(json!({"tools": [tool]}))).map(|(sent, _)| sent["tools"][0].clone())
    };
    let members = json!({"properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false, "$defs": {}});
    let schema = sent(members.clone()).unwrap()["input_schema"].clone();
    for (name, value) in members.as_object().unwrap() {
        assert_eq!(&schema[name], value);
    }
    let referred = json!({"title": "T", "$ref": "#/$defs/A", "$defs": {"A": {"properties": {"a": {}}, "required": ["a"]}}});
    let schema = sent(referred).unwrap()["input_schema"].clone();
    assert_eq!(
        (&schema["title"], &schema["required"], &schema["type"]),
        (&json!("T"), &json!(["a"]), &json!("object"))
    );
    let tool =
        sent(json!({"anyOf": [{"type": "object", "properties": {"a": {}}}, {"type": "null"}]})).unwrap();
    assert_eq!(tool["input_schema"]["properties"], json!({"a": {}}));
    assert!(tool["description"].as_str().unwrap().contains(r#"{"anyOf":["#));
    for wrong in [
        json!({"type": "array"}),
        json!("x"),
        json!(false),
        json!({"$ref": "#/nowhere"}),
    ] {
        assert_eq!(sent(wrong).unwrap_err().param(), Some("tools"));
    }
}

#[test]
fn a_user_leaves_as_an_opaque_value_or_a_hash() {
    let sent = |user: &str| {
        let (sent, _) = translate(&with(json!({"user": user}))).unwrap();
        sent.pointer("/metadata/user_id")
            .map(|id| id.as_str().unwrap().to_owned())
    };
    for opaque in [
        "u_7f3a90",
        "550e8400-e29b-41d4-a716-446655440000",
        "auth0|65f0c0ffee",
        "user_12345678",
    ] {
        assert_eq!(sent(opaque).as_deref(), Some(opaque));
    }
    let personal = [
        "mira.halloran@example.org",
        "+49 170 5550142",
        "0170-5550142",
        "01705550142",
        "(0170) 5550142",
        "tel:01705550142",
        "Mira Halloran",
        "Müller",
        "mira%40example.org",
    ];
    let hashes: std::collections::HashSet<String> = personal.iter().filter_map(|user| sent(user)).collect();
    assert_eq!(hashes.len(), personal.len());
    assert!(
        hashes
            .iter()
            .all(|hash| hash.starts_with("sha256-") && hash.len() == 39)
    );
    assert_eq!(sent(" "), None);
}

#[test]
fn names_of_tools_come_back_as_the_client_wrote_them() {
    let tool = json!({"type": "function", "function": {"name": "mcp.server:f", "parameters": {}}});
    let choice = json!({"type": "function", "function": {"name": "mcp.server:f"}});
    let (sent, translation) = translate(&with(json!({"tools": [tool], "tool_choice": choice}))).unwrap();
    let alias = sent["tools"][0]["name"].as_str().unwrap();
    assert_eq!(sent["tool_choice"]["name"], alias);
    let answer =
        json!({"type": "message", "content": [{"type": "tool_use", "id": "t", "name": alias, "input": {}}]});
    let (_, body, _) = translation.body(StatusCode::OK, answer.to_string().as_bytes());
    let body: Value = serde_json::from_slice(&body).unwrap();
    let function = &body["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(function["name"], "mcp.server:f");
    let start = json!({"type": "content_block_start", "content_block": answer["content"][0]});
    let (chunks, ..) = run(&translation, &format!("data: {start}\n\n"), 9);
    assert_eq!(
        chunks[1]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"],
        "mcp.server:f"
    );
}

#[test]
fn answers_that_are_not_what_they_claim_are_errors_with_the_upstreams_text() {
    let translation = Translation::default();
    for (body, status, text) in [
        (
            r#"{"type":"error","error":{"type":"api_error","message":"NOT_FOUND"}}"#,
            502,
            "NOT_FOUND",
        ),
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            503,
            "Overloaded",
        ),
        (
            r#"{"code":500,"msg":"404 NOT_FOUND","success":false}"#,
            502,
            "404 NOT_FOUND",
        ),
        (r#"{"error":"quota used up"}"#, 502, "quota used up"),
        (
            r#"{"error":{"code":429,"message":"slow down"}}"#,
            429,
            "slow down",
        ),
        (r#"{"detail":"no such route"}"#, 502, "no such route"),
        ("<html><body>Sign in</body></html>", 502, "Sign in"),
        (r#"{"choices":[]}"#, 502, "choices"),
        ("", 502, "(empty)"),
        ("event: message_start\ndata: {}\n\n", 502, "message_start"),
    ] {
        let (sent, answer, _) = translation.body(StatusCode::OK, body.as_bytes());
        assert_eq!(sent.as_u16(), status, "{body}");
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(
            answer["error"]["message"].as_str().unwrap().contains(text),
            "{answer}"
        );
    }
    let (status, answer, _) = translation.body(StatusCode::FOUND, "<".repeat(10_000).as_bytes());
    assert!(status == StatusCode::BAD_GATEWAY && answer.len() < 1_000);
}

#[test]
fn a_message_in_one_piece_becomes_the_stream_that_was_asked_for() {
    let translation = Translation {
        stream: true,
        include_usage: true,
        ..Translation::default()
    };
    let message = json!({"type": "message", "id": "m", "stop_reason": "tool_use", "usage": {"input_tokens": 3, "output_tokens": 4},
        "content": [{"type": "text", "text": "Port"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}]});
    let (status, body, _) = translation.body(StatusCode::OK, message.to_string().as_bytes());
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(
        super::super::Translation::from(translation)
            .content_type(status)
            .starts_with("text/event-stream")
    );
    for part in [
        r#""content":"Port""#,
        r#""arguments":"{\"a\":1}""#,
        r#""finish_reason":"tool_calls""#,
        r#""total_tokens":7"#,
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.ends_with("data: [DONE]\n\n"));
}

const START: &str = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":15,\"cache_read_input_tokens\":1000}}}\n\n";

/// The text that a stream becomes, its end included.
fn whole(stream: &str) -> (String, Ending) {
    let translation = Translation {
        include_usage: true,
        ..Translation::default()
    };
    let mut translator = translation.stream();
    let mut text = translator.feed(stream.as_bytes()).to_vec();
    text.extend_from_slice(&translator.finish());
    (String::from_utf8(text).unwrap(), translator.ending())
}

#[test]
fn a_stop_reason_completes_a_stream_and_its_absence_breaks_it() {
    let delta = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":0,\"output_tokens\":9}}";
    let stop = "\n\ndata: {\"type\":\"message_stop\"}";
    for end in [
        format!("{delta}\n\n"),
        delta.to_owned(),
        format!("{delta}{stop}"),
        format!("{delta}{stop}\n\n"),
        format!("{delta}{}\n", &stop[..stop.len() - 4]),
    ] {
        let (text, ending) = whole(&format!("{START}{end}"));
        assert_eq!(ending, Ending::Complete, "{end}");
        assert_eq!(text.matches("\"finish_reason\":\"stop\"").count(), 1, "{text}");
        assert!(
            text.contains("\"prompt_tokens\":1015,\"completion_tokens\":9,\"total_tokens\":1024"),
            "{text}"
        );
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    }
    for end in [
        "",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":null}}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"\"}}\n\n",
        &delta[..60],
    ] {
        let (text, ending) = whole(&format!("{START}{end}"));
        assert_eq!(ending, Ending::Open, "{end}");
        assert!(!text.contains("[DONE]") && !text.contains("\"stop\""), "{text}");
    }
}

#[test]
fn each_ping_is_a_comment_and_nothing_else() {
    let ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    let (text, _) = whole(&format!("{ping}{START}{ping}{ping}"));
    assert_eq!(text.matches(": ping\n\n").count(), 3, "{text}");
    assert_eq!(text.matches("data: ").count(), 1, "{text}");
}

#[test]
fn error_events_in_every_shape_reach_the_client_with_their_text() {
    for event in [
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"later\"}}\n\n",
        "event: error\ndata: {\"message\":\"later\"}\n\n",
        "event: error\ndata: later\n\n",
        "data: {\"error\":\"later\"}\n\n",
        "data: {\"type\":\"error\",\"message\":\"later\"}\n\n",
    ] {
        let (text, ending) = whole(&format!("{START}{event}data: {{\"type\":\"message_stop\"}}\n\n"));
        assert_eq!(ending, Ending::Failed, "{event}");
        assert!(
            text.contains("data: {\"error\":{\"message\":") && text.contains("later"),
            "{text}"
        );
        assert!(!text.contains("[DONE]"), "{text}");
        let (status, body) = opening_error(event.as_bytes()).unwrap();
        assert!(status.as_u16() >= 500 && String::from_utf8_lossy(&body).contains("later"));
    }
    assert_eq!(opening_error(START.as_bytes()), None);
}
