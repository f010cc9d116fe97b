#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
//! The mock proves other code, so it is itself proven over real sockets.

use std::io::Read;

use axum::body::Body;
use axum::http::{Request, Response};
use futures::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::MockUpstream;

fn client() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).build_http()
}

async fn post(mock: &MockUpstream, path: &str, body: &str) -> Response<Incoming> {
    let request = Request::post(format!("{}{path}", mock.url()))
        .body(Body::from(body.to_owned()))
        .unwrap();
    client().request(request).await.unwrap()
}

async fn bytes(response: Response<Incoming>) -> Result<Vec<u8>, axum::Error> {
    Ok(axum::body::to_bytes(Body::new(response), usize::MAX)
        .await?
        .to_vec())
}

fn chat(model: &str, rest: &Value) -> String {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "Grüß dich"}]});
    body.as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    body.to_string()
}

async fn text(mock: &MockUpstream, body: &str) -> String {
    String::from_utf8(
        bytes(post(mock, "/v1/chat/completions", body).await)
            .await
            .unwrap(),
    )
    .unwrap()
}

#[tokio::test]
async fn keeps_the_exact_bytes_and_echoes_their_sum() {
    let mock = MockUpstream::start().await.unwrap();
    let body = r#"{"model":"m", "n":1e0,"messages":[{"role":"user","content":"\u00e9"}],"model":"m"}"#;
    let answer = serde_json::from_str::<Value>(&text(&mock, body).await).unwrap();
    let recorded = mock.last().unwrap();
    assert_eq!(recorded.body, body);
    let expected = format!(
        "I read 1 characters of user text in a body with sha256 {}.",
        recorded.sha256()
    );
    assert_eq!(answer["choices"][0]["message"]["content"], expected);
}

#[tokio::test]
async fn every_way_of_writing_a_stream_carries_the_same_bytes() {
    let mock = MockUpstream::start().await.unwrap();
    let body = chat("same", &json!({"stream": true}));
    let plain = text(&mock, &body).await;
    assert!(plain.ends_with("data: [DONE]\n\n"));
    for fault in ["chunk-1", "split-70", "pace-1"] {
        mock.reset();
        mock.script(fault.parse().unwrap());
        let faulty = text(&mock, &body).await;
        assert_eq!(faulty, plain, "{fault}");
    }
}

#[tokio::test]
async fn gzip_decodes_to_the_plain_answer() {
    let mock = MockUpstream::start().await.unwrap();
    let response = post(
        &mock,
        "/v1/chat/completions",
        &chat("mock-gzip", &json!({"stream": true})),
    )
    .await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let compressed = bytes(response).await.unwrap();
    let mut decoded = String::new();
    flate2::read::GzDecoder::new(&*compressed)
        .read_to_string(&mut decoded)
        .unwrap();
    assert!(decoded.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_cut_is_no_clean_end() {
    let mock = MockUpstream::start().await.unwrap();
    let streamed = post(
        &mock,
        "/v1/chat/completions",
        &chat("mock-cut", &json!({"stream": true})),
    )
    .await;
    bytes(streamed).await.unwrap_err();
    let plain = post(&mock, "/v1/chat/completions", &chat("mock-cut", &json!({}))).await;
    bytes(plain).await.unwrap_err();
}

#[tokio::test]
async fn fails_as_often_as_it_was_told_to() {
    let mock = MockUpstream::start().await.unwrap();
    let body = chat("mock-429-2+retry-after-3", &json!({}));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let response = post(&mock, "/v1/chat/completions", &body).await;
        statuses.push((
            response.status().as_u16(),
            response.headers().contains_key("retry-after"),
        ));
    }
    assert_eq!(statuses, [(429, true), (429, true), (200, false)]);
}

#[tokio::test]
async fn an_unknown_fault_is_an_error() {
    let mock = MockUpstream::start().await.unwrap();
    let response = post(&mock, "/v1/chat/completions", &chat("mock-gzipp", &json!({}))).await;
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn the_side_door_shows_what_was_recorded() {
    let mock = MockUpstream::start().await.unwrap();
    text(&mock, &chat("m", &json!({}))).await;
    let get = |path: &str| {
        Request::get(format!("{}{path}", mock.url()))
            .body(Body::empty())
            .unwrap()
    };
    let list = bytes(client().request(get("/mock/requests")).await.unwrap())
        .await
        .unwrap();
    let list = serde_json::from_slice::<Value>(&list).unwrap();
    assert_eq!(list[0]["path"], "/v1/chat/completions");
    let body = bytes(client().request(get("/mock/requests/0/body")).await.unwrap())
        .await
        .unwrap();
    assert_eq!(body, mock.last().unwrap().body);
}

#[tokio::test]
async fn a_client_that_leaves_is_counted() {
    let mock = MockUpstream::start().await.unwrap();
    let response = post(
        &mock,
        "/v1/chat/completions",
        &chat("mock-pace-5", &json!({"stream": true})),
    )
    .await;
    let mut body = Body::new(response).into_data_stream();
    body.next().await.unwrap().unwrap();
    drop(body);
    let noticed = async {
        while mock.abandoned() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), noticed)
        .await
        .expect("the mock notices");
}

#[tokio::test]
async fn websockets_echo() {
    let mock = MockUpstream::start().await.unwrap();
    let url = format!("ws://{}/v1/realtime?model=m", mock.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for message in [Message::text("hello"), Message::binary(vec![0u8, 255])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    assert_eq!(mock.last().unwrap().path, "/v1/realtime");
}
