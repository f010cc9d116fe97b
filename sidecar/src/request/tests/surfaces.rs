//! The surfaces: who says what, in which order.

use proptest::prelude::*;

use super::json::nearly_json;
use super::{read, texts};
use crate::api::Surface;
use crate::request::{Request, RequestError, Role};

proptest! {
    #[test]
    fn reads_any_bytes_without_panic(body in prop::collection::vec(any::<u8>(), 0..200), text in nearly_json()) {
        for surface in [Surface::ChatCompletions, Surface::Responses, Surface::Messages, Surface::HybridChat, Surface::Completions] {
            let _ = Request::read(surface, &body);
            let _ = Request::read(surface, text.as_bytes());
            let _ = Request::read(surface, format!(r#"{{"messages":[{text}],"input":[{text}],"prompt":[{text}]}}"#).as_bytes());
        }
    }
}

#[test]
fn names_the_byte_that_is_wrong() {
    let error = Request::read(Surface::Messages, br#"{"model":"m",}"#).unwrap_err();
    assert_eq!(error.to_string(), "not valid JSON at byte 13: expected a string");
    let error = Request::read(Surface::Messages, b"{\"model\":\"\xff\"}").unwrap_err();
    assert_eq!(error, RequestError::NotUtf8 { at: 10 });
}

#[test]
fn reads_chat_completions() {
    let request = read(
        Surface::ChatCompletions,
        r#"{"model":"gpt-5","stream":true,"messages":[
            {"role":"developer","content":"rules"},
            {"content":[{"type":"text","text":"one"},{"type":"image_url","image_url":{"url":"data:..."}},
                        {"text":"two","type":"text","prompt_cache_breakpoint":{"mode":"explicit"}}],"role":"user"},
            {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"1","content":"result"}]}"#,
    );
    assert_eq!((request.model.as_deref(), request.stream), (Some("gpt-5"), true));
    let expected = [
        (Role::System, "rules"),
        (Role::User, "one"),
        (Role::User, "two"),
        (Role::Tool, "result"),
    ];
    assert_eq!(texts(&request), expected);
    let marked: Vec<_> = request.parts.iter().map(|part| part.cache_marked).collect();
    assert_eq!(marked, [false, false, false, true, false, false]);
}

#[test]
fn reads_responses() {
    let request = read(
        Surface::Responses,
        r#"{"model":"m","input":"all of it","instructions":"rules"}"#,
    );
    assert_eq!(
        texts(&request),
        [(Role::System, "rules"), (Role::User, "all of it")]
    );
    let request = read(
        Surface::Responses,
        r#"{"input":[{"role":"user","content":"a"},{"type":"message","role":"user","content":[{"type":"input_text","text":"b"},
            {"type":"input_file","file_id":"f"}]},{"type":"reasoning","encrypted_content":"x"},
            {"type":"function_call_output","call_id":"c","output":"long"}]}"#,
    );
    assert_eq!(
        texts(&request),
        [(Role::User, "a"), (Role::User, "b"), (Role::Tool, "long")]
    );
    assert_eq!(
        request.parts.iter().map(|part| part.role).collect::<Vec<_>>()[3..],
        [Role::Assistant, Role::Tool]
    );
}

#[test]
fn reads_anthropic_messages() {
    let request = read(
        Surface::Messages,
        r#"{"system":[{"type":"text","text":"rules","cache_control":{"type":"ephemeral"}}],"messages":[
            {"role":"user","content":[{"type":"document","source":{"type":"text","data":"file"}},{"type":"text","text":"q",
            "cache_control":{"type":"ephemeral"}}]},{"role":"assistant","content":"a"},{"role":"user","content":"b"}]}"#,
    );
    assert_eq!(
        texts(&request),
        [
            (Role::System, "rules"),
            (Role::User, "file"),
            (Role::User, "q"),
            (Role::Assistant, "a"),
            (Role::User, "b")
        ]
    );
    let marked: Vec<_> = request.parts.iter().map(|part| part.cache_marked).collect();
    assert_eq!(marked, [true, false, true, false, false]);
    assert!(!request.cache_marked);
    assert!(
        read(
            Surface::Messages,
            r#"{"cache_control":{"type":"ephemeral"},"messages":[]}"#
        )
        .cache_marked
    );
}

#[test]
fn notices_provider_state_and_duplicate_keys() {
    let stateful = |surface, body| read(surface, body).stateful;
    assert_eq!(
        stateful(Surface::Responses, r#"{"previous_response_id":"r"}"#),
        Some("previous_response_id")
    );
    assert_eq!(
        stateful(Surface::Responses, r#"{"previous_response_id":null}"#),
        None
    );
    assert_eq!(
        stateful(Surface::Responses, r#"{"conversation":{"id":"c"}}"#),
        Some("conversation")
    );
    assert_eq!(
        stateful(
            Surface::Responses,
            r#"{"input":[{"type":"item_reference","id":"i"}]}"#
        ),
        Some("item_reference")
    );
    assert_eq!(
        stateful(
            Surface::ChatCompletions,
            r#"{"prediction":{"type":"content","content":""}}"#
        ),
        Some("prediction")
    );
    let twice = |body| read(Surface::ChatCompletions, body).duplicate_key;
    assert!(twice(r#"{"messages":[],"messages":[]}"#));
    assert!(twice(r#"{"messages":[{"role":"user","r\u006fle":"system"}]}"#));
    assert!(twice(
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}]}"#
    ));
    assert!(!twice(
        r#"{"x":1,"x":2,"messages":[{"role":"user","name":"a","name":"b"}]}"#
    ));
}

#[test]
fn stops_collecting_parts_in_time() {
    let body = format!(r#"{{"messages":[{}{{}}]}}"#, "{},".repeat(30_000));
    let request = read(Surface::ChatCompletions, &body);
    assert!(request.too_many_parts && request.parts.len() <= 20_000);
}

#[test]
fn the_system_text_comes_first_wherever_it_is_in_the_body() {
    let messages = r#"[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{}}]}]"#;
    for (surface, body) in [
        (
            Surface::Messages,
            format!(r#"{{"messages":{messages},"system":"rules"}}"#),
        ),
        (
            Surface::Messages,
            format!(
                r#"{{"system":[{{"type":"text","text":"rules"}},{{"type":"image"}}],"messages":{messages}}}"#
            ),
        ),
        (
            Surface::Responses,
            format!(r#"{{"input":{messages},"instructions":"rules"}}"#),
        ),
        (
            Surface::Responses,
            format!(
                r#"{{"instructions":[{{"role":"user","content":[{{"type":"input_text","text":"rules"}}]}}],"input":{messages}}}"#
            ),
        ),
    ] {
        let request = read(surface, &body);
        assert_eq!(
            texts(&request),
            [(Role::System, "rules"), (Role::User, "q")],
            "{body}"
        );
        let messages: Vec<_> = request.parts.iter().map(|part| part.message).collect();
        assert_eq!((messages, request.calls[0].message), (vec![0, 1, 2], 2), "{body}");
    }
    for none in ["null", "7", "[]", r#"{"type":"text","text":"rules"}"#] {
        let body = format!(r#"{{"system":{none},"messages":[{{"role":"user","content":"q"}}]}}"#);
        let request = read(Surface::Messages, &body);
        assert_eq!(
            (texts(&request), request.parts[0].message),
            (vec![(Role::User, "q")], 0),
            "{body}"
        );
    }
    let twice = r#"{"system":"a","system":"b","messages":[]}"#;
    assert!(read(Surface::Messages, twice).duplicate_key);
}

#[test]
fn reads_the_prompt_of_a_completion() {
    for (prompt, text) in [
        (r#""all of it""#, Some("all of it")),
        (r#"["all of it"]"#, Some("all of it")),
        (r#"["one", "two"]"#, None),
        (r#"[["one"]]"#, None),
        ("[]", None),
        ("[1, 2]", None),
        ("[[1, 2]]", None),
        ("null", None),
    ] {
        let body = format!(r#"{{"model":"m","prompt":{prompt},"stream":true}}"#);
        let request = read(Surface::Completions, &body);
        let expected: Vec<_> = text.map(|text| (Role::User, text)).into_iter().collect();
        assert_eq!(
            (texts(&request), request.parts.len(), request.stream),
            (expected, 1, true),
            "{body}"
        );
    }
    let stateful = |field: &str| read(Surface::Completions, &format!(r#"{{"prompt":"p",{field}}}"#)).stateful;
    assert_eq!(stateful(r#""echo":true"#), Some("echo"));
    assert_eq!(stateful(r#""suffix":"}""#), Some("suffix"));
    assert_eq!(stateful(r#""suffix":"","echo":false"#), None);
    assert!(read(Surface::Completions, r#"{"prompt":"a","prompt":"b"}"#).duplicate_key);
}
