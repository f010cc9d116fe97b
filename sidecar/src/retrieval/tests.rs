//! Bodies, answers and streams, each alone; whole calls are in the tests of the sidecar's edge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::answer::{Answer, Context, Final};
use super::body::Outline;
use super::{Question, Splicer, Turn, tool, usage};
use crate::api::Wire;

fn with_tool(wire: Wire, body: &str) -> Option<String> {
    let patched = Outline::read(wire, body)?.with_tool(body, &json!({"name": "t"}));
    Some(String::from_utf8(patched.to_vec()).unwrap())
}

#[test]
fn a_tool_is_added_and_no_other_byte_changes() {
    let tool = r#"{"name":"t"}"#;
    for (body, patched) in [
        (
            r#"{"messages":[]}"#,
            format!(r#"{{"messages":[],"tools":[{tool}]}}"#),
        ),
        (
            "{\"messages\" : [1] \n}\n ",
            format!("{{\"messages\" : [1] \n,\"tools\":[{tool}]}}\n "),
        ),
        (
            r#"{"tools":[ ],"messages":[]}"#,
            format!(r#"{{"tools":[ {tool}],"messages":[]}}"#),
        ),
        (
            r#"{"tools":null,"messages":[]}"#,
            format!(r#"{{"tools":[{tool}],"messages":[]}}"#),
        ),
        (
            r#"{"messages":[],"t\u006fols": [{"a":1.50} ],"x":1e2}"#,
            format!(r#"{{"messages":[],"t\u006fols": [{{"a":1.50}} ,{tool}],"x":1e2}}"#),
        ),
    ] {
        assert_eq!(
            with_tool(Wire::Chat, body).as_deref(),
            Some(patched.as_str()),
            "{body}"
        );
    }
}

#[test]
fn turns_are_added_and_no_other_byte_changes() {
    for (wire, body, patched) in [
        (
            Wire::Chat,
            r#"{"messages":[ {"a":1} ],"z":0}"#,
            r#"{"messages":[ {"a":1} ,{"b":2},3],"z":0}"#,
        ),
        (
            Wire::Messages,
            r#"{"messages":[]}"#,
            r#"{"messages":[{"b":2},3]}"#,
        ),
        (Wire::Responses, r#"{"input":[1]}"#, r#"{"input":[1,{"b":2},3]}"#),
        (
            Wire::Responses,
            r#"{"input":"a\u00e9\n"}"#,
            r#"{"input":[{"role":"user","content":"a\u00e9\n"},{"b":2},3]}"#,
        ),
    ] {
        let outline = Outline::read(wire, body).unwrap();
        assert_eq!(
            outline.with_turns(body, &[json!({"b": 2}), json!(3)]),
            patched,
            "{body}"
        );
    }
}

#[test]
fn a_body_that_rules_the_tool_out_has_no_outline() {
    let unfit = [
        (Wire::Chat, r#"{"messages":[],"n":2}"#),
        (Wire::Chat, r#"{"messages":[],"tool_choice":"none"}"#),
        (Wire::Chat, r#"{"messages":[],"tool_choice":"required"}"#),
        (
            Wire::Chat,
            r#"{"messages":[],"tool_choice":{"type":"function","function":{"name":"a"}}}"#,
        ),
        (Wire::Chat, r#"{"messages":[],"functions":[]}"#),
        (Wire::Chat, r#"{"messages":[],"audio":{}}"#),
        (Wire::Chat, r#"{"messages":[],"tools":{}}"#),
        (Wire::Chat, r#"{"messages":[],"messages":[]}"#),
        (Wire::Chat, r#"{"messages":[],"tools":[],"tools":[]}"#),
        (Wire::Chat, r#"{"messages":"a"}"#),
        (Wire::Chat, "{}"),
        (Wire::Chat, r#"{"messages":[]"#),
        (Wire::Messages, r#"{"messages":[],"tool_choice":{"type":"any"}}"#),
        (
            Wire::Messages,
            r#"{"messages":[],"tool_choice":{"type":"tool","name":"a"}}"#,
        ),
        (Wire::Messages, r#"{"messages":[],"tool_choice":{"type":"none"}}"#),
        (Wire::Responses, r#"{"input":"a","background":true}"#),
        (
            Wire::Responses,
            r#"{"input":"a","tool_choice":{"type":"allowed_tools"}}"#,
        ),
        (Wire::Completions, r#"{"prompt":"a"}"#),
    ];
    for (wire, body) in unfit {
        assert_eq!(Outline::read(wire, body), None, "{body}");
    }
    let fit = [
        (
            Wire::Chat,
            r#"{"messages":[],"n":1,"tool_choice":"auto","functions":null,"stream":true}"#,
        ),
        (
            Wire::Messages,
            r#"{"messages":[],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}"#,
        ),
        (
            Wire::Responses,
            r#"{"input":"a","stream":false,"tool_choice":null}"#,
        ),
    ];
    for (wire, body) in fit {
        assert!(Outline::read(wire, body).is_some(), "{body}");
    }
}

#[test]
fn the_name_is_one_that_is_free() {
    let taken = |names: &[&str]| tool::name(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(taken(&["weather"]), "liquid_retrieve");
    assert_eq!(
        taken(&["liquid_retrieve_2", "liquid_retrieve"]),
        "liquid_retrieve_3"
    );
    let body = r#"{"tools":[{"name":"a"},{"function":{"name":"b"}},{"custom":{"name":"c"}},{"type":"web"}],"messages":[]}"#;
    assert_eq!(Outline::read(Wire::Chat, body).unwrap().names, ["a", "b", "c"]);
}

#[test]
fn usage_is_added_at_every_depth() {
    let mut sum = json!({"a": 1, "b": {"c": 2, "d": null}, "tier": "x", "cost": 0.5});
    usage::add(
        &mut sum,
        &json!({"a": 10, "b": {"c": 20, "d": 3}, "tier": "y", "cost": 0.25, "e": 7}),
    );
    assert_eq!(
        sum,
        json!({"a": 11, "b": {"c": 22, "d": null}, "tier": "x", "cost": 0.75, "e": 7})
    );
    usage::add(&mut sum, &json!(u64::MAX));
    let mut nothing = Value::Null;
    usage::add(&mut nothing, &json!({"a": 1}));
    assert_eq!(nothing, json!({"a": 1}));
}

fn read(wire: Wire, answer: &Value, may_ask: bool) -> Answer {
    let context = Context {
        wire,
        tool: "t",
        may_ask,
    };
    Answer::read(context, answer.to_string().as_bytes(), &mut Value::Null)
}

#[test]
fn an_answer_that_was_cut_or_leaves_something_to_the_application_is_final() {
    let message = |kinds: &[&str], reason: &str| {
        let blocks = kinds
            .iter()
            .map(|kind| json!({"type": kind, "name": "t", "id": "1", "input": {}}));
        json!({"content": blocks.collect::<Vec<_>>(), "stop_reason": reason})
    };
    assert!(matches!(
        read(Wire::Messages, &message(&["text", "tool_use"], "tool_use"), true),
        Answer::Asks(_)
    ));
    assert!(matches!(
        read(
            Wire::Messages,
            &message(&["server_tool_use", "tool_use"], "tool_use"),
            true
        ),
        Answer::Asks(_)
    ));
    for (answer, may_ask) in [
        (message(&["tool_use"], "max_tokens"), true),
        (message(&["tool_use"], "pause_turn"), true),
        (message(&["tool_use"], "tool_use"), false),
    ] {
        let Answer::Final(Final {
            body: Some(body),
            dropped,
        }) = read(Wire::Messages, &answer, may_ask)
        else {
            panic!("{answer}")
        };
        assert_eq!(dropped, 1);
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap()["content"],
            json!([])
        );
    }
    let mut item = json!({"output": [{"type": "function_call", "name": "t", "call_id": "1", "arguments": "{}"}], "status": "completed"});
    assert!(matches!(read(Wire::Responses, &item, true), Answer::Asks(_)));
    item["output"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "computer_call"}));
    assert!(matches!(read(Wire::Responses, &item, true), Answer::Final(_)));
}

#[test]
fn items_that_the_provider_does_not_keep_go_back_without_their_ids() {
    let call = json!({"type": "function_call", "id": "fc_1", "name": "t", "call_id": "1", "arguments": "{}"});
    let output = json!([{"type": "reasoning", "id": "rs_1"}, {"type": "reasoning", "id": "rs_2", "encrypted_content": "x"}, call]);
    let answer = json!({"output": output, "status": "completed", "store": false});
    let Answer::Asks(turn) = read(Wire::Responses, &answer, true) else {
        panic!()
    };
    let said = json!([{"type": "reasoning", "id": "rs_2", "encrypted_content": "x"},
        {"type": "function_call", "name": "t", "call_id": "1", "arguments": "{}"}]);
    assert_eq!(Value::from(turn.said), said);
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    format!(
        "data: {}\n\n",
        json!({"id": "1", "created": 1, "choices": [choice]})
    )
}

fn feed(splicer: &mut Splicer, stream: &str, borders: &[usize]) -> String {
    let mut out = Vec::new();
    let mut at = 0;
    for border in borders.iter().copied().chain([stream.len()]) {
        out.extend_from_slice(&splicer.feed(&stream.as_bytes()[at..border]));
        at = border;
    }
    out.extend_from_slice(&splicer.finish());
    String::from_utf8(out).unwrap()
}

#[test]
fn every_border_gives_the_same_answer() {
    let call =
        json!({"tool_calls": [{"index": 0, "id": "q", "function": {"name": "t", "arguments": "{\"é\":"}}]});
    let rest = json!({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]});
    let first = [
        chunk(&json!({"role": "assistant", "content": "Grüße 😀"}), None),
        ": keep-alive\r\n\r\n".to_owned(),
        chunk(&call, None),
        chunk(&rest, Some("tool_calls")),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let second = [
        chunk(&json!({"role": "assistant", "content": "!"}), None),
        chunk(&json!({}), Some("stop")),
    ]
    .concat();
    let splice = |border: Option<usize>| {
        let mut splicer = Splicer::new(Wire::Chat, "t".into(), true);
        let one = feed(&mut splicer, &first, border.as_slice());
        let turn = splicer.take_turn().unwrap();
        let two = feed(&mut splicer, &second, &[]);
        assert_eq!(splicer.take_turn(), None);
        (one, turn, two)
    };
    let whole = splice(None);
    assert_eq!(
        whole.0,
        chunk(&json!({"role": "assistant", "content": "Grüße 😀"}), None)
    );
    assert_eq!(
        whole.1.questions,
        [Question {
            id: "q".into(),
            arguments: "{\"é\":1}".into()
        }]
    );
    assert_eq!(
        whole.2,
        [
            chunk(&json!({"content": "!"}), None),
            chunk(&json!({}), Some("stop"))
        ]
        .concat()
    );
    for border in 0..first.len() {
        assert_eq!(splice(Some(border)), whole, "border {border}");
    }
}

#[test]
fn calls_that_share_an_index_are_told_apart_by_their_ids() {
    let piece =
        |id: &str, name: &str| json!({"index": 0, "id": id, "function": {"name": name, "arguments": "{}"}});
    let stream = [
        chunk(&json!({"tool_calls": [piece("q", "t")]}), None),
        chunk(&json!({"tool_calls": [piece("w", "weather")]}), None),
        chunk(&json!({}), Some("tool_calls")),
    ]
    .concat();
    let mut splicer = Splicer::new(Wire::Chat, "t".into(), true);
    let out = feed(&mut splicer, &stream, &[]);
    let expected = [
        chunk(&json!({"tool_calls": [piece("w", "weather")]}), None),
        chunk(&json!({}), Some("tool_calls")),
    ];
    assert_eq!(out, expected.concat());
    assert_eq!((splicer.take_turn(), splicer.take_dropped()), (None, 1));
}

#[test]
fn a_stream_that_was_cut_asks_nothing() {
    let call = json!({"tool_calls": [{"index": 0, "id": "q", "function": {"name": "t", "arguments": "{"}}]});
    for end in ["", &chunk(&json!({}), Some("length"))] {
        let mut splicer = Splicer::new(Wire::Chat, "t".into(), true);
        let out = feed(&mut splicer, &[&chunk(&call, None), end].concat(), &[]);
        assert_eq!((out.as_str(), splicer.take_turn()), (end, None));
    }
}

#[test]
fn an_error_event_passes_as_it_came() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    for wire in [Wire::Chat, Wire::Messages, Wire::Responses] {
        assert_eq!(feed(&mut Splicer::new(wire, "t".into(), true), error, &[]), error);
    }
}

/// JSON of the names that streams and answers have, in any place.
fn any_json() -> impl Strategy<Value = Value> {
    let names = [
        "type",
        "choices",
        "delta",
        "tool_calls",
        "index",
        "id",
        "function",
        "name",
        "arguments",
        "finish_reason",
        "usage",
        "message",
        "content",
        "content_block",
        "stop_reason",
        "input",
        "output",
        "citations",
        "status",
        "tools",
        "response",
        "item",
        "output_index",
        "sequence_number",
    ];
    let words = [
        "t",
        "tool_use",
        "tool_calls",
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "message_stop",
        "citations_delta",
        "text_delta",
        "input_json_delta",
        "function_call",
        "completed",
        "response.created",
        "response.output_item.added",
        "response.output_item.done",
        "response.completed",
        "",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<u64>().prop_map(Value::from),
        proptest::sample::select(words.to_vec()).prop_map(Value::from),
    ];
    let leaf = leaf.boxed();
    let names = names.to_vec();
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let key = proptest::sample::select(names.clone()).prop_map(str::to_owned);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_answer_and_no_stream_is_a_panic(values in proptest::collection::vec(any_json(), 1..8)) {
        for wire in [Wire::Chat, Wire::Messages, Wire::Responses] {
            for value in &values {
                read(wire, value, true);
                read(wire, value, false);
            }
            let stream: String = values.iter().map(|value| format!("data: {value}\n\n")).collect();
            let mut splicer = Splicer::new(wire, "t".into(), true);
            feed(&mut splicer, &stream, &[]);
            let _: Option<Turn> = splicer.take_turn();
            feed(&mut splicer, &stream, &[]);
        }
    }

    #[test]
    fn a_patched_body_says_the_same_and_the_tool(
        messages in proptest::collection::vec(any_json(), 0..4),
        tools in proptest::option::of(proptest::collection::vec(any_json(), 0..4)),
        first in any::<bool>(),
        pretty in any::<bool>(),
    ) {
        let mut body = json!({});
        if let (true, Some(tools)) = (first, &tools) {
            body["tools"] = json!(tools);
        }
        body["messages"] = json!(messages);
        if let (false, Some(tools)) = (first, &tools) {
            body["tools"] = json!(tools);
        }
        let text = if pretty { serde_json::to_string_pretty(&body).unwrap() } else { body.to_string() };
        let patched = with_tool(Wire::Chat, &text).unwrap();
        let mut listed = tools.unwrap_or_default();
        listed.push(json!({"name": "t"}));
        body["tools"] = listed.into();
        prop_assert_eq!(serde_json::from_str::<Value>(&patched).unwrap(), body);
        let added = patched.len() - text.len();
        let same = (0..=text.len()).any(|at| patched.starts_with(&text[..at]) && patched.ends_with(&text[at..]) && added > 0);
        prop_assert!(same, "{}", patched);
    }
}
