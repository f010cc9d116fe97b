//! The law: whatever an OpenAI client sends, the request that leaves satisfies the provider's published rules, or the
//! client gets an error that names the field.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::rules::published_rules;
use super::translate;

fn pick(values: Vec<Value>) -> impl Strategy<Value = Value> {
    prop::sample::select(values)
}

/// Mostly a value that can be translated: a request has many, and one that cannot ends it.
fn mostly(good: Vec<Value>, bad: Vec<Value>) -> impl Strategy<Value = Value> {
    prop_oneof![40 => pick(good), 1 => pick(bad)]
}

/// Text as clients send it, blank in every way.
fn text() -> impl Strategy<Value = Value> {
    pick(vec![
        json!(""),
        json!(" "),
        json!("\n"),
        json!("\u{a0}\u{3000}"),
        json!("\u{1f}"),
        json!("Hello "),
        json!("And G8?\n"),
        json!("Größe"),
    ])
}

fn part() -> impl Strategy<Value = Value> {
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let other = mostly(
        vec![
            image("https://host/a.png"),
            image("data:image/png;base64,AAAA"),
            image("data:image/jpg;base64,AA\nA"),
            json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}),
            json!({"type": "refusal", "refusal": "No."}),
            json!({"type": "text"}),
        ],
        vec![
            image("http://host/a.png"),
            image("data:image/svg+xml;base64,AAAA"),
            image("data:image/png;base64,"),
            image(""),
            json!({"type": "file", "file": {"file_id": "x"}}),
            json!({"type": "input_audio"}),
        ],
    );
    prop_oneof![
        6 => text().prop_map(|text| json!({"type": "text", "text": text})),
        2 => text().prop_map(|text| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}})),
        1 => other,
    ]
}

fn content() -> impl Strategy<Value = Value> {
    prop_oneof![
        60 => text(),
        10 => Just(Value::Null),
        1 => Just(json!(7)),
        40 => prop::collection::vec(part(), 0..3).prop_map(Value::from),
    ]
}

fn id() -> impl Strategy<Value = Value> {
    pick(vec![
        json!("call_1"),
        json!("functions.f:0"),
        json!("functions.f|0"),
        json!("functions_f_0"),
        json!(""),
        json!("ü"),
        json!("x".repeat(200)),
    ])
}

fn name() -> impl Strategy<Value = Value> {
    mostly(
        vec![
            json!("f"),
            json!("mcp.server:f"),
            json!("mcp/server/f"),
            json!("größe"),
            json!("n".repeat(90)),
        ],
        vec![json!("")],
    )
}

fn arguments() -> impl Strategy<Value = Value> {
    mostly(
        vec![
            Value::Null,
            json!("null"),
            json!(""),
            json!(" \n"),
            json!("{\"a\": 1}"),
            json!({"a": 1}),
            json!("\"{}\""),
        ],
        vec![
            json!("{\"a\": \"G"),
            json!("[\"G7\"]"),
            json!([1]),
            json!("7"),
            json!(true),
        ],
    )
}

/// An assistant's turn with calls, then their answers, now and then with one too few or in another order.
fn exchange() -> impl Strategy<Value = Vec<Value>> {
    let call = (id(), name(), arguments()).prop_map(|(id, name, arguments)| {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    });
    (content(), prop::collection::vec(call, 1..4), content(), 0..40u8).prop_map(
        |(said, calls, result, order)| {
            let mut answers: Vec<Value> = calls
                .iter()
                .map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": result}))
                .collect();
            match order {
                0 => drop(answers.pop()),
                1 => answers.reverse(),
                2 => answers.insert(0, json!({"role": "user", "content": "wait"})),
                _ => {}
            }
            let mut messages = vec![json!({"role": "assistant", "content": said, "tool_calls": calls})];
            messages.append(&mut answers);
            messages
        },
    )
}

fn messages() -> impl Strategy<Value = Vec<Value>> {
    let roles = vec![
        json!("user"),
        json!("user"),
        json!("assistant"),
        json!("system"),
        json!("developer"),
    ];
    let role = mostly(roles, vec![json!("tool"), json!("function")]);
    let plain = (role, content()).prop_map(|(role, content)| vec![json!({"role": role, "content": content})]);
    let one = prop_oneof![5 => plain, 2 => exchange()];
    prop::collection::vec(one, 0..6).prop_map(|turns| turns.concat())
}

fn schema() -> impl Strategy<Value = Value> {
    mostly(
        vec![
            Value::Null,
            json!({}),
            json!([]),
            json!(true),
            json!({"properties": {"a": {"type": "string"}}, "required": ["a"]}),
            json!({"type": null, "properties": null, "required": null}),
            json!({"type": ["object", "null"], "properties": []}),
            json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {}}}}}),
            json!({"anyOf": [{"type": "object", "properties": {"a": {}}, "required": ["a"]}, {"type": "null"}]}),
            json!({"type": "object", "allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"properties": {"a": {}}, "required": ["a"]}}}),
            json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": {}, "b": {}}}),
        ],
        vec![
            json!("object"),
            json!({"type": "array", "items": {}}),
            json!({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}),
            json!({"$ref": "https://host/schema"}),
            json!({"type": "object", "properties": {"@type": {}}}),
        ],
    )
}

fn tools() -> impl Strategy<Value = Value> {
    let tool = (name(), schema(), text()).prop_map(|(name, schema, text)| {
        json!({"type": "function", "function": {"name": name, "parameters": schema, "description": text}})
    });
    prop::collection::vec(tool, 0..3).prop_map(Value::from)
}

/// One field of those that change the rest of the request.
fn fields() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let field = |name: &'static str, good: Vec<Value>, bad: Vec<Value>| {
        prop::option::weighted(0.3, mostly(good, bad)).prop_map(move |value| value.map(|value| (name, value)))
    };
    let user = [
        "a@example.org",
        "+49 170 5550142",
        "01705550142",
        "Mira H",
        "u_7f3a90",
        " ",
        "ü",
    ];
    let users = user
        .iter()
        .map(|user| json!(user))
        .chain([json!("x".repeat(300))])
        .collect();
    let tuning = (
        field(
            "temperature",
            vec![json!(0), json!(0.7), json!(1), json!(1.7)],
            vec![json!(-1), json!(3), json!("1")],
        ),
        field("top_p", vec![json!(0.5), json!(1), Value::Null], vec![json!(2)]),
        field(
            "stop",
            vec![json!("\n"), json!(["END", " "]), json!([])],
            vec![json!(7), json!([1])],
        ),
        field(
            "max_tokens",
            vec![json!(1), json!(50)],
            vec![json!(0), json!(-1), json!(1.5)],
        ),
        field("user", users, vec![json!(7)]),
        field(
            "model",
            vec![
                json!("claude-sonnet-4-5"),
                json!("claude-3-5-haiku"),
                json!("claude-opus-4-7"),
            ],
            vec![json!("")],
        ),
    );
    let function = |name: &str| json!({"type": "function", "function": {"name": name}});
    let schema = json!({"type": "object", "anyOf": [{"properties": {"a": {}}}]});
    let tools = (
        field(
            "tool_choice",
            vec![json!("auto"), json!("none")],
            vec![
                json!("required"),
                function("f"),
                function("mcp.server:f"),
                json!(1),
            ],
        ),
        field(
            "parallel_tool_calls",
            vec![json!(true), json!(false)],
            vec![Value::Null],
        ),
        field(
            "response_format",
            vec![
                json!({"type": "text"}),
                json!({"type": "json_object"}),
                json!({"type": "json_schema", "json_schema": {"name": "an answer", "schema": schema}}),
                json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "array"}}}),
            ],
            vec![json!({"type": "grammar"})],
        ),
        prop::option::weighted(0.6, tools()).prop_map(|tools| tools.map(|tools| ("tools", tools))),
    );
    (tuning, tools).prop_map(|((a, b, c, d, e, f), (g, h, i, j))| {
        [a, b, c, d, e, f, g, h, i, j].into_iter().flatten().collect()
    })
}

fn request() -> impl Strategy<Value = Value> {
    (messages(), fields()).prop_map(|(messages, fields)| {
        let mut request = json!({"model": "claude-sonnet-4-5", "messages": messages});
        for (name, value) in fields {
            request[name] = value;
        }
        request
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_request_that_leaves_satisfies_the_published_rules(request in request()) {
        match translate(&request) {
            Ok((sent, _)) => {
                let broken = published_rules(&sent);
                prop_assert!(broken.is_empty(), "{broken:?}\nfrom {request}\nto {sent}");
            }
            Err(error) => {
                prop_assert!(error.param().is_some(), "{error}\nfrom {request}");
                prop_assert!(!error.to_string().contains("Größe"), "{error}");
            }
        }
    }

    #[test]
    fn two_ids_never_become_one(ids in prop::collection::vec("[a-c:|._-]{0,5}", 1..8)) {
        let calls: Vec<Value> = ids
            .iter()
            .map(|id| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}))
            .collect();
        let mut messages = vec![json!({"role": "assistant", "content": null, "tool_calls": calls})];
        messages.extend(ids.iter().enumerate().map(|(index, id)| {
            json!({"role": "tool", "tool_call_id": id, "content": format!("result {index}")})
        }));
        let (sent, _) = translate(&json!({"model": "claude-x", "messages": messages})).unwrap();
        prop_assert!(published_rules(&sent).is_empty(), "{sent}");
        for (index, call) in sent["messages"][1]["content"].as_array().unwrap().iter().enumerate() {
            let result = &sent["messages"][2]["content"][index];
            prop_assert_eq!(&result["tool_use_id"], &call["id"]);
            prop_assert_eq!(&result["content"][0]["text"], &json!(format!("result {index}")));
        }
    }
}

/// Requests that are refused prove little.
#[test]
fn most_generated_requests_can_be_translated() {
    let mut runner = TestRunner::deterministic();
    let translated = (0..400).filter(|_| {
        let request = request().new_tree(&mut runner).unwrap().current();
        translate(&request).is_ok()
    });
    let count = translated.count();
    assert!(count > 160, "{count} of 400");
}

/// A checker that finds nothing proves nothing.
#[test]
fn the_checker_finds_each_fault_of_the_field() {
    let good = json!({"model": "claude-sonnet-4-5", "max_tokens": 1, "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Stock?"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}]}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}], "metadata": {"user_id": "u"}});
    assert!(published_rules(&good).is_empty());
    for (place, value) in [
        ("/messages/0/content/0/text", json!("\n")),
        ("/messages/0/content", json!([])),
        ("/messages/0/role", json!("assistant")),
        ("/messages/1/content/0/id", json!("a:0")),
        ("/messages/1/content/0/input", json!([])),
        ("/messages/2/content/0/tool_use_id", json!("d")),
        ("/tools/0/input_schema", json!({})),
        ("/tools/0/name", json!("a.b")),
        ("/metadata/user_id", json!("a@b")),
        ("/metadata/user_id", json!("+49 170 5550142")),
        ("/max_tokens", json!(0)),
        ("/tools", json!([])),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value;
        assert!(!published_rules(&bad).is_empty(), "{place}");
    }
}
