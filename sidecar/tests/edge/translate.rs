//! An OpenAI client in front of an Anthropic upstream.

use serde_json::json;

use crate::support::{ask, stack};

const CLAUDE: &str = "[upstream]\nmodel = \"anthropic/claude-x\"\nretries = 0";

#[tokio::test]
async fn a_chat_call_becomes_a_message_and_its_answer_a_completion() {
    let stack = stack(CLAUDE).await;
    let body = json!({"model": "gpt", "max_tokens": 50, "messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "How tall is it?"}]});
    let answer = ask(&stack.url("/v1/chat/completions"), body.to_string()).await;
    let received = stack.upstream.last().unwrap();
    assert_eq!(received.path, "/v1/messages");
    assert_eq!(
        (received.header("x-api-key"), received.header("authorization")),
        (Some("sk-test"), None)
    );
    assert_eq!(received.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(
        received.json(),
        json!({"model": "claude-x", "max_tokens": 50, "system": [{"type": "text", "text": "Be brief."}],
               "messages": [{"role": "user", "content": [{"type": "text", "text": "How tall is it?"}]}]})
    );
    let json = answer.json();
    assert_eq!(
        (answer.status, json["object"].as_str()),
        (200, Some("chat.completion"))
    );
    assert_eq!(json["choices"][0]["finish_reason"], "stop");
    assert!(
        json["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .contains("sha256")
    );
    assert!(json["usage"]["total_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_stream_is_translated_whatever_the_borders() {
    let stack = stack(CLAUDE.replace("claude-x", "mock-chunk-1").as_str()).await;
    let body = json!({"model": "gpt", "stream": true, "stream_options": {"include_usage": true},
                      "messages": [{"role": "user", "content": "Grüße"}]});
    let answer = ask(&stack.url("/v1/chat/completions"), body.to_string()).await;
    let text = answer.text();
    assert!(answer.complete && text.ends_with("data: [DONE]\n\n"), "{text}");
    let chunks: Vec<serde_json::Value> = text
        .split("\n\n")
        .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok())
        .collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let said: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert!(said.contains("sha256"), "{said}");
    let last = chunks.last().unwrap();
    assert!(last["choices"].as_array().unwrap().is_empty() && last["usage"]["prompt_tokens"].is_u64());
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn errors_and_broken_streams_are_openais() {
    let limited = stack(CLAUDE.replace("claude-x", "mock-429+retry-after-3").as_str()).await;
    let body =
        json!({"model": "gpt", "stream": true, "messages": [{"role": "user", "content": "x"}]}).to_string();
    let answer = ask(&limited.url("/v1/chat/completions"), body.clone()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "3"));
    assert_eq!(answer.json()["error"]["code"], "rate_limit_error");

    let cut = stack(CLAUDE.replace("claude-x", "mock-cut-4").as_str()).await;
    let answer = ask(&cut.url("/v1/chat/completions"), body).await;
    assert!(
        !answer.complete && answer.text().contains("data: {\"error\":{"),
        "{}",
        answer.text()
    );
    assert!(!answer.text().contains("[DONE]"));
}

#[tokio::test]
async fn what_has_no_counterpart_is_refused_by_name() {
    let stack = stack(CLAUDE).await;
    let body = json!({"model": "gpt", "n": 2, "messages": [{"role": "user", "content": "x"}]}).to_string();
    let answer = ask(&stack.url("/v1/chat/completions"), body).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["param"].as_str()),
        (400, Some("n"))
    );
    for (path, body) in [
        ("/v1/responses", r#"{"model":"gpt","input":"x"}"#),
        ("/v1/completions", r#"{"model":"gpt","prompt":"x"}"#),
    ] {
        let answer = ask(&stack.url(path), body).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (400, Some("unsupported_api")),
            "{path}"
        );
    }
    assert!(stack.upstream.requests().is_empty());
}
