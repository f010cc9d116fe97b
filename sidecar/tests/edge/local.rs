//! `local/extractive` in the shape of each API, whole and streamed.

use crate::support::{ask, stack};

const LOCAL: &str = "[upstream]\nmodel = \"local/extractive\"";

#[tokio::test]
async fn answers_honestly_without_a_document() {
    let stack = stack(LOCAL).await;
    let body =
        r#"{"model":"m","max_tokens":9,"n":2,"messages":[{"role":"user","content":"How tall is it?"}]}"#;
    let chat = ask(&stack.url("/v1/chat/completions"), body).await.json();
    let said = chat["choices"][1]["message"]["content"].as_str().unwrap();
    assert!(
        said.starts_with("Extractive answer: no language model was used"),
        "{said}"
    );
    assert_eq!(
        (chat["object"].as_str(), chat["choices"].as_array().map(Vec::len)),
        (Some("chat.completion"), Some(2))
    );
    assert!(chat["usage"]["completion_tokens"].as_u64().unwrap() > 0);

    let message = ask(&stack.url("/v1/messages"), body.replace(",\"n\":2", ""))
        .await
        .json();
    assert_eq!(
        (message["type"].as_str(), message["stop_reason"].as_str()),
        (Some("message"), Some("end_turn"))
    );
    assert_eq!(message["content"][0]["text"], said);

    let response = ask(
        &stack.url("/v1/responses"),
        r#"{"model":"m","input":"How tall is it?"}"#,
    )
    .await
    .json();
    assert_eq!(
        (response["object"].as_str(), response["status"].as_str()),
        (Some("response"), Some("completed"))
    );
    assert_eq!(response["output"][0]["content"][0]["text"], said);

    let body = r#"{"model":"m","n":2,"prompt":"How tall is it?"}"#;
    let completion = ask(&stack.url("/v1/completions"), body).await.json();
    assert_eq!(completion["object"].as_str(), Some("text_completion"));
    assert_eq!(completion["choices"][1]["text"], said);
    assert!(completion["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    assert!(stack.upstream.requests().is_empty());
}

#[tokio::test]
async fn streams_end_with_their_apis_final_event() {
    let stack = stack(LOCAL).await;
    for (path, end) in [
        ("/v1/chat/completions", "data: [DONE]\n\n"),
        ("/v1/completions", "data: [DONE]\n\n"),
        ("/v1/responses", "event: response.completed\n"),
        (
            "/v1/messages",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ),
    ] {
        let body = r#"{"model":"m","max_tokens":9,"stream":true,"stream_options":{"include_usage":true},
                       "input":"How tall is it?","prompt":"How tall is it?","messages":[{"role":"user","content":"How tall is it?"}]}"#;
        let answer = ask(&stack.url(path), body).await;
        assert!(
            answer.header("content-type").starts_with("text/event-stream"),
            "{path}"
        );
        assert!(
            answer.complete && answer.text().contains(end),
            "{path}: {}",
            answer.text()
        );
        assert!(answer.text().contains("tokens"), "{path}");
    }
}

#[tokio::test]
async fn refuses_what_it_cannot_do_and_lists_itself() {
    let stack = stack(LOCAL).await;
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema"}}"#;
    let refused = ask(&stack.url("/v1/chat/completions"), body).await;
    assert_eq!(
        (refused.status, refused.json()["error"]["param"].as_str()),
        (400, Some("response_format"))
    );
    let request = http::Request::get(stack.url("/v1/models"))
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(
        crate::support::send(request).await.json()["data"][0]["id"],
        "local/extractive"
    );
    assert_eq!(ask(&stack.url("/v1/embeddings"), "{}").await.status, 404);
}
