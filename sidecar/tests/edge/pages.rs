//! `/liquid/` for a browser on this machine: what it shows, and to whom.

use axum::body::Body;
use http::Request;
use liquid_testing::{MockUpstream, MockWorker, WorkerBehaviour};
use serde_json::{Value, json};

use crate::contract::{QUESTION, with_clauses};
use crate::support::{Answer, Sidecar, ask, raw, send, sidecar, stack};

const EVIDENCE: &str = "A termination needs <b>ninety</b> days of written notice.";
const ON: &str = "[pages]\nenabled = true\n";

async fn get(sidecar: &Sidecar, path: &str) -> Answer {
    send(Request::get(sidecar.url(path)).body(Body::empty()).unwrap()).await
}

fn body() -> String {
    json!({"model": "m", "messages": [
        {"role": "user", "content": with_clauses(&[(300, EVIDENCE)])}, {"role": "user", "content": QUESTION}]})
    .to_string()
}

async fn with_worker(toml: &str) -> (Sidecar, MockUpstream, MockWorker) {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let upstream = MockUpstream::start().await.unwrap();
    let toml = format!("{toml}\n[extract]\nworkers = [\"{}\"]\n", worker.address());
    let sidecar = sidecar(&toml, &upstream.base_url()).await;
    (sidecar, upstream, worker)
}

#[tokio::test]
async fn there_are_no_pages_unless_they_are_switched_on() {
    let stack = stack("").await;
    for path in ["/liquid/", "/liquid/calls", "/liquid/calls/1"] {
        let answer = get(&stack.sidecar, path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text().contains("pages.enabled"), "{}", answer.text());
    }
    assert_eq!(get(&stack.sidecar, "/liquid/stats").await.status, 200);
    assert!(stack.upstream.requests().is_empty());
}

#[tokio::test]
async fn the_page_comes_with_a_policy_that_runs_nothing_else() {
    let stack = stack(ON).await;
    let page = get(&stack.sidecar, "/liquid/").await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    assert!(
        page.header("content-security-policy")
            .contains("default-src 'none'; script-src 'sha256-")
    );
    assert_eq!(
        (page.header("x-frame-options"), page.header("cache-control")),
        ("DENY", "no-store")
    );
    let calls = get(&stack.sidecar, "/liquid/calls").await;
    assert_eq!(
        (
            calls.header("content-type"),
            calls.header("x-content-type-options")
        ),
        ("application/json", "nosniff")
    );
    let bare = get(&stack.sidecar, "/liquid").await;
    assert_eq!((bare.status, bare.header("location")), (307, "/liquid/"));
    let unknown = get(&stack.sidecar, "/liquid/calls/9").await;
    assert_eq!(
        (unknown.status, unknown.json()["error"]["code"].as_str()),
        (404, Some("call_not_found"))
    );
    assert!(stack.upstream.requests().is_empty());
}

#[tokio::test]
async fn a_rebound_name_is_refused_and_the_other_pages_are_as_before() {
    let stack = stack(ON).await;
    let get =
        |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let address = stack.sidecar.address;
    for path in ["/liquid/", "/liquid/calls", "/liquid/calls/1"] {
        let answer = raw(address, get(path, "evil.example:8787").as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 403 ") && answer.contains("pages_refused"),
            "{answer}"
        );
    }
    let answer = raw(
        address,
        get("/liquid/calls", &format!("localhost:{}", address.port())).as_bytes(),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = raw(address, get("/liquid/stats", "evil.example").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_call_is_listed_and_its_pack_laid_over_its_text() {
    let on = format!("{ON}keep_texts = true\n");
    let (sidecar, _upstream, _worker) = with_worker(&on).await;
    let answer = ask(&sidecar.url("/v1/chat/completions"), body()).await;
    assert_eq!(
        answer.header("x-liquid-decision"),
        "compressed",
        "{:?}",
        answer.headers
    );

    let list = get(&sidecar, "/liquid/calls").await.json();
    let call = &list["calls"][0];
    assert_eq!(
        (
            call["number"].as_u64(),
            call["decision"].as_str(),
            call["reason"].as_str()
        ),
        (Some(1), Some("compressed"), Some("question"))
    );
    assert_eq!(call["pack"], answer.header("x-liquid-pack-id"));
    assert_eq!(
        call["tokens_before"].to_string(),
        answer.header("x-liquid-tokens-before")
    );
    assert_eq!(list["totals"]["compressed"], 1);
    assert!(!list.to_string().contains("notice"), "the list holds no text");

    let detail = get(&sidecar, "/liquid/calls/1").await.json();
    let stretches = detail["texts"]["sites"][0]["stretches"].as_array().unwrap();
    let kept = |stretch: &&Value| stretch["kind"] == "kept";
    let kept: Vec<&Value> = stretches.iter().filter(kept).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["text"], EVIDENCE);
    assert_eq!(detail["texts"]["asks"][0]["text"], QUESTION);
}

#[tokio::test]
async fn without_texts_a_call_shows_its_account() {
    let (sidecar, _upstream, _worker) = with_worker(ON).await;
    ask(&sidecar.url("/v1/chat/completions"), body()).await;
    let encoded = Request::post(sidecar.url("/v1/responses")).header("content-encoding", "gzip");
    send(encoded.body(Body::from("x")).unwrap()).await;
    let list = get(&sidecar, "/liquid/calls").await.json();
    assert_eq!(
        (
            list["calls"][0]["surface"].as_str(),
            list["calls"][0]["reason"].as_str()
        ),
        (Some("responses"), Some("encoded_body"))
    );
    let detail = get(&sidecar, "/liquid/calls/1").await;
    let json = detail.json();
    assert_eq!(
        (json["packs"][0]["site"].as_u64(), &json["texts"]),
        (Some(0), &Value::Null)
    );
    assert!(!detail.text().contains("notice"), "{}", detail.text());
}
