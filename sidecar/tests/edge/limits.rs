//! Sizes, counts, and the end of the process.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use tokio::net::TcpStream;

use crate::support::{ask, chat, eventually, open, post, raw, send, stack};

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_in_each_apis_words() {
    let stack = stack("[limits]\nmax_body_bytes = 10000").await;
    let large = chat(&"m".repeat(10_000), false);
    let openai = ask(&stack.url("/v1/chat/completions"), large.clone()).await;
    assert_eq!(
        (openai.status, openai.json()["error"]["code"].as_str()),
        (413, Some("request_too_large"))
    );
    assert_eq!(openai.header("x-should-retry"), "false");
    let anthropic = ask(&stack.url("/v1/messages"), large.clone()).await;
    assert_eq!(
        (anthropic.status, anthropic.json()["error"]["type"].as_str()),
        (413, Some("request_too_large"))
    );
    assert!(stack.upstream.requests().is_empty());
    // Without a length the limit counts what arrives.
    let parts = (0..2000).map(|_| Ok::<_, std::convert::Infallible>("0123456789"));
    let chunked = post(
        &stack.url("/v1/chat/completions"),
        Body::from_stream(futures::stream::iter(parts)),
    );
    assert_eq!(send(chunked).await.status, 413);
    // What passes through has no limit.
    assert_eq!(ask(&stack.url("/v1/files"), large).await.status, 200);
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let stack = stack("").await;
    let body = format!(r#"{{"model":"m","input":"{}"}}"#, "x".repeat(5 << 20));
    let answer = ask(&stack.url("/v1/responses"), body.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(stack.upstream.last().unwrap().body == body);
}

#[tokio::test]
async fn more_calls_than_allowed_are_a_429() {
    let stack = stack("[limits]\nmax_concurrent_requests = 1").await;
    let running = open(post(
        &stack.url("/v1/chat/completions"),
        chat("mock-pace-100", true),
    ))
    .await;
    let answer = ask(&stack.url("/v1/messages"), chat("m", false)).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["type"].as_str()),
        (429, Some("rate_limit_error"))
    );
    assert_eq!(
        (answer.header("retry-after"), answer.header("x-should-retry")),
        ("1", "true")
    );
    drop(running);
    eventually("the first call has ended", || {
        stack.sidecar.metric("liquid_sidecar_requests_in_flight") < 0.5
    })
    .await;
    assert_eq!(
        ask(&stack.url("/v1/messages"), chat("m", false)).await.status,
        200
    );
}

#[tokio::test]
async fn too_large_a_head_is_a_431() {
    let stack = stack("[limits]\nmax_header_bytes = 8192").await;
    let request = format!(
        "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
        "a".repeat(20_000)
    );
    let answer = raw(stack.sidecar.address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_408() {
    let stack = stack("[limits]\nbody_timeout_ms = 200").await;
    let request =
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{";
    let answer = raw(stack.sidecar.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let stack = stack("[limits]\nheader_timeout_ms = 200").await;
    for said in [
        &b""[..],
        b"GET /v1/mod",
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        raw(stack.sidecar.address, said).await;
    }
}

#[tokio::test]
async fn a_wrong_header_of_ours_is_a_400_that_names_it() {
    let stack = stack("").await;
    let mut request = post(&stack.url("/v1/chat/completions"), chat("m", false));
    request
        .headers_mut()
        .insert("x-liquid-ratio", "lots".parse().unwrap());
    let answer = send(request).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["param"].as_str()),
        (400, Some("x-liquid-ratio"))
    );
    assert!(stack.upstream.requests().is_empty());
}

#[tokio::test]
async fn a_dry_run_calls_no_upstream() {
    let stack = stack("").await;
    let by_query = ask(&stack.url("/v1/chat/completions?dry_run=1"), chat("m", true)).await;
    let mut request = post(&stack.url("/v1/messages"), chat("m", true));
    request
        .headers_mut()
        .insert("x-liquid-dry-run", "1".parse().unwrap());
    for answer in [by_query, send(request).await] {
        let json = answer.json();
        assert_eq!(
            (answer.status, json["object"].as_str()),
            (200, Some("liquid.dry_run"))
        );
        assert_eq!(json["decision"]["action"], "passed");
        assert_eq!(json["request"]["messages"][0]["content"], "How tall is it?");
        assert_eq!(answer.header("x-liquid-decision"), "passed");
    }
    assert!(stack.upstream.requests().is_empty());
}

#[tokio::test]
async fn own_pages() {
    let stack = stack("").await;
    ask(&stack.url("/v1/chat/completions"), chat("m", false)).await;
    eventually("the call is counted", || {
        stack
            .sidecar
            .metric("liquid_sidecar_answers_total{end=\"complete\"}")
            > 0.5
    })
    .await;
    let get = |path: &str| send(Request::get(stack.url(path)).body(Body::empty()).unwrap());
    let stats = get("/liquid/stats").await;
    assert_eq!((stats.status, stats.json()["requests"].as_u64()), (200, Some(1)));
    assert_eq!(
        get("/liquid/packs/pk_none").await.json()["error"]["code"],
        "pack_not_found"
    );
    assert_eq!(get("/liquid/nothing").await.status, 404);
    assert_eq!(stack.upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_drain_lets_streams_end_and_refuses_connections() {
    let mut stack = stack("[limits]\ndrain_ms = 10000").await;
    let url = stack.url("/v1/chat/completions");
    let running = tokio::spawn(async move { ask(&url, chat("mock-pace-30", true)).await });
    eventually("the call runs", || stack.upstream.last().is_some()).await;
    stack.sidecar.stop.cancel();
    let served = stack.sidecar.served.take().unwrap();
    let address = stack.sidecar.address;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(address).await.is_err());
    let answer = running.await.unwrap();
    assert!(answer.complete && answer.text().ends_with("data: [DONE]\n\n"));
    assert!(served.await.unwrap(), "every call has ended");
}

#[tokio::test]
async fn a_drain_is_bounded() {
    let mut stack = stack("[limits]\ndrain_ms = 200").await;
    let _running = open(post(
        &stack.url("/v1/chat/completions"),
        chat("mock-pace-1000", true),
    ))
    .await;
    stack.sidecar.stop.cancel();
    let served = stack.sidecar.served.take().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(3), served)
        .await
        .unwrap()
        .unwrap();
    assert!(!ended);
}
