//! Requests of an OpenAI client as an Anthropic provider receives them.

use liquid_cases::{Answer, Sidecar, input, post, send};
use liquid_testing::MockUpstream;
use serde_json::{Value, json};

use crate::CLAUDE;

/// An OpenAI client's call in front of an Anthropic provider: its answer, and the request that left if one did.
struct Exchange {
    answer: Answer,
    left: Option<Value>,
}

impl Exchange {
    /// The request of a call that was not refused.
    fn left(&self) -> &Value {
        assert_eq!(self.answer.status, 200, "{}", self.answer.text());
        self.left.as_ref().unwrap()
    }
}

async fn exchange(request: &Value) -> Exchange {
    let upstream = MockUpstream::start().await.unwrap();
    let sidecar = Sidecar::start(CLAUDE, &upstream.base_url()).await;
    let answer = send(post(&sidecar.url("/v1/chat/completions"), request.to_string())).await;
    let left = upstream.last();
    assert!(left.iter().all(|left| left.path == "/v1/messages"), "{left:?}");
    Exchange {
        answer,
        left: left.map(|left| left.json()),
    }
}

async fn forwarded(request: &Value) -> Value {
    exchange(request).await.left().clone()
}

/// All content blocks of a request with their depth below a message's content flattened, system blocks included.
fn blocks(request: &Value) -> Vec<&Value> {
    fn collect<'v>(content: &'v Value, all: &mut Vec<&'v Value>) {
        for block in content.as_array().into_iter().flatten() {
            all.push(block);
            collect(&block["content"], all);
        }
    }
    let mut all = Vec::new();
    collect(&request["system"], &mut all);
    for message in request["messages"].as_array().unwrap() {
        assert!(message["content"].is_array(), "{message}");
        collect(&message["content"], &mut all);
    }
    all
}

fn of_type<'v>(request: &'v Value, kind: &str) -> Vec<&'v Value> {
    let blocks = blocks(request).into_iter();
    blocks.filter(|block| block["type"] == kind).collect()
}

/// Anthropic: "text content blocks must be non-empty", "must contain non-whitespace text"; messages are not empty, and the
/// last one's text does not end in white space if it is the assistant's.
fn assert_texts_are_not_blank(request: &Value) {
    for block in of_type(request, "text") {
        assert!(!block["text"].as_str().unwrap().trim().is_empty(), "{request}");
    }
    let messages = request["messages"].as_array().unwrap();
    assert!(!messages.is_empty(), "{request}");
    for message in messages {
        assert!(!message["content"].as_array().unwrap().is_empty(), "{request}");
    }
}

#[tokio::test]
async fn case_01_no_forwarded_text_is_blank() {
    let left = forwarded(&input("01-whitespace-only-text/input.json")).await;
    assert_texts_are_not_blank(&left);
    let calls = of_type(&left, "tool_use");
    assert_eq!(calls.len(), 1, "{left}");
    assert_eq!(
        (&calls[0]["id"], &calls[0]["input"]),
        (&json!("call_a1"), &json!({"part": "G7"}))
    );
    let results = of_type(&left, "tool_result");
    assert_eq!(results.len(), 1, "{left}");
    assert_eq!(results[0]["tool_use_id"], "call_a1");
    let texts: Vec<_> = of_type(&left, "text")
        .iter()
        .map(|block| block["text"].clone())
        .collect();
    assert_eq!(texts, ["How many gaskets of type G7 are left?", "And G8?"]);
}

#[tokio::test]
async fn case_01_blank_texts_of_every_role_are_left_out() {
    let left = forwarded(&json!({"model": "gpt-4o", "messages": [
        {"role": "system", "content": " \n"},
        {"role": "developer", "content": [{"type": "text", "text": "\t"}]},
        {"role": "user", "content": "First?"},
        {"role": "assistant", "content": "\u{a0}\u{3000}\n"},
        {"role": "user", "content": [{"type": "text", "text": "\r\n"}, {"type": "text", "text": "Second?"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "\n"}]},
        {"role": "user", "content": "\u{2028}"}]}))
    .await;
    assert_texts_are_not_blank(&left);
    assert!(left.get("system").is_none(), "{left}");
    let roles: Vec<_> = left["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["role"].clone())
        .collect();
    assert_eq!(roles, ["user"], "{left}");
}

#[tokio::test]
async fn case_01_a_last_turn_of_the_assistant_does_not_end_in_white_space() {
    let left = forwarded(&json!({"model": "gpt-4o", "messages": [
        {"role": "user", "content": "Which port?"}, {"role": "assistant", "content": "The port is \n"}]}))
    .await;
    let texts = of_type(&left, "text");
    assert_eq!(texts.last().unwrap()["text"], "The port is", "{left}");
}

#[tokio::test]
async fn case_01_a_conversation_of_blanks_is_refused_or_not_blank() {
    let request = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": " \n "}]});
    let Exchange { answer, left } = exchange(&request).await;
    match left {
        Some(left) => assert_texts_are_not_blank(&left),
        None => assert!(
            answer.status == 400 && answer.text().contains("messages"),
            "{answer:?}"
        ),
    }
}

fn is_foreign(id: &str) -> bool {
    id.is_empty()
        || !id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Anthropic: ids of calls match `^[a-zA-Z0-9_-]+$`; each call has its own, and each result has its call's.
fn assert_ids_pair(request: &Value, calls: usize) {
    let ids = |kind: &str, name: &str| -> Vec<String> {
        let blocks = of_type(request, kind);
        blocks
            .iter()
            .map(|block| block[name].as_str().unwrap().to_owned())
            .collect()
    };
    let (uses, results) = (ids("tool_use", "id"), ids("tool_result", "tool_use_id"));
    assert!(uses.iter().all(|id| !is_foreign(id)), "{request}");
    assert_eq!((uses.len(), &uses), (calls, &results), "{request}");
    let distinct: std::collections::BTreeSet<_> = uses.iter().collect();
    assert_eq!(distinct.len(), calls, "{request}");
}

#[tokio::test]
async fn case_02_foreign_ids_of_calls_are_put_into_the_alphabet_and_pair() {
    assert_ids_pair(&forwarded(&input("02-foreign-tool-call-ids/input.json")).await, 2);
}

/// A history in which every id has called once and been answered.
fn history(ids: &[&str]) -> Value {
    let function = json!({"name": "stock_level", "arguments": "{}"});
    let calls = ids
        .iter()
        .map(|id| json!({"id": id, "type": "function", "function": function}));
    let results = ids
        .iter()
        .map(|id| json!({"role": "tool", "tool_call_id": id, "content": id}));
    let mut messages = vec![
        json!({"role": "user", "content": "Stock?"}),
        json!({"role": "assistant", "content": null, "tool_calls": calls.collect::<Vec<_>>()}),
    ];
    messages.extend(results);
    json!({"model": "gpt-4o", "messages": messages})
}

#[tokio::test]
async fn case_02_other_foreign_ids_stay_different() {
    for ids in [
        // One is what a replacement of the other's letters would give.
        &[
            "functions.stock_level:0",
            "functions_stock_level_0",
            "functions-stock_level-0",
        ][..],
        &["调用:0", "调用:1", "呼出_0"],
        &["id with spaces", "id\twith\ttabs", "emoji🙂"],
        &["a|b", "a/b", "a+b", "a=b", "a.b"],
    ] {
        assert_ids_pair(&forwarded(&history(ids)).await, ids.len());
    }
}

#[tokio::test]
async fn case_02_ids_of_the_alphabet_are_passed_on() {
    let left = forwarded(&history(&["call_a1", "toolu_01-B"])).await;
    assert_ids_pair(&left, 2);
    let ids: Vec<_> = of_type(&left, "tool_use")
        .iter()
        .map(|block| block["id"].clone())
        .collect();
    assert_eq!(ids, ["call_a1", "toolu_01-B"]);
}

/// Anthropic: `input_schema` is an object with `"type": "object"`.
fn assert_schemas_are_objects(request: &Value) {
    for tool in request["tools"].as_array().unwrap() {
        assert_eq!(tool["input_schema"]["type"], "object", "{tool}");
    }
}

#[tokio::test]
async fn case_03_schemas_without_a_type_become_objects() {
    let left = forwarded(&input("03-tool-schema-without-type/input.json")).await;
    assert_schemas_are_objects(&left);
    assert_eq!(left["tools"][0]["description"], "No arguments.");
    let schema = &left["tools"][1]["input_schema"];
    assert_eq!(
        schema["properties"],
        json!({"service": {"type": "string"}}),
        "{left}"
    );
    assert_eq!(schema["required"], json!(["service"]), "{left}");
}

#[tokio::test]
async fn case_03_other_odd_schemas_become_objects_and_keep_their_members() {
    let port = json!({"type": "object", "properties": {"port": {"type": "integer"}}});
    for (parameters, kept) in [
        (json!(null), ""),
        (
            json!({"type": ["object", "null"], "properties": {"port": {"type": "integer"}}}),
            "port",
        ),
        (
            json!({"type": null, "properties": {"port": {"type": "integer"}}}),
            "port",
        ),
        (json!({"$ref": "#/$defs/Port", "$defs": {"Port": port}}), "port"),
        (
            json!({"anyOf": [port, {"type": "object", "properties": {"name": {"type": "string"}}}]}),
            "port",
        ),
        (json!({"oneOf": [port]}), "port"),
        (json!({"allOf": [port, {"required": ["port"]}]}), "port"),
        (
            json!({"additionalProperties": {"type": "integer"}, "description": "ports"}),
            "additionalProperties",
        ),
    ] {
        let left = forwarded(&with_parameters(&parameters)).await;
        assert_schemas_are_objects(&left);
        let schema = &left["tools"][0]["input_schema"];
        assert!(schema.to_string().contains(kept), "{parameters}: {schema}");
        // "input_schema does not support oneOf, allOf, or anyOf at the top level"
        let combined = ["oneOf", "allOf", "anyOf"]
            .iter()
            .any(|name| schema.get(name).is_some());
        assert!(!combined, "{parameters}: {schema}");
    }
}

fn with_parameters(parameters: &Value) -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Which port?"}],
           "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]})
}

#[tokio::test]
async fn case_03_schemas_of_something_else_are_refused_by_name_or_become_objects() {
    for parameters in [
        json!({"type": "string"}),
        json!({"type": "array"}),
        json!(true),
        json!([]),
    ] {
        let Exchange { answer, left } = exchange(&with_parameters(&parameters)).await;
        match left {
            Some(left) => assert_schemas_are_objects(&left),
            None => assert!(
                answer.status == 400 && answer.text().contains("tools"),
                "{answer:?}"
            ),
        }
    }
}

#[tokio::test]
async fn case_03_the_schema_of_an_answer_becomes_an_object() {
    let request = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Which port?"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer",
            "schema": {"properties": {"port": {"type": "integer"}}}}}});
    let left = forwarded(&request).await;
    for tool in left["tools"].as_array().into_iter().flatten() {
        assert_eq!(tool["input_schema"]["type"], "object", "{left}");
        assert!(tool.to_string().contains("port"), "{left}");
    }
}

fn user_id(request: &Value) -> Option<&str> {
    request
        .pointer("/metadata/user_id")
        .map(|id| id.as_str().unwrap())
}

/// Nothing of the user's address or number is in what leaves.
fn is_opaque(id: Option<&str>, user: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).count();
    id.is_none_or(|id| {
        let named = id.contains(user) || id.contains('@');
        let telephone = digits(id) >= 7 && !id.chars().any(|c| c.is_ascii_alphabetic());
        !named && !telephone && id.len() <= 256
    })
}

#[tokio::test]
async fn case_04_an_address_or_a_number_of_a_user_does_not_leave() {
    for (file, user) in [
        ("input.json", "mira.halloran@example.org"),
        ("input-b.json", "+49 170 5550142"),
    ] {
        let left = forwarded(&input(&format!("04-user-is-an-email/{file}"))).await;
        assert!(is_opaque(user_id(&left), user), "{left}");
        assert!(!left.to_string().contains(user), "{left}");
    }
    let left = forwarded(&input("04-user-is-an-email/input-c.json")).await;
    assert_eq!(user_id(&left), Some("u_7f3a90"));
}

#[tokio::test]
async fn case_04_other_spellings_of_addresses_and_numbers_do_not_leave() {
    for field in ["user", "safety_identifier"] {
        for user in [
            "MIRA.HALLORAN@EXAMPLE.ORG",
            "Mira Halloran <mira@example.org>",
            "mailto:mira@example.org",
            " mira+tag@example.co.uk ",
            "tel:+49-170-5550142",
            "(415) 555-0132",
            "0170/5550142",
            "+491705550142",
            "0049 170 555 01 42",
        ] {
            let request = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Which port?"}], field: user});
            let left = forwarded(&request).await;
            assert!(is_opaque(user_id(&left), user.trim()), "{user}: {left}");
        }
    }
}

#[tokio::test]
async fn case_04_other_opaque_users_are_passed_on() {
    for user in [
        "550e8400-e29b-41d4-a716-446655440000",
        "auth0|64f1c2",
        "user_2026-11-29",
    ] {
        let request = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Which port?"}], "user": user});
        assert_eq!(user_id(&forwarded(&request).await), Some(user));
    }
}

#[tokio::test]
async fn case_12_odd_arguments_become_objects_or_are_refused() {
    let file = |name: &str| input(&format!("12-odd-tool-arguments/{name}.json"));
    for name in ["input", "input-b", "input-c"] {
        let left = forwarded(&file(name)).await;
        assert_eq!(
            of_type(&left, "tool_use")[0]["input"],
            json!({}),
            "{name}: {left}"
        );
    }
    let left = forwarded(&file("input-d")).await;
    assert_eq!(
        of_type(&left, "tool_use")[0]["input"],
        json!({"part": "G7"}),
        "{left}"
    );
    let Exchange { answer, left } = exchange(&file("input-e")).await;
    assert_eq!((answer.status, left), (400, None), "{}", answer.text());
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("messages") && message.contains("call_1"),
        "{message}"
    );
    assert_object_or_refused(&file("input-f")).await;
}

/// No other `input` than an object is forwarded; what is refused is a 400 that names the messages.
async fn assert_object_or_refused(request: &Value) {
    let Exchange { answer, left } = exchange(request).await;
    match left {
        Some(left) => {
            for call in of_type(&left, "tool_use") {
                assert!(call["input"].is_object(), "{request}: {left}");
            }
        }
        None => {
            assert_eq!(answer.status, 400, "{request}: {}", answer.text());
            assert!(answer.text().contains("messages"), "{}", answer.text());
        }
    }
}

fn called_with(arguments: &Value) -> Value {
    let mut request = input("12-odd-tool-arguments/input.json");
    request["messages"][1]["tool_calls"][0]["function"]["arguments"] = arguments.clone();
    request
}

#[tokio::test]
async fn case_12_other_odd_arguments_become_objects_or_are_refused() {
    for arguments in [
        json!("[]"),
        json!("5"),
        json!("true"),
        json!("\"G7\""),
        json!("{\"part\": \"G7\",}"),
        json!("{'part': 'G7'}"),
        json!(["G7"]),
        json!(5),
        json!(true),
    ] {
        assert_object_or_refused(&called_with(&arguments)).await;
    }
    for (arguments, object) in [
        (json!(" \n"), json!({})),
        (json!({}), json!({})),
        (json!(" null "), json!({})),
        (json!("{}"), json!({})),
        (
            json!("{\"a\": {\"b\": [1, null]}}"),
            json!({"a": {"b": [1, null]}}),
        ),
    ] {
        let left = forwarded(&called_with(&arguments)).await;
        assert_eq!(of_type(&left, "tool_use")[0]["input"], object, "{arguments}");
    }
}

#[tokio::test]
async fn case_12_calls_without_arguments_have_an_empty_input() {
    let mut request = input("12-odd-tool-arguments/input.json");
    let function = &mut request["messages"][1]["tool_calls"][0]["function"];
    function.as_object_mut().unwrap().remove("arguments");
    let left = forwarded(&request).await;
    assert_eq!(of_type(&left, "tool_use")[0]["input"], json!({}));
}
