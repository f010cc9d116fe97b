//! Calls of tools, and what the tools answered.

use super::read;
use crate::api::Surface;
use crate::request::{PartKind, Request, Role};

/// A part: kind, text, the call that it answers, whether that failed, whether it is marked.
type Seen<'a> = (PartKind, Option<&'a str>, Option<&'a str>, bool, bool);

fn results<'r>(request: &'r Request<'_>) -> Vec<Seen<'r>> {
    let parts = request.parts.iter().filter(|part| part.role == Role::Tool);
    parts
        .map(|part| {
            (
                part.kind,
                part.text.map(|text| text.raw()),
                part.call.as_deref(),
                part.is_error,
                part.cache_marked,
            )
        })
        .collect()
}

/// A call: message, id, name, arguments.
fn calls<'r>(request: &'r Request<'_>) -> Vec<(usize, &'r str, &'r str, &'r str)> {
    let calls = request.calls.iter();
    calls
        .map(|call| (call.message, &*call.id, &*call.name, &*call.arguments))
        .collect()
}

fn result<'a>(text: &'a str, call: &'a str) -> Seen<'a> {
    (PartKind::ToolResult, Some(text), Some(call), false, false)
}

#[test]
fn reads_tools_of_chat_completions() {
    let request = read(
        Surface::ChatCompletions,
        r#"{"messages":[{"role":"user","content":"q"},
            {"role":"assistant","content":"I look.","tool_calls":[
                {"id":"1","type":"function","function":{"name":"read","arguments":"{\"path\": \"a\\u00e9\"}"}},
                {"custom":{"input":"x","name":"grep"},"type":"custom","id":"2"}, 7, {"id":"3","function":{"name":"f","arguments":{"a": 1}}}]},
            {"content":"one","role":"tool","tool_call_id":"1"},
            {"role":"tool","tool_call_id":"2","content":[{"type":"text","text":"two"},{"type":"text","text":"three"},{"type":"image_url"}]},
            {"role":"assistant","function_call":{"name":"old","arguments":"{}"},"content":null},
            {"role":"function","name":"old","content":"four"},
            {"role":"critic","content":"five"}]}"#,
    );
    assert_eq!(
        calls(&request),
        [
            (1, "1", "read", "{\"path\": \"a\\u00e9\"}"),
            (1, "2", "grep", "x"),
            (1, "", "", ""),
            (1, "3", "f", r#"{"a": 1}"#),
            (4, "old", "old", "{}"),
        ]
    );
    assert_eq!(
        results(&request),
        [
            result("one", "1"),
            result("two", "2"),
            result("three", "2"),
            (PartKind::Other, None, Some("2"), false, false),
            result("four", "old"),
            (PartKind::Text, Some("five"), None, false, false),
        ]
    );
    let said = request.parts.iter().find(|part| part.role == Role::Assistant);
    assert_eq!(said.unwrap().text.unwrap().raw(), "I look.");
}

#[test]
fn reads_tools_of_the_messages_api() {
    let request = read(
        Surface::Messages,
        r#"{"messages":[{"role":"user","content":"q"},
            {"role":"assistant","content":[{"type":"text","text":"I look."},{"input":{"path": "a" },"type":"tool_use","id":"t1","name":"read"},
                {"type":"server_tool_use","id":"t2","name":"web_search","input":{"query":"w"}},
                {"type":"web_search_tool_result","tool_use_id":"t2","content":[{"type":"web_search_result","encrypted_content":"x"}]}]},
            {"role":"user","content":[{"content":"one","type":"tool_result","tool_use_id":"t1"},
                {"type":"tool_result","tool_use_id":"t3","is_error":true,"content":[{"type":"text","text":"two"},
                    {"type":"text","text":"three","cache_control":{"type":"ephemeral"}},{"type":"image","source":{}},
                    {"type":"document","source":{"type":"text","data":"four"}},
                    {"type":"search_result","citations":{"enabled":true},"content":[{"type":"text","text":"five"}]}]},
                {"type":"tool_result","tool_use_id":"t4"},
                {"type":"text","text":"and now"}]}]}"#,
    );
    assert_eq!(
        calls(&request),
        [
            (1, "t1", "read", r#"{"path": "a" }"#),
            (1, "t2", "web_search", r#"{"query":"w"}"#)
        ]
    );
    let failed = |kind, text, marked| (kind, text, Some("t3"), true, marked);
    assert_eq!(
        results(&request),
        [
            result("one", "t1"),
            failed(PartKind::ToolResult, Some("two"), false),
            failed(PartKind::ToolResult, Some("three"), true),
            failed(PartKind::Other, None, false),
            failed(PartKind::ToolResult, Some("four"), false),
            failed(PartKind::CitedDocument, Some("five"), false),
            (PartKind::Other, None, Some("t4"), false, false),
        ]
    );
    let last = request.parts.last().unwrap();
    assert_eq!((last.role, last.text.unwrap().raw()), (Role::User, "and now"));
}

#[test]
fn reads_tools_of_responses() {
    let request = read(
        Surface::Responses,
        r#"{"input":[{"role":"user","content":"q"},
            {"type":"message","role":"assistant","content":[{"type":"output_text","text":"I look."}]},
            {"type":"function_call","id":"fc","call_id":"1","name":"read","arguments":"{}"},
            {"output":"one","type":"function_call_output","call_id":"1"},
            {"type":"custom_tool_call","call_id":"2","name":"grep","input":"x"},
            {"type":"custom_tool_call_output","call_id":"2","output":[{"type":"input_text","text":"two"},{"type":"input_image"}]},
            {"type":"local_shell_call","id":"3","call_id":"4","action":{"command":["ls"]}},
            {"type":"local_shell_call_output","id":"4","output":"three"},
            {"type":"computer_call_output","call_id":"5","output":{"type":"computer_screenshot"}},
            {"type":"mcp_call","id":"6","name":"m","arguments":"{}","output":"not ours"}]}"#,
    );
    assert_eq!(
        calls(&request),
        [
            (2, "1", "read", "{}"),
            (4, "2", "grep", "x"),
            (6, "4", "local_shell", r#"{"command":["ls"]}"#),
            (9, "6", "m", "{}"),
        ]
    );
    assert_eq!(
        results(&request),
        [
            result("one", "1"),
            result("two", "2"),
            (PartKind::Other, None, Some("2"), false, false),
            result("three", "4"),
            (PartKind::Other, None, Some("5"), false, false),
        ]
    );
    let model = request.parts.iter().filter(|part| part.role == Role::Assistant);
    assert_eq!(model.count(), 5);
}

#[test]
fn finds_keys_that_occur_twice_in_results() {
    let twice = |block: &str| {
        let body = format!(r#"{{"messages":[{{"role":"user","content":[{block}]}}]}}"#);
        read(Surface::Messages, &body).duplicate_key
    };
    assert!(twice(r#"{"type":"tool_result","content":"a","content":"b"}"#));
    assert!(twice(
        r#"{"type":"tool_result","content":[{"type":"text","text":"a","text":"b"}]}"#
    ));
    assert!(twice(
        r#"{"type":"document","source":{"type":"text","data":"a","data":"b"}}"#
    ));
    assert!(!twice(r#"{"type":"tool_use","input":{"a":1,"a":2}}"#));
}

#[test]
fn long_arguments_and_ids_are_left_out() {
    let call = |arguments: usize, id: usize| {
        let (arguments, id) = ("a".repeat(arguments), "\\u0069".repeat(id));
        format!(r#"{{"id":"{id}","function":{{"name":"f","arguments":"{arguments}"}}}}"#)
    };
    let calls = [call(65536, 1), call(65537, 1), call(1, 200)].join(",");
    let body = format!(r#"{{"messages":[{{"role":"assistant","tool_calls":[{calls}]}}]}}"#);
    let request = read(Surface::ChatCompletions, &body);
    let read: Vec<_> = request
        .calls
        .iter()
        .map(|call| (&*call.id, call.arguments.len()))
        .collect();
    assert_eq!(read, [("i", 65536), ("i", 0), ("f", 1)]);
}

#[test]
fn stops_collecting_results_and_calls_in_time() {
    let blocks = format!(
        r#"{{"type":"tool_result","content":[{}{{}}]}}"#,
        "{},".repeat(30_000)
    );
    let body = format!(r#"{{"messages":[{{"role":"user","content":[{blocks}]}}]}}"#);
    let request = read(Surface::Messages, &body);
    assert!(request.too_many_parts && request.parts.len() <= 20_000);
    let calls = format!("{}{{}}", "{},".repeat(30_000));
    let message = format!(r#"{{"role":"assistant","tool_calls":[{calls}]}}"#);
    let body = format!(r#"{{"messages":[{message},{message}]}}"#);
    let request = read(Surface::ChatCompletions, &body);
    assert!(request.too_many_parts && request.calls.len() <= 20_000);
}
