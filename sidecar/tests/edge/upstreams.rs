//! Tries, fallbacks, keys, models, time limits and the loop guard.

use std::time::{Duration, Instant};

use liquid_testing::MockUpstream;

use crate::support::{ask, chat, post, raw_upstream, send, sidecar, stack};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_429_is_tried_again_after_retry_after() {
    let stack = stack("").await;
    let started = Instant::now();
    let answer = ask(&stack.url(CHAT), chat("mock-429-1+retry-after-1", false)).await;
    assert_eq!(answer.status, 200);
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(stack.upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_retry_after_beyond_the_limit_is_the_clients_to_wait_for() {
    let stack = stack("[upstream]\nmax_retry_wait_ms = 500").await;
    let answer = ask(&stack.url(CHAT), chat("mock-429+retry-after-30", false)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "30"));
    assert_eq!(answer.json()["error"]["message"], "scripted by the test");
    assert_eq!(stack.upstream.requests().len(), 1);
}

#[tokio::test]
async fn tries_are_bounded_and_the_last_word_is_the_upstreams() {
    let stack = stack("[upstream]\nretries = 2").await;
    for (path, model) in [(CHAT, "mock-500:a"), ("/v1/messages", "mock-529:b")] {
        stack.upstream.reset();
        let answer = ask(&stack.url(path), chat(model, true)).await;
        assert_eq!(answer.status.to_string(), model[5..8]);
        assert!(answer.text().contains("scripted by the test"));
        assert_eq!(stack.upstream.requests().len(), 3);
    }
}

#[tokio::test]
async fn other_errors_are_not_tried_again() {
    let stack = stack("").await;
    for status in [400, 401, 403, 404, 422] {
        stack.upstream.reset();
        let answer = ask(&stack.url(CHAT), chat(&format!("mock-{status}"), false)).await;
        assert_eq!(answer.status, status);
        assert_eq!(stack.upstream.requests().len(), 1);
    }
}

#[tokio::test]
async fn fallbacks_are_asked_in_order_with_their_own_model_and_key() {
    let second = MockUpstream::start().await.unwrap();
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "sk-second").unwrap();
    let toml = format!(
        "[upstream]\nmodel = \"openai/mock-500\"\nfallbacks = [\"second/b/c\"]\nretries = 0\n\
         [upstream.providers.second]\nbase_url = \"{}\"\napi_key_file = \"{}\"",
        second.base_url(),
        key.path().display()
    );
    let stack = stack(&toml).await;
    let body =
        "{\"model\" : \"whatever\", \"x\": 1.0, \"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    let answer = ask(&stack.url(CHAT), body).await;
    assert_eq!(
        (answer.status, answer.json()["model"].as_str()),
        (200, Some("b/c"))
    );
    let first = stack.upstream.last().unwrap();
    assert_eq!(first.header("authorization"), Some("Bearer sk-test"));
    assert_eq!(first.body, body.replace("whatever", "mock-500"));
    let fallback = second.last().unwrap();
    assert_eq!(fallback.header("authorization"), Some("Bearer sk-second"));
    assert_eq!(fallback.body, body.replace("whatever", "b/c"));
}

#[tokio::test]
async fn the_callers_key_does_not_go_to_another_origin() {
    let second = MockUpstream::start().await.unwrap();
    let toml = format!(
        "[upstream]\nmodel = \"openai/mock-500\"\nfallbacks = [\"second/m\"]\nretries = 0\n\
         [upstream.providers.second]\nbase_url = \"{}\"",
        second.base_url()
    );
    let stack = stack(&toml).await;
    assert_eq!(ask(&stack.url(CHAT), chat("m", true)).await.status, 200);
    assert_eq!(second.last().unwrap().header("authorization"), None);
}

#[tokio::test]
async fn a_dead_provider_falls_back_to_the_extractive_answer() {
    let toml = "[upstream]\nmodel = \"dead/m\"\nfallbacks = [\"local/extractive\"]\nretries = 0\n\
                [upstream.providers.dead]\nbase_url = \"http://127.0.0.1:9/v1\"";
    let stack = stack(toml).await;
    let answer = ask(&stack.url(CHAT), chat("m", false)).await;
    assert_eq!(
        (answer.status, answer.json()["model"].as_str()),
        (200, Some("local/extractive"))
    );
}

#[tokio::test]
async fn a_dead_provider_is_a_502_in_each_apis_words() {
    let sidecar = sidecar("[upstream]\nretries = 0", "http://127.0.0.1:9/v1").await;
    let openai = ask(&sidecar.url(CHAT), chat("m", true)).await;
    assert_eq!(
        (openai.status, openai.json()["error"]["code"].as_str()),
        (502, Some("upstream_unreachable"))
    );
    let anthropic = ask(&sidecar.url("/v1/messages"), chat("m", true)).await;
    assert_eq!(
        (anthropic.status, anthropic.json()["error"]["type"].as_str()),
        (502, Some("api_error"))
    );
    let other = ask(&sidecar.url("/v1/embeddings"), "{}").await;
    assert_eq!(other.status, 502);
}

#[tokio::test]
async fn a_slow_first_byte_is_a_504_and_the_call_may_be_tried_elsewhere() {
    let toml = "[upstream]\nretries = 0\nfirst_byte_timeout_ms = 200";
    let stack = stack(toml).await;
    for stream in [false, true] {
        let answer = ask(&stack.url(CHAT), chat("mock-slow-first-byte-3000", stream)).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (504, Some("upstream_timeout"))
        );
        assert_eq!(answer.header("x-should-retry"), "false");
    }
}

#[tokio::test]
async fn a_head_without_a_body_counts_as_slow() {
    let upstream = raw_upstream(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .await;
    let sidecar = sidecar("[upstream]\nretries = 0", &format!("http://{upstream}/v1")).await;
    let answer = ask(&sidecar.url(CHAT), chat("m", true)).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (502, Some("upstream_broken"))
    );
}

#[tokio::test]
async fn the_total_time_ends_a_stream_as_an_error() {
    let stack = stack("[upstream]\ntotal_timeout_ms = 700").await;
    let answer = ask(&stack.url(CHAT), chat("mock-pace-200", true)).await;
    assert_eq!((answer.status, answer.complete), (200, false));
    assert!(
        answer.text().contains("\"code\":\"upstream_timeout\""),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn an_upstream_that_is_the_sidecar_itself_is_refused() {
    let toml = "[upstream]\nopenai = \"loop\"\n[upstream.providers.loop]\nbase_url = \"http://SIDECAR/v1\"";
    let sidecar = sidecar(toml, "http://127.0.0.1:9/v1").await;
    let answer = ask(&sidecar.url(CHAT), chat("m", false)).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (508, Some("loop_detected"))
    );
    assert_eq!(answer.header("x-should-retry"), "false");
}

#[tokio::test]
async fn a_request_that_comes_back_is_refused() {
    let stack = stack("").await;
    ask(&stack.url(CHAT), chat("m", false)).await;
    let mark = stack
        .upstream
        .last()
        .unwrap()
        .header("cdn-loop")
        .unwrap()
        .to_owned();
    let mut request = post(&stack.url(CHAT), chat("m", false));
    request.headers_mut().insert("cdn-loop", mark.parse().unwrap());
    assert_eq!(send(request).await.status, 508);
    assert_eq!(stack.upstream.requests().len(), 1);
}

#[tokio::test]
async fn azure_has_its_own_path_and_key_header() {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "azure-key\n").unwrap();
    let upstream = MockUpstream::start().await.unwrap();
    let toml = format!(
        "[upstream]\nmodel = \"azure/my-deployment\"\n[upstream.providers.azure]\nbase_url = \"{}\"\napi_key_file = \"{}\"",
        upstream.url(),
        key.path().display()
    );
    let stack = stack(&toml).await;
    assert_eq!(
        ask(&stack.url("/v1/responses"), chat("m", true)).await.status,
        200
    );
    let received = upstream.last().unwrap();
    assert_eq!(received.path, "/openai/v1/responses");
    assert_eq!(
        (received.header("api-key"), received.header("authorization")),
        (Some("azure-key"), None)
    );
    assert_eq!(received.json()["model"], "my-deployment");
}

#[tokio::test]
async fn a_wrong_content_type_is_relayed() {
    let stack = stack("").await;
    let answer = ask(&stack.url(CHAT), chat("mock-wrong-content-type", true)).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/html"));
    assert!(answer.complete && answer.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_is_not_the_callers_problem() {
    // Answers once a connection and closes it, after having promised to keep it alive.
    let upstream =
        raw_upstream("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
            .await;
    let sidecar = sidecar("[upstream]\nretries = 0", &format!("http://{upstream}/v1")).await;
    for _ in 0..50 {
        assert_eq!(ask(&sidecar.url(CHAT), chat("m", false)).await.status, 200);
        assert_eq!(ask(&sidecar.url("/v1/embeddings"), "{}").await.status, 200);
    }
}
