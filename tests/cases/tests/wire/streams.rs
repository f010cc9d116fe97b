//! Streams and bodies of an Anthropic provider as an OpenAI client and an Anthropic client get them.

use liquid_cases::{Answer, ScriptedUpstream, Sidecar, input, post, read, send};
use serde_json::{Value, json};

use crate::CLAUDE;

/// An answer of a client, and the sidecar that gave it.
struct Served {
    answer: Answer,
    sidecar: Sidecar,
}

/// Serves a script to an OpenAI client in front of an Anthropic provider.
async fn translated(script: &str, request: &Value) -> Served {
    let upstream = ScriptedUpstream::start(script).await;
    let sidecar = Sidecar::start(CLAUDE, &upstream.base_url()).await;
    let answer = send(post(&sidecar.url("/v1/chat/completions"), request.to_string())).await;
    assert_eq!(
        upstream.received().len(),
        1,
        "the upstream was asked more than once"
    );
    Served { answer, sidecar }
}

/// Serves a script to a client of the upstream's own API.
async fn relayed(script: &str, path: &str, request: &Value) -> Served {
    let upstream = ScriptedUpstream::start(script).await;
    let sidecar = Sidecar::start("", &upstream.base_url()).await;
    let answer = send(post(&sidecar.url(path), request.to_string())).await;
    Served { answer, sidecar }
}

fn chat(stream: bool) -> Value {
    let name = if stream { "input-stream" } else { "input" };
    input(&format!("09-error-body-with-status-200/{name}.json"))
}

fn messages() -> Value {
    input("08-no-message-stop/input-messages.json")
}

/// A response of HTTP/1.1 that ends with its connection.
fn response(content_type: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n{body}")
}

fn event_stream(events: &[Value]) -> String {
    let events = events.iter().map(|event| {
        let name = event["type"].as_str().unwrap_or_default();
        format!("event: {name}\ndata: {event}\n\n")
    });
    response("text/event-stream", &events.collect::<String>())
}

fn message_start(usage: &Value) -> Value {
    json!({"type": "message_start", "message": {"id": "msg_01", "type": "message", "role": "assistant",
           "model": "claude-x", "content": [], "stop_reason": null, "usage": usage}})
}

/// The events of a text's block.
fn text_block() -> [Value; 3] {
    [
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Port 9465."}}),
        json!({"type": "content_block_stop", "index": 0}),
    ]
}

fn message_delta(usage: &Value) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": usage})
}

fn message_stop() -> Value {
    json!({"type": "message_stop"})
}

fn is_done(answer: &Answer) -> bool {
    answer.complete && answer.text().trim_end().ends_with("data: [DONE]")
}

/// The text of a stream of chat chunks.
fn said(answer: &Answer) -> String {
    let events = answer.events().into_iter();
    let texts = events.filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned()));
    texts.collect()
}

fn finish_reasons(answer: &Answer) -> Vec<String> {
    let events = answer.events().into_iter();
    let reasons = events.filter_map(|event| Some(event["choices"][0]["finish_reason"].as_str()?.to_owned()));
    reasons.collect()
}

/// An OpenAI client got the whole answer, and the end that is due to it.
fn assert_whole(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(is_done(answer), "{}", answer.text());
    assert_eq!(said(answer), "Port 9465.", "{}", answer.text());
    assert_eq!(finish_reasons(answer), ["stop"], "{}", answer.text());
    assert!(answer.events().iter().all(|event| event.get("error").is_none()));
    assert_eq!(answer.events()[0]["choices"][0]["delta"]["role"], "assistant");
}

/// The usage of the last chunk.
fn usage(answer: &Answer) -> Value {
    let events = answer.events();
    let last = events.last().unwrap();
    assert_eq!(last["choices"], json!([]), "{}", answer.text());
    last["usage"].clone()
}

/// The tokens that the metrics have counted.
fn assert_counted(sidecar: &Sidecar, input: f64, output: f64) {
    for (kind, expected) in [("input", input), ("output", output)] {
        let line = format!(
            "gen_ai_client_token_usage_sum{{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"anthropic\",\
             gen_ai_token_type=\"{kind}\"}}"
        );
        assert!(
            (sidecar.metric(&line) - expected).abs() < 0.5,
            "{kind}: {}",
            sidecar.metric(&line)
        );
    }
}

fn of_1015_and_9() -> Value {
    json!({"prompt_tokens": 1015, "completion_tokens": 9, "total_tokens": 1024,
           "prompt_tokens_details": {"cached_tokens": 1000}})
}

#[tokio::test]
async fn case_06_usage_of_the_start_is_not_overwritten_by_zeros() {
    for file in ["upstream.txt", "upstream-b.txt"] {
        let folder = "06-usage-overwritten-by-message-delta";
        let script = read(&format!("{folder}/{file}"));
        let Served { answer, sidecar } = translated(&script, &input(&format!("{folder}/input.json"))).await;
        assert_whole(&answer);
        assert_eq!(usage(&answer), of_1015_and_9(), "{file}");
        assert_counted(&sidecar, 1015.0, 9.0);
        let own = relayed(&script, "/v1/messages", &messages()).await;
        assert_counted(&own.sidecar, 1015.0, 9.0);
    }
}

#[tokio::test]
async fn case_06_usage_that_is_split_or_late_is_put_together() {
    let start = json!({"input_tokens": 15, "cache_read_input_tokens": 1000, "output_tokens": 1});
    for (start, deltas) in [
        // The whole usage only at the end.
        (
            json!({"input_tokens": 0, "output_tokens": 0}),
            vec![json!({"input_tokens": 15, "cache_read_input_tokens": 1000, "output_tokens": 9})],
        ),
        // Cumulative numbers in several deltas.
        (
            start.clone(),
            vec![json!({"output_tokens": 4}), json!({"output_tokens": 9})],
        ),
        // Null, and a repetition of everything.
        (
            start.clone(),
            vec![
                json!({"input_tokens": null, "output_tokens": 9}),
                json!({"input_tokens": 15, "cache_read_input_tokens": 1000, "output_tokens": 9}),
            ],
        ),
        (
            start.clone(),
            vec![json!({"input_tokens": 15, "cache_read_input_tokens": 0, "output_tokens": 9})],
        ),
    ] {
        let mut events = vec![message_start(&start)];
        events.extend(text_block());
        events.extend(deltas.iter().map(message_delta));
        events.push(message_stop());
        let Served { answer, sidecar } = translated(&event_stream(&events), &chat(true)).await;
        assert_eq!(usage(&answer), of_1015_and_9(), "{deltas:?}");
        assert_counted(&sidecar, 1015.0, 9.0);
    }
}

#[tokio::test]
async fn case_06_usage_only_at_the_start_is_reported() {
    let mut events = vec![message_start(
        &json!({"input_tokens": 15, "cache_read_input_tokens": 1000, "output_tokens": 9}),
    )];
    events.extend(text_block());
    let mut delta = message_delta(&json!(null));
    delta.as_object_mut().unwrap().remove("usage");
    events.extend([delta, message_stop()]);
    let Served { answer, .. } = translated(&event_stream(&events), &chat(true)).await;
    assert_eq!(usage(&answer), of_1015_and_9());
}

#[tokio::test]
async fn case_08_an_answer_without_message_stop_is_complete() {
    for file in ["upstream.txt", "upstream-b.txt"] {
        let script = read(&format!("08-no-message-stop/{file}"));
        let Served { answer, .. } = translated(&script, &input("08-no-message-stop/input.json")).await;
        assert_whole(&answer);
        let usage = usage(&answer);
        assert_eq!(
            (&usage["prompt_tokens"], &usage["completion_tokens"]),
            (&json!(15), &json!(9))
        );
        let own = relayed(&script, "/v1/messages", &messages()).await.answer;
        let (_, body) = script.split_once("\r\n\r\n").unwrap();
        assert_eq!((own.complete, own.text().as_str()), (true, body), "{file}");
    }
}

#[tokio::test]
async fn case_08_an_answer_that_is_cut_in_its_last_event_is_complete() {
    let mut events = vec![message_start(&json!({"input_tokens": 15, "output_tokens": 1}))];
    events.extend(text_block());
    events.push(message_delta(&json!({"output_tokens": 9})));
    let whole = event_stream(&events);
    for rest in [
        "event: message_stop\ndata: {\"type\":\"mess",
        "event: message_stop\n",
        "event: mess",
        ": bye",
    ] {
        let script = format!("{whole}{rest}");
        let Served { answer, .. } = translated(&script, &chat(true)).await;
        assert_whole(&answer);
        let own = relayed(&script, "/v1/messages", &messages()).await.answer;
        assert!(
            own.complete && !own.text().contains("event: error"),
            "{rest}: {}",
            own.text()
        );
    }
    // The delta itself lacks its blank line.
    let Served { answer, .. } = translated(whole.trim_end(), &chat(true)).await;
    assert_whole(&answer);
}

#[tokio::test]
async fn case_08_an_answer_that_ends_before_its_reason_is_an_error() {
    let mut events = vec![message_start(&json!({"input_tokens": 15, "output_tokens": 1}))];
    events.extend(text_block());
    let mut open = message_delta(&json!({"output_tokens": 9}));
    open["delta"]["stop_reason"] = Value::Null;
    for ended in [events.clone(), [events, vec![open]].concat()] {
        let script = event_stream(&ended);
        let Served { answer, .. } = translated(&script, &chat(true)).await;
        let text = answer.text();
        assert!(
            !text.contains("[DONE]") && text.contains("data: {\"error\":{"),
            "{text}"
        );
        assert!(finish_reasons(&answer).is_empty(), "{text}");
        let own = relayed(&script, "/v1/messages", &messages()).await.answer;
        assert!(own.text().contains("event: error"), "{}", own.text());
    }
}

#[tokio::test]
async fn case_08_a_chat_stream_without_done_is_complete_after_its_reason() {
    let chunk = |delta: Value, reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        format!(
            "data: {}\n\n",
            json!({"id": "c", "object": "chat.completion.chunk", "choices": [choice]})
        )
    };
    let begun = chunk(json!({"role": "assistant", "content": "Port 9465."}), json!(null));
    let ended = chunk(json!({}), json!("stop"));
    let empty = chunk(json!({}), json!(""));
    for (body, whole) in [
        (format!("{begun}{ended}"), true),
        (format!("{begun}{ended}data: [DONE]"), true),
        (format!("{begun}{ended}data: [DO"), true),
        (format!("{begun}{empty}"), false),
        (begun, false),
    ] {
        let script = response("text/event-stream", &body);
        let answer = relayed(&script, "/v1/chat/completions", &chat(true)).await.answer;
        let failed = answer.text().contains("\"error\"") || !answer.complete;
        assert_eq!(failed, !whole, "{body}: {}", answer.text());
        assert!(!whole || answer.text() == body, "{}", answer.text());
    }
}

/// An OpenAI client gets an error with the upstream's words, never a completion.
fn assert_error(answer: &Answer, words: &str) {
    let text = answer.text();
    let error = if answer.status == 200 {
        let events = answer.events();
        events.iter().find_map(|event| event.get("error").cloned())
    } else {
        assert!((400..600).contains(&answer.status), "{} {text}", answer.status);
        answer.json().get("error").cloned()
    };
    let error = error.unwrap_or_else(|| panic!("no error: {} {text}", answer.status));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(words), "{text}");
    assert!(
        !text.contains("chat.completion\"") && !text.contains("[DONE]"),
        "{text}"
    );
}

#[tokio::test]
async fn case_09_an_error_body_with_status_200_is_an_error() {
    for file in ["upstream.txt", "upstream-b.txt"] {
        let script = read(&format!("09-error-body-with-status-200/{file}"));
        let Served { answer, .. } = translated(&script, &chat(false)).await;
        assert!(answer.status >= 400, "{}", answer.text());
        assert_error(&answer, "NOT_FOUND");
        let Served { answer, .. } = translated(&script, &chat(true)).await;
        assert_error(&answer, "NOT_FOUND");
    }
}

#[tokio::test]
async fn case_09_other_bodies_that_are_no_message_are_errors() {
    for (content_type, body, words) in [
        ("application/json", r#"{"detail":"Not Found"}"#, "Not Found"),
        (
            "application/json",
            r#"{"error":"model is loading"}"#,
            "model is loading",
        ),
        (
            "application/json",
            r#"{"error":{"message":"no such model","code":404}}"#,
            "no such model",
        ),
        (
            "application/json",
            r#"{"code":1113,"message":"balance is empty"}"#,
            "balance is empty",
        ),
        (
            "application/json",
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            "Overloaded",
        ),
        (
            "text/html",
            "<html><title>502 Bad Gateway</title></html>",
            "Bad Gateway",
        ),
        ("text/plain", "upstream connect error", "upstream connect error"),
        ("application/json", r#"{"type":"message","role":"assistant"}"#, ""),
        ("application/json", "{}", ""),
        ("application/json", "[]", ""),
        ("application/json", "", ""),
    ] {
        let script = response(content_type, body);
        let Served { answer, .. } = translated(&script, &chat(false)).await;
        assert!(
            answer.status >= 400,
            "{body}: {} {}",
            answer.status,
            answer.text()
        );
        assert_error(&answer, words);
        let Served { answer, .. } = translated(&script, &chat(true)).await;
        assert_error(&answer, words);
    }
}

#[tokio::test]
async fn case_09_an_error_in_a_stream_is_an_error() {
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let start = message_start(&json!({"input_tokens": 15, "output_tokens": 1}));
    let [begin, delta, _] = text_block();
    for script in [
        event_stream(std::slice::from_ref(&error)),
        event_stream(&[start.clone(), error.clone()]),
        event_stream(&[start, begin, delta, error.clone()]),
        // Without the name of the event, and with the shape of OpenAI.
        response("text/event-stream", &format!("data: {error}\n\n")),
        response(
            "text/event-stream",
            "data: {\"error\":{\"message\":\"Overloaded\"}}\n\n",
        ),
    ] {
        let Served { answer, .. } = translated(&script, &chat(true)).await;
        assert_error(&answer, "Overloaded");
    }
}

#[tokio::test]
async fn case_09_an_empty_message_is_an_answer() {
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
                         "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 1}});
    let script = response("application/json", &message.to_string());
    let Served { answer, .. } = translated(&script, &chat(false)).await;
    assert_eq!(
        (answer.status, &answer.json()["choices"][0]["finish_reason"]),
        (200, &json!("stop"))
    );
}

/// How many pieces came while the upstream was silent but for its signs of life.
fn pieces_between(answer: &Answer, from: u128, to: u128) -> usize {
    let times = answer.pieces.iter().map(|piece| piece.at.as_millis());
    times.filter(|at| (from..to).contains(at)).count()
}

#[tokio::test]
async fn case_11_a_client_gets_a_byte_for_each_ping() {
    let script = read("11-pings-are-swallowed/upstream.txt");
    let Served { answer, .. } = translated(&script, &input("11-pings-are-swallowed/input.json")).await;
    assert_whole(&answer);
    // The pings come at about 500, 1000 and 1500 ms; the text follows the last of them at once.
    for from in [400, 900] {
        assert!(
            pieces_between(&answer, from, from + 450) > 0,
            "{:?}",
            answer.pieces
        );
    }
    assert_eq!(
        answer.events().len(),
        4,
        "role, text, reason, usage: {}",
        answer.text()
    );
}

#[tokio::test]
async fn case_11_pings_before_the_message_reach_the_client() {
    let frame = |event: &Value| format!("data: {event}\n\n");
    let ping = frame(&json!({"type": "ping"}));
    let mut body = format!("{ping}#SLEEP 5\n{ping}#SLEEP 5\n");
    body.push_str(&frame(&message_start(
        &json!({"input_tokens": 15, "output_tokens": 1}),
    )));
    body.extend(text_block().iter().map(frame));
    body.push_str(&frame(&message_delta(&json!({"output_tokens": 9}))));
    body.push_str(&frame(&message_stop()));
    let Served { answer, .. } = translated(&response("text/event-stream", &body), &chat(true)).await;
    assert_whole(&answer);
    assert!(pieces_between(&answer, 400, 900) > 0, "{:?}", answer.pieces);
}
