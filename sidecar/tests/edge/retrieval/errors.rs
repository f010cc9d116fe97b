//! What cannot be answered, and what comes to an end.

use std::time::Duration;

use bytes::Bytes;
use liquid_testing::{Canned, WorkerBehaviour};
use serde_json::json;
use tonic::Code;

use super::{
    CHAT, ON, OTHER, QUESTION, about_warranty, asks, call, count, document, name, says, whole, with_worker,
    with_workers_behaviour,
};
use crate::support::ask;

#[tokio::test]
async fn what_is_wrong_with_a_question_is_said_to_the_model() {
    let (stack, _worker) = with_worker(ON).await;
    let length = document().len();
    for (arguments, result, says_so) in [
        (
            json!({"document": "zzzz", "question": "Which?"}),
            "unknown_document",
            name(),
        ),
        (
            json!({"document": name(), "start": length, "end": length + 9}),
            "bad_range",
            length.to_string(),
        ),
        (
            json!({"document": name(), "start": 9, "end": 3}),
            "bad_range",
            "9 to 3".into(),
        ),
        (json!({"document": name()}), "bad_arguments", "question".into()),
        (json!({"start": 4}), "bad_arguments", "document".into()),
        (
            json!({"document": name(), "question": "Xylophone?"}),
            "nothing",
            name(),
        ),
        (
            json!({"document": name(), "start": 10, "end": 30}),
            "range",
            document()[10..30].into(),
        ),
    ] {
        stack.upstream.answer(whole(&asks(&arguments)));
        stack.upstream.answer(whole(&says("Well.")));
        let answer = ask(&stack.url(CHAT), call(json!({}))).await;
        assert_eq!(
            answer.json()["choices"][0]["message"]["content"],
            "Well.",
            "{arguments}"
        );
        let told = stack.upstream.last().unwrap().json()["messages"][3]["content"].clone();
        assert!(told.as_str().unwrap().contains(&says_so), "{arguments}: {told}");
        assert!(count(&stack, result) > 0.5, "{result}");
    }
}

#[tokio::test]
async fn a_long_range_is_cut_and_a_forgotten_document_is_said_to_be_gone() {
    let (stack, _worker) = with_worker("[policy.retrieval]\nenabled = true\nmax_answer_tokens = 50").await;
    stack.upstream.answer(whole(&asks(
        &json!({"document": name(), "start": 0, "end": 9000}),
    )));
    ask(&stack.url(CHAT), call(json!({}))).await;
    let told = stack.upstream.last().unwrap().json()["messages"][3]["content"].clone();
    let told = told.as_str().unwrap();
    assert!(
        told.len() < 600 && told.contains("goes on to byte 9000"),
        "{told}"
    );

    let (small, _worker) = with_worker("[policy.retrieval]\nenabled = true\nstore_bytes = 1000").await;
    small.upstream.answer(whole(&asks(&about_warranty())));
    let answer = ask(&small.url(CHAT), call(json!({}))).await;
    assert_eq!(answer.status, 200);
    assert!(count(&small, "forgotten") > 0.5);
}

#[tokio::test]
async fn no_more_than_max_rounds_are_answered() {
    let (stack, _worker) = with_worker("[policy.retrieval]\nenabled = true\nmax_rounds = 1").await;
    for _ in 0..3 {
        stack.upstream.answer(whole(&asks(&about_warranty())));
    }
    let answer = ask(&stack.url(CHAT), call(json!({}))).await;
    let choice = answer.json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(
        choice["message"],
        json!({"role": "assistant", "content": "", "refusal": null})
    );
    assert_eq!(answer.json()["usage"]["completion_tokens"], 30);
    let requests = stack.upstream.requests();
    assert_eq!(requests.len(), 3);
    let told = requests[2].json()["messages"][5]["content"].clone();
    assert!(told.as_str().unwrap().contains("nothing more"), "{told}");
    for result in ["passages", "exhausted", "dropped"] {
        assert!((count(&stack, result) - 1.0).abs() < 0.1, "{result}");
    }
}

#[tokio::test]
async fn a_second_round_that_fails_fails_the_call() {
    let (stack, _worker) = with_worker(ON).await;
    stack.upstream.answer(whole(&asks(&about_warranty())));
    stack.upstream.answer(Canned {
        status: 500,
        headers: vec![("content-type".into(), "application/json".into())],
        body: vec![Bytes::from_static(b"{\"error\":{\"message\":\"no\"}}")],
    });
    let answer = ask(&stack.url(CHAT), call(json!({}))).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (500, "{\"error\":{\"message\":\"no\"}}")
    );
    assert_eq!(stack.upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_worker_that_fails_is_an_error_to_the_model() {
    let refuses = WorkerBehaviour::Fail(Code::InvalidArgument, Duration::ZERO);
    let (stack, _worker) = with_workers_behaviour(ON, vec![refuses]).await;
    stack.upstream.answer(whole(&asks(&about_warranty())));
    stack.upstream.answer(whole(&says("Well.")));
    let answer = ask(&stack.url(CHAT), call(json!({}))).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Well.");
    let told = stack.upstream.last().unwrap().json()["messages"][3]["content"].clone();
    assert!(told.as_str().unwrap().contains("start and end"), "{told}");
    assert!(count(&stack, "no_worker") > 0.5);
}

#[tokio::test]
async fn the_document_of_another_call_is_none_of_this_one() {
    let (stack, _worker) = with_worker(ON).await;
    ask(&stack.url(CHAT), call(json!({}))).await;
    let other = document().replace("Clause 7 ", "Paragraph 7 ");
    let messages = json!([{"role": "user", "content": other}, {"role": "user", "content": QUESTION}]);
    stack.upstream.answer(whole(&asks(&about_warranty())));
    stack.upstream.answer(whole(&says("Well.")));
    let answer = ask(&stack.url(CHAT), call(json!({"messages": messages}))).await;
    assert_eq!(
        (answer.status, answer.header("x-liquid-decision")),
        (200, "compressed")
    );
    let told = stack.upstream.last().unwrap().json()["messages"][3]["content"].clone();
    let told = told.as_str().unwrap();
    assert!(
        told.starts_with("Error") && !told.contains(OTHER) && !told.contains(&name()),
        "{told}"
    );
    assert!(count(&stack, "unknown_document") > 0.5);
}
