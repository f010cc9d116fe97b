//! How answers end: complete, broken or failed, through the sidecar, for clients of each API.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Answer, Sidecar, ask, chat, open, post, raw_upstream, sidecar};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const JSON: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":15,\"output_tokens\":1}}}\n\n\
                     event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Port 9465.\"}}\n\n";
const DELTA: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}";

/// A sidecar before an upstream that answers with these bytes; `claude` translates OpenAI's calls.
async fn before(answer: String, claude: bool) -> Sidecar {
    let upstream = raw_upstream(answer).await;
    let model = if claude {
        "model = \"anthropic/claude-x\"\n"
    } else {
        ""
    };
    sidecar(
        &format!("[upstream]\n{model}retries = 0"),
        &format!("http://{upstream}/v1"),
    )
    .await
}

async fn translated(answer: String, stream: bool) -> Answer {
    let sidecar = before(answer, true).await;
    let body = json!({"model": "gpt", "stream": stream, "stream_options": {"include_usage": true},
                      "messages": [{"role": "user", "content": "Which port?"}]});
    ask(&sidecar.url(CHAT), body.to_string()).await
}

#[tokio::test]
async fn an_answer_with_a_stop_reason_is_complete_for_clients_of_both_apis() {
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}";
    for end in [
        format!("{DELTA}\n\n"),
        format!("{DELTA}\n\n{stop}"),
        format!("{DELTA}\n\n{}", &stop[..30]),
        DELTA.to_owned(),
    ] {
        let bytes = format!("{START}{end}");
        let openai = translated(format!("{STREAM}{bytes}"), true).await;
        let text = openai.text();
        assert!(
            openai.complete && text.ends_with("data: [DONE]\n\n"),
            "{end}: {text}"
        );
        assert!(
            text.contains("\"finish_reason\":\"stop\"") && text.contains("\"total_tokens\":24"),
            "{text}"
        );
        let plain = before(format!("{STREAM}{bytes}"), false).await;
        let anthropic = ask(&plain.url(MESSAGES), chat("m", true)).await;
        assert_eq!(anthropic.text(), bytes);
        assert!(anthropic.complete, "{end}");
    }
    let broken = translated(format!("{STREAM}{START}"), true).await;
    assert!(
        !broken.complete && broken.text().contains("upstream_broken"),
        "{}",
        broken.text()
    );
    let plain = before(format!("{STREAM}{START}"), false).await;
    let broken = ask(&plain.url(MESSAGES), chat("m", true)).await;
    assert!(
        !broken.complete && broken.text().contains("event: error"),
        "{}",
        broken.text()
    );
}

/// A connection that breaks after the answer is complete takes nothing from it.
#[tokio::test]
async fn a_complete_answer_survives_a_broken_connection() {
    let chunked = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n",
            body.len()
        )
    };
    let openai = translated(chunked(&format!("{START}{DELTA}\n\n")), true).await;
    assert!(
        openai.complete && openai.text().ends_with("data: [DONE]\n\n"),
        "{}",
        openai.text()
    );
    let finished = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let plain = before(chunked(finished), false).await;
    let answer = ask(&plain.url(CHAT), chat("m", true)).await;
    assert!(answer.complete && answer.text() == finished, "{}", answer.text());
    let completed = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{}}\n\n";
    let plain = before(chunked(completed), false).await;
    let answer = ask(
        &plain.url("/v1/responses"),
        r#"{"model":"m","stream":true,"input":"hi"}"#,
    )
    .await;
    assert!(answer.complete && answer.text() == completed, "{}", answer.text());
    let empty = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"\"}]}\n\n";
    let plain = before(chunked(empty), false).await;
    let answer = ask(&plain.url(CHAT), chat("m", true)).await;
    assert!(
        !answer.complete && answer.text().contains("upstream_broken"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn an_error_with_status_200_has_a_status_and_the_upstreams_text() {
    let error = r#"{"type":"error","error":{"type":"rate_limit_error","message":"NOT_SO_FAST"}}"#;
    for (answer, status, text) in [
        (format!("{JSON}{error}"), 429, "NOT_SO_FAST"),
        (format!("{STREAM}{error}"), 429, "NOT_SO_FAST"),
        (
            format!("{STREAM}event: error\ndata: {error}\n\n"),
            429,
            "NOT_SO_FAST",
        ),
        (
            format!("{JSON}{{\"code\":500,\"msg\":\"404 NOT_FOUND\",\"success\":false}}"),
            502,
            "404 NOT_FOUND",
        ),
        (format!("{JSON}<html><h1>Sign in</h1></html>"), 502, "Sign in"),
        (format!("{STREAM}<html><h1>Sign in</h1></html>"), 502, "Sign in"),
        (format!("{JSON}{{\"choices\":[]}}"), 502, "choices"),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\nno such route"
                .to_owned(),
            404,
            "no such route",
        ),
    ] {
        for stream in [false, true] {
            if !stream && answer.contains("event: error") {
                continue;
            }
            let got = translated(answer.clone(), stream).await;
            assert_eq!(got.status, status, "{answer}");
            let message = got.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(message.contains(text), "{message}");
        }
    }
}

#[tokio::test]
async fn a_stream_is_known_by_its_bytes_where_the_content_type_lies() {
    for head in [JSON, STREAM] {
        let got = translated(format!("{head}{START}{DELTA}\n\n"), true).await;
        assert!(got.header("content-type").starts_with("text/event-stream"));
        assert!(
            got.complete && got.text().ends_with("data: [DONE]\n\n"),
            "{}",
            got.text()
        );
        let message = r#"{"type":"message","id":"m","content":[{"type":"text","text":"Port 9465."}],"stop_reason":"end_turn"}"#;
        let got = translated(format!("{head}{message}"), true).await;
        assert!(
            got.complete && got.text().contains("Port 9465.") && got.text().ends_with("data: [DONE]\n\n")
        );
        let got = translated(format!("{head}{message}"), false).await;
        assert_eq!(got.json()["choices"][0]["message"]["content"], "Port 9465.");
    }
}

/// While the upstream sends pings, or events that have no counterpart, the client gets bytes.
#[tokio::test]
async fn a_living_upstream_is_seen_by_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let (step, mut steps) = tokio::sync::mpsc::channel::<&str>(4);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 65536];
        let _ = stream.read(&mut request).await;
        stream
            .write_all(format!("{STREAM}{START}").as_bytes())
            .await
            .unwrap();
        while let Some(text) = steps.recv().await {
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    let toml = "[upstream]\nmodel = \"anthropic/claude-x\"\nretries = 0";
    let sidecar = sidecar(toml, &format!("http://{upstream}/v1")).await;
    let response = open(post(&sidecar.url(CHAT), chat("gpt", true))).await;
    let mut body = response.into_body();
    let mut next = async || body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(next().await.starts_with(b"data: "));
    for _ in 0..3 {
        step.send("event: ping\ndata: {\"type\":\"ping\"}\n\n")
            .await
            .unwrap();
        assert_eq!(next().await, ": ping\n\n");
    }
    // The one wait for a time: what is under test is a time.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    step.send("data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}\n\n")
        .await
        .unwrap();
    assert_eq!(next().await, ": keep-alive\n\n");
}

#[tokio::test]
async fn what_cannot_be_translated_is_a_400_with_param_and_remedy() {
    let sidecar = before(String::new(), true).await;
    for (fields, param, text) in [
        (json!({"temperature": "hot"}), "temperature", "between 0 and 2"),
        (json!({"max_tokens": 0}), "max_tokens", "at least 1"),
        (json!({"messages": "hi"}), "messages", "give a list"),
        (json!({"tool_choice": "required"}), "tool_choice", "add tools"),
        (
            json!({"modalities": ["text", "audio"]}),
            "modalities",
            "leave it out",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]}),
            "messages.content",
            "data URL",
        ),
    ] {
        let mut body = json!({"model": "gpt", "messages": [{"role": "user", "content": "x"}]});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = ask(&sidecar.url(CHAT), body.to_string()).await;
        let error = answer.json()["error"].clone();
        assert_eq!(
            (answer.status, error["param"].as_str()),
            (400, Some(param)),
            "{error}"
        );
        assert!(error["message"].as_str().unwrap().contains(text), "{error}");
    }
}
