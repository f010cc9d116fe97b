//! Messages, and a provider that speaks another API.

use liquid_testing::Canned;
use serde_json::{Value, json};

use super::{CHAT, ON, OTHER, about_warranty, bytewise, call, data, events, whole, with_worker};
use crate::support::{Answer, ask};

fn message(id: &str, content: &Value, reason: &str) -> Value {
    json!({"id": id, "type": "message", "role": "assistant", "model": "m", "content": content,
           "stop_reason": reason, "stop_sequence": null,
           "usage": {"input_tokens": 100, "output_tokens": 10, "cache_read_input_tokens": 30}})
}

fn tool_use() -> Value {
    json!({"type": "tool_use", "id": "toolu_q", "name": "liquid_retrieve", "input": about_warranty()})
}

fn thinking() -> Value {
    json!({"type": "thinking", "thinking": "Hm.", "signature": "c2ln"})
}

#[tokio::test]
async fn a_message_with_a_question_is_answered() {
    let (stack, _worker) = with_worker(ON).await;
    let text = |text: &str| json!({"type": "text", "text": text});
    stack.upstream.answer(whole(&message(
        "msg_1",
        &json!([thinking(), text("Let me look."), tool_use()]),
        "tool_use",
    )));
    stack.upstream.answer(whole(&message(
        "msg_2",
        &json!([text("Seventeen months.")]),
        "end_turn",
    )));
    let answer = ask(&stack.url("/v1/messages"), call(json!({"max_tokens": 99}))).await;
    let json = answer.json();
    assert_eq!(json["content"], json!([text("Seventeen months.")]), "{json}");
    assert_eq!(
        json["usage"],
        json!({"input_tokens": 200, "output_tokens": 20, "cache_read_input_tokens": 60})
    );
    let requests = stack.upstream.requests();
    assert_eq!(requests[0].json()["tools"][0]["name"], "liquid_retrieve");
    let turns = requests[1].json()["messages"].clone();
    assert_eq!(
        turns[2]["content"],
        json!([thinking(), text("Let me look."), tool_use()])
    );
    let result = &turns[3]["content"][0];
    assert_eq!(
        (&result["type"], &result["tool_use_id"]),
        (&json!("tool_result"), &json!("toolu_q"))
    );
    assert!(result["content"].as_str().unwrap().contains(OTHER) && result.get("is_error").is_none());
}

/// The events of a message of blocks, each with its deltas.
fn message_stream(id: &str, blocks: &[(Value, Vec<Value>)], reason: &str) -> Canned {
    let mut start = message(id, &json!([]), "");
    start["stop_reason"] = Value::Null;
    start["usage"]["output_tokens"] = 1.into();
    let mut all = vec![
        json!({"type": "message_start", "message": start}),
        json!({"type": "ping"}),
    ];
    for (index, (block, deltas)) in blocks.iter().enumerate() {
        all.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        let deltas = deltas
            .iter()
            .map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta}));
        all.extend(deltas);
        all.push(json!({"type": "content_block_stop", "index": index}));
    }
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    all.push(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 10}}));
    all.push(json!({"type": "message_stop"}));
    events(&all, true)
}

/// A stream that thinks, says something and then asks.
fn asking_stream() -> Canned {
    let thinks = (
        json!({"type": "thinking", "thinking": "", "signature": ""}),
        vec![
            json!({"type": "thinking_delta", "thinking": "Hm."}),
            json!({"type": "signature_delta", "signature": "c2ln"}),
        ],
    );
    let arguments = about_warranty().to_string();
    let (head, tail) = arguments.split_at(9);
    let asks = (
        json!({"type": "tool_use", "id": "toolu_q", "name": "liquid_retrieve", "input": {}}),
        vec![
            json!({"type": "input_json_delta", "partial_json": head}),
            json!({"type": "input_json_delta", "partial_json": tail}),
        ],
    );
    message_stream("msg_1", &[thinks, text_block("Let me look."), asks], "tool_use")
}

/// A text block and its delta.
fn text_block(text: &str) -> (Value, Vec<Value>) {
    let delta = json!({"type": "text_delta", "text": text});
    (json!({"type": "text", "text": ""}), vec![delta])
}

#[tokio::test]
async fn message_streams_of_several_rounds_are_one() {
    let (stack, _worker) = with_worker(ON).await;
    let last = message_stream("msg_2", &[text_block("Seventeen months.")], "end_turn");
    for cut in [false, true] {
        stack.upstream.reset();
        for canned in [asking_stream(), last.clone()] {
            stack.upstream.answer(if cut { bytewise(canned) } else { canned });
        }
        let fields = json!({"max_tokens": 99, "stream": true});
        let answer = ask(&stack.url("/v1/messages"), call(fields)).await;
        assert!(
            answer.complete && !answer.text().contains("liquid_retrieve"),
            "{}",
            answer.text()
        );
        check_events(&answer);
        let turns = stack.upstream.requests()[1].json()["messages"].clone();
        let said = json!([thinking(), {"type": "text", "text": "Let me look."}, tool_use()]);
        assert_eq!(turns[2]["content"], said);
        assert!(
            turns[3]["content"][0]["content"]
                .as_str()
                .unwrap()
                .contains(OTHER)
        );
    }
}

/// Checks that the events are those of one message of three blocks.
fn check_events(answer: &Answer) {
    let data = data(answer);
    let kinds: Vec<_> = data
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .filter(|kind| *kind != "ping")
        .collect();
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    let mut expected = vec!["message_start", "content_block_start", "content_block_delta"];
    expected.extend(["content_block_delta", "content_block_stop"]);
    expected.extend([block, block].concat());
    expected.extend(["message_delta", "message_stop"]);
    assert_eq!(kinds, expected, "{}", answer.text());
    let starts = data.iter().filter(|event| event["type"] == "content_block_start");
    let indexes: Vec<_> = starts.map(|event| event["index"].as_u64()).collect();
    assert_eq!(indexes, [Some(0), Some(1), Some(2)]);
    let end = data
        .iter()
        .find(|event| event["type"] == "message_delta")
        .unwrap();
    assert_eq!(end["delta"]["stop_reason"], "end_turn");
    let usage = json!({"output_tokens": 20, "input_tokens": 200, "cache_read_input_tokens": 60});
    assert_eq!(end["usage"], usage);
}

#[tokio::test]
async fn a_wrong_question_in_a_message_is_marked_as_an_error() {
    let (stack, _worker) = with_worker(ON).await;
    let mut wrong = tool_use();
    wrong["input"] = json!({"document": "zzzz"});
    stack
        .upstream
        .answer(whole(&message("msg_1", &json!([wrong]), "tool_use")));
    assert_eq!(
        ask(&stack.url("/v1/messages"), call(json!({"max_tokens": 99})))
            .await
            .status,
        200
    );
    let result = stack.upstream.last().unwrap().json()["messages"][3]["content"][0].clone();
    assert_eq!(result["is_error"], true, "{result}");
}

const ANTHROPIC: &str = "[policy.retrieval]\nenabled = true\n[upstream]\nmodel = \"anthropic/claude\"";

/// Checks that a stream of chunks says what the model said in both rounds, and nothing of its question.
fn check_chunks(answer: &Answer) {
    assert!(
        answer.complete && !answer.text().contains("liquid_retrieve"),
        "{}",
        answer.text()
    );
    let data = data(answer);
    let said: String = data
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(said, "Let me look.Seventeen months.");
    let finishes: Vec<_> = data
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str())
        .collect();
    assert_eq!(finishes, ["stop"]);
    let usage = data.iter().filter(|chunk| chunk["usage"].is_object());
    let usage: Vec<_> = usage
        .map(|chunk| {
            (
                &chunk["usage"]["completion_tokens"],
                &chunk["usage"]["prompt_tokens"],
            )
        })
        .collect();
    // Anthropic counts what was read from a cache apart: 100 and 30, twice.
    assert_eq!(usage, [(&json!(20), &json!(260))]);
    assert_eq!(data.last(), Some(&json!("[DONE]")));
}

#[tokio::test]
async fn translated_streams_of_several_rounds_are_one() {
    let (stack, _worker) = with_worker(ANTHROPIC).await;
    let last = message_stream("msg_2", &[text_block("Seventeen months.")], "end_turn");
    let text = json!([{"type": "text", "text": "Let me look."}, tool_use()]);
    let whole_one = whole(&message("msg_1", &text, "tool_use"));
    let fields = json!({"stream": true, "stream_options": {"include_usage": true}});
    // An upstream may answer a call for a stream with a message in one piece.
    for first in [asking_stream(), bytewise(asking_stream()), whole_one] {
        stack.upstream.reset();
        stack.upstream.answer(first);
        stack.upstream.answer(last.clone());
        let answer = ask(&stack.url(CHAT), call(fields.clone())).await;
        check_chunks(&answer);
        assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
        let requests = stack.upstream.requests();
        assert_eq!(requests[0].json()["tools"][0]["name"], "liquid_retrieve");
        let turns = requests[1].json()["messages"].clone();
        assert_eq!(turns[1]["content"][1]["id"], "toolu_q", "{turns}");
        assert!(turns[2].to_string().contains(OTHER), "{turns}");
    }
}

#[tokio::test]
async fn a_translated_stream_that_begins_with_an_error_has_its_status() {
    let (stack, _worker) = with_worker(ANTHROPIC).await;
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}});
    stack.upstream.answer(events(&[error], true));
    let answer = ask(&stack.url(CHAT), call(json!({"stream": true}))).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
}

#[tokio::test]
async fn a_translated_answer_is_answered_unless_its_form_is_a_schema() {
    let (stack, _worker) = with_worker(ANTHROPIC).await;
    stack
        .upstream
        .answer(whole(&message("msg_1", &json!([tool_use()]), "tool_use")));
    let text = json!([{"type": "text", "text": "Seventeen months."}]);
    stack.upstream.answer(whole(&message("msg_2", &text, "end_turn")));
    let answer = ask(&stack.url(CHAT), call(json!({}))).await;
    let json = answer.json();
    assert_eq!(
        json["choices"][0]["message"]["content"], "Seventeen months.",
        "{json}"
    );
    assert_eq!(json["usage"]["completion_tokens"], 20);
    let turns = stack.upstream.last().unwrap().json()["messages"].clone();
    assert!(turns.to_string().contains(OTHER), "{turns}");

    let schema = json!({"name": "months", "schema": {"type": "object", "properties": {"months": {"type": "integer"}}}});
    let format = json!({"response_format": {"type": "json_schema", "json_schema": schema}});
    let answer = ask(&stack.url(CHAT), call(format)).await;
    assert_eq!(
        (answer.status, answer.header("x-liquid-decision")),
        (200, "compressed")
    );
    let sent = stack.upstream.last().unwrap().json().to_string();
    assert!(!sent.contains("liquid_retrieve"), "{sent}");
}
