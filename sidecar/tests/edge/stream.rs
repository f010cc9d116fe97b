//! Event streams: the same bytes at once, a broken one never ends cleanly, a client that goes is noticed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use liquid_testing::Canned;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Answer, Stack, ask, chat, eventually, open, post, raw_upstream, send, sidecar, stack};

/// A recorded chat stream with characters of two to four bytes and every kind of line end.
const RECORDED: &str = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Grüße 😀\"},\"finish_reason\":null}]}\n\n\
                        : keep-alive\r\n\r\n\
                        data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\r\n\r\n\
                        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";

fn canned(pieces: Vec<Bytes>) -> Canned {
    Canned {
        status: 200,
        headers: vec![("content-type".into(), "text/event-stream".into())],
        body: pieces,
    }
}

#[tokio::test]
async fn every_chunk_border_gives_the_same_bytes() {
    let stack = stack("").await;
    for border in 1..RECORDED.len() {
        let (head, tail) = RECORDED.as_bytes().split_at(border);
        stack
            .upstream
            .answer(canned(vec![Bytes::from_static(head), Bytes::from_static(tail)]));
        let answer = ask(&stack.url("/v1/chat/completions"), chat("m", true)).await;
        assert_eq!(answer.body, RECORDED, "border {border}");
        assert!(answer.complete, "border {border}");
    }
    let calls = RECORDED.len() as f64 - 1.0;
    let tokens = "gen_ai_client_token_usage_sum{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_token_type=\"input\"}";
    assert!((stack.sidecar.metric(tokens) - 3.0 * calls).abs() < 0.5);
}

#[tokio::test]
async fn single_bytes_too_on_every_surface() {
    let stack = stack("").await;
    for path in ["/v1/chat/completions", "/v1/responses", "/v1/messages"] {
        let plain = ask(&stack.url(path), chat("m", true)).await;
        let bytewise = ask(&stack.url(path), chat("mock-chunk-1", true)).await;
        assert!(plain.complete && bytewise.complete, "{path}");
        assert_eq!(plain.header("content-type"), bytewise.header("content-type"));
        let events = |answer: &Answer| answer.text().matches("data: ").count();
        assert!(
            events(&plain) > 3 && events(&bytewise) == events(&plain),
            "{path}"
        );
    }
}

#[tokio::test]
async fn events_do_not_wait_for_later_ones() {
    let stack = stack("").await;
    let started = Instant::now();
    let response = open(post(
        &stack.url("/v1/chat/completions"),
        chat("mock-pace-100", true),
    ))
    .await;
    let mut body = response.into_body();
    let mut arrivals = Vec::new();
    while let Some(frame) = body.frame().await {
        if frame.unwrap().is_data() {
            arrivals.push(started.elapsed());
        }
    }
    let spread = arrivals[arrivals.len() - 1] - arrivals[0];
    assert!(arrivals.len() >= 5, "{arrivals:?}");
    assert!(
        spread > Duration::from_millis(100 * (arrivals.len() as u64 - 2)),
        "{arrivals:?}"
    );
}

async fn broken(stack: &Stack, path: &str, model: &str) -> Answer {
    let answer = ask(&stack.url(path), chat(model, true)).await;
    assert_eq!(answer.status, 200);
    assert!(
        !answer.complete,
        "{path}: a broken stream ended cleanly: {}",
        answer.text()
    );
    answer
}

#[tokio::test]
async fn a_cut_stream_ends_as_an_error_of_its_surface() {
    let stack = stack("").await;
    let chat = broken(&stack, "/v1/chat/completions", "mock-cut-3").await.text();
    let last = chat
        .trim_end()
        .rsplit("\n\n")
        .next()
        .unwrap()
        .strip_prefix("data: ")
        .unwrap();
    let error: serde_json::Value = serde_json::from_str(last).unwrap();
    for field in ["message", "type", "param", "code"] {
        assert!(error["error"].get(field).is_some(), "{error}");
    }
    assert_eq!(error["error"]["code"], "upstream_broken");
    assert!(!chat.contains("[DONE]"));

    let messages = broken(&stack, "/v1/messages", "mock-cut-3").await.text();
    assert!(
        messages.contains("\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\""),
        "{messages}"
    );

    let responses = broken(&stack, "/v1/responses", "mock-cut-3").await.text();
    let last = responses.trim_end().rsplit("\n\n").next().unwrap();
    let error: serde_json::Value = serde_json::from_str(last.split_once("data: ").unwrap().1).unwrap();
    assert!(last.starts_with("event: error\n"), "{responses}");
    assert_eq!(
        (error["type"].as_str(), error["sequence_number"].as_u64()),
        (Some("error"), Some(3))
    );
    assert!(
        stack
            .sidecar
            .metric("liquid_sidecar_answers_total{end=\"upstream_broken\"}")
            > 2.5
    );
}

#[tokio::test]
async fn a_stream_that_ends_early_but_cleanly_is_broken_too() {
    let stack = stack("").await;
    let cut = &RECORDED.as_bytes()[..120];
    stack.upstream.answer(canned(vec![Bytes::from_static(cut)]));
    let answer = broken(&stack, "/v1/chat/completions", "m").await;
    assert!(
        answer.text().ends_with("\"code\":\"upstream_broken\"}}\n\n"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn the_upstreams_own_error_event_is_relayed_and_not_added_to() {
    let stack = stack("").await;
    let answer = ask(
        &stack.url("/v1/chat/completions"),
        chat("mock-error-event-2", true),
    )
    .await;
    assert!(answer.complete);
    assert_eq!(answer.text().matches("\"error\"").count(), 1, "{}", answer.text());
}

#[tokio::test]
async fn a_broken_plain_answer_is_not_completed() {
    let upstream = raw_upstream(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{\"a\":",
    )
    .await;
    let sidecar = sidecar("", &format!("http://{upstream}/v1")).await;
    let answer = ask(&sidecar.url("/v1/chat/completions"), chat("m", false)).await;
    assert!(!answer.complete);
    assert_eq!(answer.text(), "{\"a\":");
}

#[tokio::test]
async fn a_client_that_goes_ends_the_upstreams_stream() {
    let stack = stack("").await;
    let response = open(post(
        &stack.url("/v1/chat/completions"),
        chat("mock-pace-50", true),
    ))
    .await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    eventually("the upstream sees the client go", || {
        stack.upstream.abandoned() == 1
    })
    .await;
    eventually("the call is counted", || {
        stack
            .sidecar
            .metric("liquid_sidecar_answers_total{end=\"client_gone\"}")
            > 0.5
    })
    .await;
    assert!(stack.sidecar.metric("liquid_sidecar_requests_in_flight") < 0.5);
}

#[tokio::test]
async fn a_client_that_goes_before_the_answer_ends_the_call() {
    let stack = stack("").await;
    let request = post(&stack.url("/v1/chat/completions"), chat("mock-hang", false));
    let waiting = tokio::spawn(send(request));
    eventually("the upstream was asked", || stack.upstream.last().is_some()).await;
    waiting.abort();
    eventually("the call has ended", || {
        stack.sidecar.metric("liquid_sidecar_requests_in_flight") < 0.5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_streams_at_once() {
    let stack = stack("").await;
    let url = stack.url("/v1/chat/completions");
    let calls = (0..200).map(|_| tokio::spawn(ask_owned(url.clone())));
    for answer in futures::future::join_all(calls).await {
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.complete), (200, true));
        assert!(answer.text().ends_with("data: [DONE]\n\n"));
    }
}

async fn ask_owned(url: String) -> Answer {
    ask(&url, chat("mock-pace-5", true)).await
}

#[tokio::test]
async fn websockets_are_tunnelled() {
    let stack = stack("").await;
    let url = format!("ws://{}/v1/realtime?model=m", stack.sidecar.address);
    let (mut socket, response) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert_eq!(response.status(), 101);
    for text in ["hello", "", "Grüße"] {
        socket.send(Message::text(text)).await.unwrap();
        let echoed = socket.next().await.unwrap().unwrap();
        assert_eq!(echoed.to_text().unwrap(), text);
    }
    socket.send(Message::binary(vec![7u8; 200_000])).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_data().len(), 200_000);
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    eventually("the tunnel has ended", || {
        stack.sidecar.metric("liquid_sidecar_requests_in_flight") < 0.5
    })
    .await;
}
