//! The law: whatever an OpenAI client sends, the request that leaves satisfies the provider's published rules, or the
//! client gets an error that names the field.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::rules::published_rules;
use super::translate;

fn pick(values: Vec<Value>) -> impl Strategy<Value = Value> {
    prop::sample::select(values)
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
    let other = pick(vec![
        image("https://host/a.png"),
        image("http://host/a.png"),
        image("data:image/png;base64,AAAA"),
        image("data:image/jpg;base64,AA\nA"),
        image("data:image/svg+xml;base64,AAAA"),
        image("data:image/png;base64,"),
        image(""),
        json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}),
        json!({"type": "file", "file": {"file_id": "x"}}),
        json!({"type": "input_audio"}),
        json!({"type": "refusal", "refusal": "No."}),
        json!({"type": "text"}),
    ]);
    prop_oneof![
        6 => text().prop_map(|text| json!({"type": "text", "text": text})),
        2 => text().prop_map(|text| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}})),
        2 => other,
    ]
}

fn content() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => text(),
        1 => Just(Value::Null),
        1 => Just(json!(7)),
        4 => prop::collection::vec(part(), 0..3).prop_map(Value::from),
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
    pick(vec![
        json!("f"),
        json!("mcp.server:f"),
        json!("mcp/server/f"),
        json!("größe"),
        json!("n".repeat(90)),
        json!(""),
    ])
}

fn arguments() -> impl Strategy<Value = Value> {
    pick(vec![
        Value::Null,
        json!("null"),
        json!(""),
        json!(" \n"),
        json!("{\"a\": 1}"),
        json!({"a": 1}),
        json!("\"{}\""),
        json!("{\"a\": \"G"),
        json!("[\"G7\"]"),
        json!([1]),
        json!("7"),
        json!(true),
    ])
}

/// An assistant's turn with calls, then their answers, now and then with one too few or in another order.
fn exchange() -> impl Strategy<Value = Vec<Value>> {
    let call = (id(), name(), arguments()).prop_map(|(id, name, arguments)| {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    });
    (content(), prop::collection::vec(call, 1..4), content(), 0..8u8).prop_map(
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
        json!("assistant"),
        json!("system"),
        json!("developer"),
        json!("tool"),
    ];
    let plain =
        (pick(roles), content()).prop_map(|(role, content)| vec![json!({"role": role, "content": content})]);
    let one = prop_oneof![5 => plain, 2 => exchange()];
    prop::collection::vec(one, 0..6).prop_map(|turns| turns.concat())
}

fn schema() -> impl Strategy<Value = Value> {
    pick(vec![
        Value::Null,
        json!({}),
        json!([]),
        json!(true),
        json!("object"),
        json!({"properties": {"a": {"type": "string"}}, "required": ["a"]}),
        json!({"type": null, "properties": null, "required": null}),
        json!({"type": ["object", "null"], "properties": []}),
        json!({"type": "array", "items": {}}),
        json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {}}}}}),
        json!({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}),
        json!({"$ref": "https://host/schema"}),
        json!({"anyOf": [{"type": "object", "properties": {"a": {}}, "required": ["a"]}, {"type": "null"}]}),
        json!({"type": "object", "allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"properties": {"a": {}}, "required": ["a"]}}}),
        json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": {}, "b": {}}}),
        json!({"type": "object", "properties": {"@type": {}}}),
    ])
}

fn tools() -> impl Strategy<Value = Value> {
    let tool = (name(), schema(), text()).prop_map(|(name, schema, text)| {
        json!({"type": "function", "function": {"name": name, "parameters": schema, "description": text}})
    });
    prop::collection::vec(tool, 0..3).prop_map(Value::from)
}

/// One field of those that change the rest of the request.
fn fields() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let field = |name: &'static str, values: Vec<Value>| {
        prop::option::weighted(0.3, pick(values)).prop_map(move |value| value.map(|value| (name, value)))
    };
    let tuning = (
        field(
            "temperature",
            vec![
                json!(0),
                json!(0.7),
                json!(1),
                json!(1.7),
                json!(-1),
                json!(3),
                json!("1"),
            ],
        ),
        field("top_p", vec![json!(0.5), json!(1), json!(2), Value::Null]),
        field(
            "stop",
            vec![json!("\n"), json!(["END", " "]), json!([]), json!(7), json!([1])],
        ),
        field("max_tokens", vec![json!(0), json!(50), json!(-1), json!(1.5)]),
        field(
            "user",
            vec![
                json!("a@example.org"),
                json!("+49 170 5550142"),
                json!("01705550142"),
                json!("Mira H"),
                json!("u_7f3a90"),
                json!(" "),
                json!("ü"),
                json!("x".repeat(300)),
                json!(7),
            ],
        ),
        field(
            "model",
            vec![
                json!("claude-sonnet-4-5"),
                json!("claude-3-5-haiku"),
                json!("claude-opus-4-7"),
                json!(""),
            ],
        ),
    );
    let tools = (
        field(
            "tool_choice",
            vec![
                json!("auto"),
                json!("none"),
                json!("required"),
                json!({"type": "function", "function": {"name": "f"}}),
                json!({"type": "function", "function": {"name": "mcp.server:f"}}),
                json!(1),
            ],
        ),
        field("parallel_tool_calls", vec![json!(true), json!(false)]),
        field(
            "response_format",
            vec![
                json!({"type": "text"}),
                json!({"type": "json_object"}),
                json!({"type": "json_schema", "json_schema": {"name": "an answer", "schema": {"type": "object", "anyOf": [{"properties": {"a": {}}}]}}}),
                json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "array"}}}),
                json!({"type": "grammar"}),
            ],
        ),
        prop::option::weighted(0.6, tools()).prop_map(|tools| tools.map(|tools| ("tools", tools))),
    );
    (tuning, tools).prop_map(|((a, b, c, d, e, f), (g, h, i, j))| {
        [a, b, c, d, e, f, g, h, i, j].into_iter().flatten().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_request_that_leaves_satisfies_the_published_rules(messages in messages(), fields in fields()) {
        let mut request = json!({"model": "claude-sonnet-4-5", "messages": messages});
        for (name, value) in fields {
            request[name] = value;
        }
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
