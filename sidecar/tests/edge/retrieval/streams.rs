//! Streams of chat completions.

use std::time::Duration;

use http_body_util::BodyExt;
use liquid_testing::{Canned, WorkerBehaviour};
use serde_json::{Value, json};

use super::{
    CHAT, ON, OTHER, about_warranty, bytewise, call, chat_call, count, data, events, weather, whole,
    with_worker, with_workers_behaviour,
};
use crate::support::{ask, eventually, open, post};

fn chunk(delta: Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
           "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn piece(index: u64, id: &str, name: &str) -> Value {
    json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}})
}

fn finish(reason: &str) -> Value {
    let mut chunk = chunk(json!({}));
    chunk["choices"][0]["finish_reason"] = reason.into();
    chunk
}

fn usage_chunk() -> Value {
    let mut chunk = chunk(json!({}));
    chunk["choices"] = json!([]);
    chunk["usage"] = json!({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110});
    chunk
}

/// A stream that says something and then asks.
fn asking_stream() -> Canned {
    let arguments = about_warranty().to_string();
    let (head, tail) = arguments.split_at(14);
    events(
        &[
            chunk(json!({"role": "assistant", "content": ""})),
            chunk(json!({"content": "Let me "})),
            chunk(json!({"content": "look. "})),
            chunk(json!({"tool_calls": [piece(0, "call_q", "liquid_retrieve")]})),
            chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": head}}]})),
            chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": tail}}]})),
            finish("tool_calls"),
            usage_chunk(),
        ],
        false,
    )
}

fn saying_stream() -> Canned {
    let mut chunks = vec![
        chunk(json!({"role": "assistant", "content": ""})),
        chunk(json!({"content": "Seventeen"})),
        chunk(json!({"content": " months."})),
        finish("stop"),
        usage_chunk(),
    ];
    for chunk in &mut chunks {
        chunk["id"] = "chatcmpl-2".into();
    }
    events(&chunks, false)
}

#[tokio::test]
async fn streams_of_several_rounds_are_one() {
    let (stack, _worker) = with_worker(ON).await;
    let fields = json!({"stream": true, "stream_options": {"include_usage": true}});
    for cut in [false, true] {
        stack.upstream.reset();
        for canned in [asking_stream(), saying_stream()] {
            stack.upstream.answer(if cut { bytewise(canned) } else { canned });
        }
        let answer = ask(&stack.url(CHAT), call(fields.clone())).await;
        assert!(answer.complete && answer.status == 200, "{}", answer.text());
        let data = data(&answer);
        let text: String = data
            .iter()
            .filter_map(|chunk| chunk.pointer("/choices/0/delta/content").and_then(Value::as_str))
            .collect();
        assert_eq!(text, "Let me look. Seventeen months.");
        let roles = data
            .iter()
            .filter(|chunk| chunk.pointer("/choices/0/delta/role").is_some());
        assert_eq!(roles.count(), 1);
        let ends: Vec<_> = data
            .iter()
            .filter_map(|chunk| chunk.pointer("/choices/0/finish_reason").and_then(Value::as_str))
            .collect();
        assert_eq!(ends, ["stop"]);
        let (done, chunks) = data.split_last().unwrap();
        assert_eq!(done, "[DONE]");
        assert!(
            chunks.iter().all(|chunk| chunk["id"] == "chatcmpl-1"),
            "{}",
            answer.text()
        );
        let usage: Vec<_> = chunks.iter().filter(|chunk| chunk["usage"].is_object()).collect();
        assert_eq!(usage.len(), 1);
        assert_eq!(
            usage[0]["usage"],
            json!({"prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220})
        );
        assert!(!answer.text().contains("tool_calls"), "{}", answer.text());

        let second = stack.upstream.requests()[1].json()["messages"].clone();
        assert_eq!(
            second[2],
            json!({"content": "Let me look. ", "role": "assistant",
            "tool_calls": [chat_call("call_q", "liquid_retrieve", &about_warranty())]})
        );
        assert!(second[3]["content"].as_str().unwrap().contains(OTHER));
    }
    let input = "gen_ai_client_token_usage_sum{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_token_type=\"input\"}";
    assert!((stack.sidecar.metric(input) - 400.0).abs() < 0.5);
}

#[tokio::test]
async fn a_stream_without_questions_is_the_same_bytes() {
    let (stack, _worker) = with_worker(ON).await;
    let canned = saying_stream();
    let sent = canned.body.concat();
    stack.upstream.answer(canned);
    let answer = ask(&stack.url(CHAT), call(json!({"stream": true}))).await;
    assert_eq!(answer.body, sent);
}

#[tokio::test]
async fn a_second_stream_that_fails_breaks_the_answer() {
    let (stack, _worker) = with_worker(ON).await;
    let error = Canned {
        status: 500,
        ..whole(&json!({"error": {"message": "no"}}))
    };
    let mut cut = saying_stream();
    cut.body.truncate(2);
    for second in [error, cut] {
        stack.upstream.answer(asking_stream());
        stack.upstream.answer(second);
        let answer = ask(&stack.url(CHAT), call(json!({"stream": true}))).await;
        assert!(
            !answer.complete && answer.text().contains("Let me "),
            "{}",
            answer.text()
        );
        assert!(answer.text().contains("upstream_broken"), "{}", answer.text());
        assert!(!answer.text().contains("[DONE]"));
    }
}

#[tokio::test]
async fn text_does_not_wait_for_a_question_and_a_client_that_goes_ends_it() {
    let slow = WorkerBehaviour::Slow(Duration::from_millis(1500));
    let (stack, worker) = with_workers_behaviour(ON, vec![slow]).await;
    stack.upstream.answer(asking_stream());
    let mut body = open(post(&stack.url(CHAT), call(json!({"stream": true}))))
        .await
        .into_body();
    let mut text = String::new();
    while !text.contains("look. ") {
        let frame = body.frame().await.unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap()));
    }
    eventually("the worker is asked", || worker.arrived() == 2).await;
    assert_eq!(worker.answered(), 1);
    drop(body);
    eventually("the call has ended", || {
        stack.sidecar.metric("liquid_sidecar_requests_in_flight") < 0.5
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1800)).await;
    assert_eq!((worker.answered(), stack.upstream.requests().len()), (1, 1));
}

#[tokio::test]
async fn of_a_stream_too_the_application_gets_its_own_calls_alone() {
    let (stack, _worker) = with_worker(ON).await;
    let chunks = [
        chunk(
            json!({"role": "assistant", "content": null, "tool_calls": [piece(0, "call_q", "liquid_retrieve")]}),
        ),
        chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": about_warranty().to_string()}}]})),
        chunk(json!({"tool_calls": [piece(1, "call_w", "weather")]})),
        chunk(json!({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]})),
        finish("tool_calls"),
    ];
    stack.upstream.answer(events(&chunks, false));
    let answer = ask(
        &stack.url(CHAT),
        call(json!({"tools": [weather()], "stream": true})),
    )
    .await;
    let data = data(&answer);
    let pieces: Vec<&Value> = data
        .iter()
        .filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0"))
        .collect();
    assert_eq!(
        pieces,
        [
            &piece(0, "call_w", "weather"),
            &json!({"index": 0, "function": {"arguments": "{}"}})
        ]
    );
    assert!(answer.complete && answer.text().contains("\"finish_reason\":\"tool_calls\""));
    assert_eq!(stack.upstream.requests().len(), 1);
    assert!((count(&stack, "dropped") - 1.0).abs() < 0.1);
}
