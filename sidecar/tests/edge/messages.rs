//! Anthropic's Messages, answered by the workers' language model.

use serde_json::{Value, json};

use crate::compress;
use crate::liquid::{CHAT, LIQUID, healthy, start_workers, with_workers};
use crate::support::ask;

const MESSAGES: &str = "/v1/messages";

#[tokio::test]
async fn messages_are_answered_in_anthropics_words() {
    let workers = start_workers(1).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    let mut body = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 64, "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    });
    let whole = ask(&sidecar.url(MESSAGES), body.to_string()).await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    let whole = whole.json();
    assert_eq!(
        (&whole["type"], &whole["role"]),
        (&json!("message"), &json!("assistant"))
    );
    assert_eq!(
        (&whole["stop_reason"], &whole["content"][0]["type"]),
        (&json!("end_turn"), &json!("text"))
    );
    assert!(whole["usage"]["output_tokens"].as_u64() > Some(0));
    let received = workers[0].model.last().unwrap();
    assert_eq!(
        (received.path.as_str(), &received.json()["model"]),
        (CHAT, &Value::Null)
    );
    assert_eq!(
        received.json()["messages"][0],
        json!({"role": "system", "content": "Be brief."})
    );

    body["stream"] = json!(true);
    let streamed = ask(&sidecar.url(MESSAGES), body.to_string()).await;
    assert_eq!((streamed.status, streamed.complete), (200, true));
    let text = streamed.text();
    assert!(
        text.starts_with("event: message_start\n") && text.contains("\"text_delta\""),
        "{text}"
    );
    assert!(text.ends_with("data: {\"type\":\"message_stop\"}\n\n"), "{text}");
    assert_eq!(sidecar.app.upstreams.guard().connections(), 0);
}

#[tokio::test]
async fn messages_call_tools_and_break_off_in_anthropics_words() {
    let workers = start_workers(1).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    let body = json!({
        "model": "m", "max_tokens": 64, "stream": true, "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}],
    });
    let called = ask(&sidecar.url(MESSAGES), body.to_string()).await.text();
    assert!(
        called.contains("\"type\":\"tool_use\"") && called.contains("\"name\":\"weather\""),
        "{called}"
    );
    assert!(called.contains("\"stop_reason\":\"tool_use\""), "{called}");

    let plain = json!({"model": "m", "max_tokens": 64, "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
    workers[0].script("cut-3");
    let cut = ask(&sidecar.url(MESSAGES), plain.to_string()).await;
    assert_eq!((cut.status, cut.complete), (200, false));
    assert!(
        cut.text().contains("event: error\n") && !cut.text().contains("message_stop"),
        "{}",
        cut.text()
    );

    healthy(&sidecar, 1).await;
    workers[0].script("429+retry-after-30");
    let full = ask(&sidecar.url(MESSAGES), plain.to_string()).await;
    assert_eq!((full.status, full.header("retry-after")), (429, "30"));
    assert_eq!(full.json()["error"]["type"], "rate_limit_error");

    let image = json!([{"type": "image", "source": {"type": "url", "url": "https://host/a.png"}}]);
    let image = json!({"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": image}]});
    let refused = ask(&sidecar.url(MESSAGES), image.to_string()).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["type"]),
        (400, &json!("invalid_request_error"))
    );
}

#[tokio::test]
async fn a_document_in_messages_is_packed_before_a_worker_reads_it() {
    let workers = start_workers(1).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    let body: Value = serde_json::from_str(&compress::body(false)).unwrap();
    let mut body = json!({"model": "m", "max_tokens": 64, "messages": body["messages"]});
    let messages = body["messages"].as_array_mut().unwrap();
    messages.retain(|message| message["role"] == "user");
    let answer = ask(&sidecar.url(MESSAGES), body.to_string()).await;
    assert_eq!(
        (answer.status, answer.header("x-liquid-decision")),
        (200, "compressed"),
        "{}",
        answer.text()
    );
    let received = workers[0].model.last().unwrap().body.len();
    assert!(received * 3 < body.to_string().len(), "{received}");
}
