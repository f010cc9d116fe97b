//! Responses, whole and streamed.

use liquid_testing::Canned;
use serde_json::{Value, json};

use super::{ON, OTHER, QUESTION, about_warranty, bytewise, data, document, events, whole, with_worker};
use crate::support::{Answer, ask};

fn response(id: &str, output: &Value, tools: &Value) -> Value {
    json!({"id": id, "object": "response", "status": "completed", "model": "m", "store": true, "output": output,
           "tools": tools, "usage": {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}})
}

#[tokio::test]
async fn a_response_with_a_question_is_answered() {
    let (stack, _worker) = with_worker(ON).await;
    let call = json!({"type": "function_call", "id": "fc_1", "call_id": "call_q", "name": "liquid_retrieve",
                      "arguments": about_warranty().to_string(), "status": "completed"});
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": []});
    let said = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                      "content": [{"type": "output_text", "text": "Seventeen months.", "annotations": []}]});
    let tools = json!([{"type": "function", "name": "liquid_retrieve", "parameters": {}}]);
    stack
        .upstream
        .answer(whole(&response("resp_1", &json!([reasoning, call]), &tools)));
    stack
        .upstream
        .answer(whole(&response("resp_2", &json!([said]), &tools)));
    let prompt = format!("{}\n\n{QUESTION}", document());
    let answer = ask(
        &stack.url("/v1/responses"),
        json!({"model": "m", "input": prompt}).to_string(),
    )
    .await;
    assert_eq!(
        answer.header("x-liquid-decision"),
        "compressed",
        "{:?}",
        answer.headers
    );
    let json = answer.json();
    assert_eq!(
        (&json["output"], &json["tools"], &json["id"]),
        (&json!([said]), &json!([]), &json!("resp_2"))
    );
    assert_eq!(
        json["usage"],
        json!({"input_tokens": 200, "output_tokens": 20, "total_tokens": 220})
    );
    let requests = stack.upstream.requests();
    let (first, second) = (requests[0].json(), requests[1].json());
    assert_eq!(
        second["input"][0],
        json!({"role": "user", "content": first["input"]})
    );
    assert_eq!((&second["input"][1], &second["input"][2]), (&reasoning, &call));
    assert_eq!(second["input"][3]["call_id"], "call_q");
    assert!(second["input"][3]["output"].as_str().unwrap().contains(OTHER));
}

fn question() -> Value {
    json!({"type": "function_call", "id": "fc_1", "call_id": "call_q", "name": "liquid_retrieve",
           "arguments": about_warranty().to_string(), "status": "completed"})
}

fn weather_call() -> Value {
    json!({"type": "function_call", "id": "fc_2", "call_id": "call_w", "name": "weather", "arguments": "{}",
           "status": "completed"})
}

fn said(id: &str, text: &str) -> Value {
    json!({"type": "message", "id": id, "role": "assistant", "status": "completed",
           "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

/// The events of an item: its beginning, a piece, its end.
fn of_item(index: usize, item: &Value) -> [Value; 3] {
    let kind = match item["type"].as_str() {
        Some("function_call") => "response.function_call_arguments.delta",
        _ => "response.output_text.delta",
    };
    [
        json!({"type": "response.output_item.added", "output_index": index, "item": item}),
        json!({"type": kind, "output_index": index, "item_id": item["id"], "delta": "d"}),
        json!({"type": "response.output_item.done", "output_index": index, "item": item}),
    ]
}

/// A stream of a response with these items. Where `is_told` is false, the end does not repeat them.
fn stream(id: &str, items: &[Value], is_told: bool) -> Canned {
    let tools = json!([{"type": "function", "name": "liquid_retrieve", "parameters": {}}]);
    let mut started = response(id, &json!([]), &tools);
    started["status"] = "in_progress".into();
    started["usage"] = Value::Null;
    let output = if is_told { json!(items) } else { json!([]) };
    let mut all = vec![
        json!({"type": "response.created", "response": started}),
        json!({"type": "response.in_progress", "response": started}),
    ];
    all.extend(
        items
            .iter()
            .enumerate()
            .flat_map(|(index, item)| of_item(index, item)),
    );
    all.push(json!({"type": "response.completed", "response": response(id, &output, &tools)}));
    for (number, event) in all.iter_mut().enumerate() {
        event["sequence_number"] = number.into();
    }
    events(&all, true)
}

fn streamed_call() -> String {
    let prompt = format!("{}\n\n{QUESTION}", document());
    json!({"model": "m", "stream": true, "input": prompt}).to_string()
}

/// Checks that the events are those of one response with these items, numbered without a gap; returns its end.
fn check_events(answer: &Answer, items: &[Value]) -> Value {
    let data = data(answer);
    let mut expected = vec!["response.created".to_owned(), "response.in_progress".to_owned()];
    let item_events = items
        .iter()
        .enumerate()
        .flat_map(|(index, item)| of_item(index, item));
    let item_events: Vec<Value> = item_events.collect();
    expected.extend(
        item_events
            .iter()
            .map(|event| event["type"].as_str().unwrap().to_owned()),
    );
    expected.push("response.completed".to_owned());
    let kinds: Vec<&str> = data.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, expected, "{}", answer.text());
    for (number, event) in data.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    for (event, expected) in data[2..].iter().zip(&item_events) {
        assert_eq!(event["output_index"], expected["output_index"]);
    }
    data.last().unwrap()["response"].clone()
}

#[tokio::test]
async fn response_streams_of_several_rounds_are_one() {
    let (stack, _worker) = with_worker(ON).await;
    let (first, last) = (said("msg_1", "Let me look."), said("msg_2", "Seventeen months."));
    for (cut, is_told) in [(false, true), (true, true), (false, false)] {
        stack.upstream.reset();
        let streams = [
            stream("resp_1", &[first.clone(), question()], is_told),
            stream("resp_2", std::slice::from_ref(&last), is_told),
        ];
        for canned in streams {
            stack.upstream.answer(if cut { bytewise(canned) } else { canned });
        }
        let answer = ask(&stack.url("/v1/responses"), streamed_call()).await;
        assert!(
            answer.complete && !answer.text().contains("liquid_retrieve"),
            "{}",
            answer.text()
        );
        let end = check_events(&answer, &[first.clone(), last.clone()]);
        assert_eq!(
            (&end["id"], &end["output"]),
            (&json!("resp_1"), &json!([first, last]))
        );
        let usage = json!({"input_tokens": 200, "output_tokens": 20, "total_tokens": 220});
        assert_eq!(end["usage"], usage);
        let second = stack.upstream.requests()[1].json();
        assert_eq!((&second["input"][1], &second["input"][2]), (&first, &question()));
        assert!(second["input"][3]["output"].as_str().unwrap().contains(OTHER));
    }
}

#[tokio::test]
async fn a_response_that_begins_with_a_question_is_known_by_the_last_id_alone() {
    let (stack, _worker) = with_worker(ON).await;
    let last = said("msg_2", "Seventeen months.");
    stack.upstream.answer(stream("resp_1", &[question()], true));
    stack
        .upstream
        .answer(stream("resp_2", std::slice::from_ref(&last), true));
    let answer = ask(&stack.url("/v1/responses"), streamed_call()).await;
    check_events(&answer, &[last]);
    let ids = data(&answer)
        .into_iter()
        .filter_map(|event| event["response"]["id"].as_str().map(str::to_owned));
    assert_eq!(ids.collect::<Vec<_>>(), ["resp_2"; 3]);
}

#[tokio::test]
async fn of_a_response_stream_the_application_gets_its_own_calls_alone() {
    let (stack, _worker) = with_worker(ON).await;
    stack
        .upstream
        .answer(stream("resp_1", &[question(), weather_call()], true));
    let answer = ask(&stack.url("/v1/responses"), streamed_call()).await;
    let end = check_events(&answer, &[weather_call()]);
    assert_eq!(end["output"], json!([weather_call()]));
    assert_eq!(stack.upstream.requests().len(), 1);
}
