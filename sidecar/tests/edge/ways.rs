//! Every way on which a document could leave whole, as deploy/README.md lists them: with the strict settings
//! none of them lets the upstream see it, and the client reads why.

use std::io::Write as _;

use axum::body::Body;
use http::{Method, Request};
use liquid_proto::worker::v1::{ExtractResponse, TierReason};
use liquid_testing::{MockUpstream, MockWorker, WorkerBehaviour};
use serde_json::{Value, json};

use crate::support::{Answer, Sidecar, Stack, ask, chat, eventually, raw, send, sidecar, stack};

const CHAT: &str = "/v1/chat/completions";
/// Words that stand in the document, far from the evidence.
const MARK: &str = "MARKED-PASSAGE";
const QUESTION: &str = "When did the turbine arrive?";

const STRICT: &str = "[policy]\nwhole = \"refuse\"\nunread = \"refuse\"\nmin_document_tokens = 1000\n";

fn document() -> String {
    let line = |number: usize| match number {
        77 => "The turbine arrived on Monday, 3 May.".to_owned(),
        210 => format!("Nobody may read the {MARK} of this file."),
        _ => format!("Delivery {number} went to plant {} and was accepted.", number % 7),
    };
    (0..300).map(line).collect::<Vec<_>>().join("\n")
}

/// The strict settings, a worker that finds the evidence, and an upstream that keeps what it gets.
async fn strict() -> (Stack, MockWorker) {
    strict_with([WorkerBehaviour::Evidence]).await
}

async fn strict_with(behaviours: impl IntoIterator<Item = WorkerBehaviour>) -> (Stack, MockWorker) {
    let worker = MockWorker::start(behaviours).await.unwrap();
    let upstream = MockUpstream::start().await.unwrap();
    let toml = format!(
        "{STRICT}[extract]\non_worker_unavailable = \"reject\"\nworkers = [\"{}\"]\n",
        worker.address()
    );
    let sidecar = sidecar(&toml, &upstream.base_url()).await;
    (Stack { upstream, sidecar }, worker)
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn messages(messages: Value) -> Value {
    json!({"model": "m", "max_tokens": 9, "messages": messages})
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Ways of a body that is read: path, body, and the reason that the client gets.
fn read_ways() -> Vec<(&'static str, Value, &'static str)> {
    let doc = document();
    let asked = |doc: &str| json!([user(doc), user(QUESTION)]);
    let code: String = (0..400)
        .map(|number| format!("    let value_{number} = compute({number}); // {MARK}\n"))
        .collect();
    vec![
        (CHAT, messages(json!([user(&doc)])), "no_question"),
        (
            CHAT,
            messages(json!([user(&doc), user("Translate it into French.")])),
            "needs_everything",
        ),
        (
            CHAT,
            messages(json!([user(&doc), user("Summarise the document.")])),
            "needs_overview",
        ),
        (CHAT, messages(asked(&code)), "code"),
        (
            CHAT,
            messages(asked(&format!("{MARK}{}", "QUJD".repeat(3000)))),
            "not_prose",
        ),
        (
            CHAT,
            messages(
                json!([user(&doc), user(QUESTION), {"role": "assistant", "content": "In May."},
                    user("Now translate the whole report into French.")]),
            ),
            "needs_everything",
        ),
        (
            "/v1/messages",
            messages(json!([{"role": "user", "content": [
                {"type": "text", "text": doc, "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": QUESTION}]}])),
            "cache_marked",
        ),
        (
            "/v1/responses",
            json!({"model": "m", "previous_response_id": "resp_1", "input": format!("{doc}\n\n{QUESTION}")}),
            "stateful",
        ),
        (
            CHAT,
            messages(json!([{"role": "system", "content": doc}, user(QUESTION)])),
            "whole_text",
        ),
        (
            CHAT,
            messages(json!([user(QUESTION), {"role": "assistant", "content": doc}, user(QUESTION)])),
            "whole_text",
        ),
        (
            CHAT,
            messages(json!([user(QUESTION), {"role": "tool", "tool_call_id": "t", "content": code}])),
            "code",
        ),
        (
            CHAT,
            messages(json!([
                user(&doc.replace(MARK, "other")),
                user(&code),
                user(QUESTION)
            ])),
            "whole_text",
        ),
        (
            CHAT,
            messages(Value::Array(
                doc.lines().map(user).chain([user(QUESTION)]).collect(),
            )),
            "whole_text",
        ),
        (
            "/v1/messages",
            messages(json!([{"role": "user", "content": [
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf",
                                                "data": format!("{MARK}{}", "JVBERi0x".repeat(4000))}},
                {"type": "text", "text": QUESTION}]}])),
            "whole_text|attachment",
        ),
        (
            CHAT,
            json!({"model": "m", "messages": [user(QUESTION)], "tools": [{"type": "function", "function": {
                "name": "f", "description": doc}}]}),
            "whole_text",
        ),
        (
            CHAT,
            json!({"model": "m", "messages": [user(QUESTION)], "metadata": {(doc.clone()): 1}}),
            "whole_text",
        ),
        (
            "/v1/hybrid_chat",
            json!({"model": "m", "large_document": doc,
            "final_user_prompt": "Translate it into French."}),
            "needs_everything",
        ),
    ]
}

#[track_caller]
fn is_refused(answer: &Answer, reason: &str, way: &str) {
    let (decision, found) = (
        answer.header("x-liquid-decision"),
        answer.header("x-liquid-reason"),
    );
    let is_reason = reason.split('|').any(|reason| reason == found);
    assert!(
        decision == "rejected" && is_reason,
        "{way}: {decision} {found}: {}",
        answer.text()
    );
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        answer.status >= 400 && answer.status < 500,
        "{way}: {}",
        answer.status
    );
    assert!(message.contains("policy."), "{way}: {message}");
    assert!(!message.contains(MARK), "{way}: {message}");
}

#[track_caller]
fn nothing_left(stack: &Stack, way: &str) {
    for request in stack.upstream.requests() {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        assert!(
            !text.contains(MARK),
            "{way}: the document left on {}",
            request.path
        );
    }
}

#[tokio::test]
async fn no_document_that_was_read_leaves_whole() {
    let (stack, _worker) = strict().await;
    for (number, (path, body, reason)) in read_ways().into_iter().enumerate() {
        let way = format!("{number} {path} {reason}");
        let answer = ask(&stack.url(path), body.to_string()).await;
        is_refused(&answer, reason, &way);
        let shape = answer.json()["type"].as_str().map(str::to_owned);
        assert_eq!(
            shape.as_deref(),
            (path == "/v1/messages").then_some("error"),
            "{way}"
        );
    }
    assert!(
        stack.upstream.requests().is_empty(),
        "a refusal costs no call upstream"
    );
}

#[tokio::test]
async fn no_document_that_no_pack_can_stand_for_leaves_whole() {
    let below_floor = ExtractResponse {
        below_floor: true,
        ..ExtractResponse::default()
    };
    let (stack, _worker) = strict_with(vec![WorkerBehaviour::Response(Box::new(below_floor))]).await;
    let turns = json!([user(&document()), user(QUESTION)]);
    let answer = ask(&stack.url(CHAT), messages(turns).to_string()).await;
    is_refused(&answer, "below_floor", "below_floor");
    assert!(
        stack.upstream.requests().is_empty(),
        "a refusal costs no call upstream"
    );
}

#[tokio::test]
async fn of_a_question_that_no_model_reads_excerpts_leave_and_never_the_rest() {
    let other_language = ExtractResponse {
        tier_reason_code: TierReason::OtherLanguage.into(),
        ..ExtractResponse::default()
    };
    let answer = || WorkerBehaviour::Response(Box::new(other_language.clone()));
    let first = json!([user(&document()), user(QUESTION)]);
    let later = json!([user(&document()), user(QUESTION), {"role": "assistant", "content": "In May."},
        user("Welche Farbe hat der Kran?")]);
    for (behaviours, turns) in [
        (vec![answer()], &first),
        (vec![WorkerBehaviour::Evidence, answer()], &later),
    ] {
        let (stack, _worker) = strict_with(behaviours).await;
        let answer = ask(&stack.url(CHAT), messages(turns.clone()).to_string()).await;
        assert_eq!(answer.status, 200);
        let requests = stack.upstream.requests();
        let sent = requests.first().map(|request| request.body.len());
        assert!(sent.is_some_and(|sent| sent < document().len()), "{sent:?}");
    }
}

#[tokio::test]
async fn no_header_switches_the_policy_off() {
    let (stack, _worker) = strict().await;
    let body = messages(json!([user(&document()), user(QUESTION)])).to_string();
    for (header, value, reason) in [
        ("x-liquid-mode", "off", "mode_off"),
        ("x-liquid-ratio", "1", "not_smaller"),
    ] {
        let mut request = crate::support::post(&stack.url(CHAT), body.clone());
        request.headers_mut().insert(header, value.parse().unwrap());
        let answer = send(request).await;
        if answer.status == 200 {
            // The mock worker keeps few lines whatever the ratio: compressed is as good.
            assert_eq!(answer.header("x-liquid-decision"), "compressed", "{header}");
        } else {
            is_refused(&answer, reason, header);
        }
    }
    nothing_left(&stack, "headers");
}

#[tokio::test]
async fn what_is_compressed_and_what_is_short_leaves() {
    let (stack, _worker) = strict().await;
    let body = messages(json!([user(&document()), user(QUESTION)]));
    let answer = ask(&stack.url(CHAT), body.to_string()).await;
    assert_eq!(
        (answer.status, answer.header("x-liquid-decision")),
        (200, "compressed")
    );
    assert_eq!(ask(&stack.url(CHAT), chat("m", false)).await.status, 200);
    assert_eq!(
        ask(&stack.url("/v1/embeddings"), "{\"input\":\"short\"}")
            .await
            .status,
        200
    );
    let models = Request::get(stack.url("/v1/models")).body(Body::empty()).unwrap();
    assert_eq!(send(models).await.status, 200);
    assert_eq!(stack.upstream.requests().len(), 4);
    nothing_left(&stack, "compressed");
}

#[tokio::test]
async fn nothing_that_was_not_read_leaves() {
    let (stack, _worker) = strict().await;
    let doc = document();
    let body = messages(json!([user(&doc), user(QUESTION)])).to_string();
    for (method, path) in [
        (Method::POST, "/v1/embeddings"),
        (Method::POST, "/v1/agents/completions"),
        (Method::POST, "/v1/files"),
        (Method::POST, "/v1/batches"),
        (Method::POST, "/v1/audio/transcriptions"),
        (Method::POST, "/v1/messages/count_tokens"),
        (Method::POST, "/v1/messages/batches"),
        (Method::POST, "/v1/responses/input_tokens"),
        (Method::POST, "/v1/threads/thread_1/messages"),
        (Method::POST, "/v1beta/models/gemini-pro:generateContent"),
        (Method::POST, "/api/chat"),
        (Method::PUT, CHAT),
        (Method::PATCH, "/v1/anything"),
        (Method::DELETE, "/v1/files/file_1"),
        (Method::GET, "/v1/responses"),
    ] {
        let way = format!("{method} {path}");
        let request = Request::builder().method(method).uri(stack.url(path));
        let answer = send(request.body(Body::from(body.clone())).unwrap()).await;
        is_refused(&answer, "unread", &way);
    }
    let parts: Vec<_> = doc
        .lines()
        .map(|line| Ok::<_, std::convert::Infallible>(line.to_owned()))
        .collect();
    let chunked = Request::post(stack.url("/v1/files")).body(Body::from_stream(futures::stream::iter(parts)));
    is_refused(&send(chunked.unwrap()).await, "unread", "chunked");
    let multipart = format!("--b\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\n{doc}\r\n--b--\r\n");
    let request =
        Request::post(stack.url("/v1/files")).header("content-type", "multipart/form-data; boundary=b");
    is_refused(
        &send(request.body(Body::from(multipart)).unwrap()).await,
        "unread",
        "multipart",
    );
    for path in [CHAT, "/v1/embeddings", "/v1/messages", "/v1/completions"] {
        let request = Request::post(stack.url(path)).header("content-encoding", "gzip");
        let answer = send(request.body(Body::from(gzip(&body))).unwrap()).await;
        is_refused(&answer, "unread", &format!("gzip {path}"));
    }
    is_refused(
        &ask(&stack.url(CHAT), format!("{body}}}")).await,
        "unread",
        "not JSON",
    );
    let url = format!("/v1/search?q={}", MARK.repeat(200));
    let request = Request::get(stack.url(&url)).body(Body::empty()).unwrap();
    is_refused(&send(request).await, "unread", "a query");
    for path in ["/v1/realtime", "/v1/responses"] {
        let upgrade = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let answer = raw(stack.sidecar.address, upgrade.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 403") && answer.contains("x-liquid-reason: unread"),
            "{answer}"
        );
    }
    assert!(stack.upstream.requests().is_empty());
}

#[tokio::test]
async fn no_spelling_of_a_path_leaves() {
    let (stack, _worker) = strict().await;
    let body = messages(json!([user(&document()), user("Translate it into French.")])).to_string();
    for path in [
        "/v1//chat/completions",
        "/v1/chat/completions/",
        "/v1/v1/messages",
        "//chat/completions",
        "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        "/v1beta/openai/chat/completions",
        "/v1/chat%2fcompletions",
        "/v1/chat/completions;a",
        "/v1/team/chat/completions",
    ] {
        let answer = ask(&stack.url(path), body.clone()).await;
        assert!(matches!(answer.status, 403 | 404), "{path}: {}", answer.status);
    }
    assert!(stack.upstream.requests().is_empty());
}

#[tokio::test]
async fn without_a_worker_nothing_leaves() {
    let strict = format!("{STRICT}[extract]\non_worker_unavailable = \"reject\"\n");
    let stack = stack(&strict).await;
    let body = messages(json!([user(&document()), user(QUESTION)])).to_string();
    let answer = ask(&stack.url(CHAT), body).await;
    assert_eq!(
        (answer.status, answer.header("x-liquid-reason")),
        (503, "worker_unavailable")
    );
    assert!(stack.upstream.requests().is_empty());
}

#[tokio::test]
async fn an_allowed_path_leaves_and_no_other() {
    let stack = stack("[policy]\nunread = \"refuse\"\nunread_allow = [\"/embeddings\"]\n").await;
    let body = json!({"model": "m", "input": document()}).to_string();
    assert_eq!(ask(&stack.url("/v1/embeddings"), body.clone()).await.status, 200);
    assert_eq!(stack.upstream.last().unwrap().body, body);
    let answer = ask(&stack.url("/v1/embeddings/../files"), body).await;
    is_refused(&answer, "unread", "a path beside the allowed one");
    assert_eq!(stack.upstream.requests().len(), 1);
}

#[tokio::test]
async fn coverage_takes_the_place_of_what_can_be_cut() {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let upstream = MockUpstream::start().await.unwrap();
    let toml = format!(
        "[policy]\nwhole = \"coverage\"\n[extract]\nworkers = [\"{}\"]\n",
        worker.address()
    );
    let sidecar = sidecar(&toml, &upstream.base_url()).await;
    let stack = Stack { upstream, sidecar };
    let divisible = [
        "no_question",
        "needs_everything",
        "needs_overview",
        "cache_marked",
        "stateful",
    ];
    for (path, body, reason) in read_ways() {
        let answer = ask(&stack.url(path), body.to_string()).await;
        let found = (
            answer.header("x-liquid-decision"),
            answer.header("x-liquid-reason"),
        );
        if divisible.contains(&reason) {
            assert_eq!(found.0, "compressed", "{path} {reason}");
            assert!(
                matches!(found.1, "coverage" | "replayed"),
                "{path} {reason}: {}",
                found.1
            );
            let received = String::from_utf8_lossy(&stack.upstream.last().unwrap().body).into_owned();
            assert!(!received.contains(MARK), "{path} {reason}");
        } else {
            assert_ne!(found.0, "rejected", "{path} {reason}");
        }
    }
}

#[tokio::test]
async fn a_call_waits_for_the_first_worker() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let upstream = MockUpstream::start().await.unwrap();
    let toml = format!("[extract]\nworkers = [\"{address}\"]\ndeadline_ms = 15000\n");
    let sidecar = sidecar(&toml, &upstream.base_url()).await;
    let health =
        |sidecar: &Sidecar| serde_json::to_value(sidecar.app.live.load().compressor.workers()).unwrap();
    let known = health(&sidecar);
    assert_ne!(known[0]["health"], "healthy", "nobody has asked it");
    assert_eq!(known[0]["healthy"], false);
    let url = sidecar.url(CHAT);
    let body = messages(json!([user(&document()), user(QUESTION)])).to_string();
    let waiting = tokio::spawn(async move { ask(&url, body).await });
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert!(upstream.requests().is_empty(), "it waits");
    let _worker = MockWorker::start_at(address, [WorkerBehaviour::Evidence])
        .await
        .unwrap();
    let answer = waiting.await.unwrap();
    assert_eq!(
        answer.header("x-liquid-decision"),
        "compressed",
        "{:?}",
        answer.headers
    );
    eventually("the worker is healthy", || {
        health(&sidecar)[0]["health"] == "healthy"
    })
    .await;
}
