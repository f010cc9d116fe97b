//! The paths by which a call comes: none is a way around the sidecar's reading.

use liquid_cases::{Answer, Sidecar, Tiers, Worker, input, post, read, send};
use liquid_testing::MockUpstream;
use serde_json::{Value, json};

const FOLDER: &str = "10-double-slash-and-double-version";
const REJECT: &str = "[extract]\non_worker_unavailable = \"reject\"\ndeadline_ms = 100\n";

/// Words of the document.
const MARK: &str = "its seal number 7 is sound";
const QUESTION: &str = "What is the seal number of pump 88?";

/// The document of the case in the shape of the API that a path names.
fn request(path: &str) -> Value {
    let document = input(&format!("{FOLDER}/input.json"))["messages"][0]["content"].clone();
    if path.contains("responses") {
        let user = |text: &Value| json!({"role": "user", "content": [{"type": "input_text", "text": text}]});
        return json!({"model": "m", "input": [user(&document), user(&json!(QUESTION))]});
    }
    let user = |text: &Value| json!({"role": "user", "content": text});
    json!({"model": "m", "max_tokens": 50, "messages": [user(&document), user(&json!(QUESTION))]})
}

/// The path that an error names for another spelling of it.
fn right_path(path: &str) -> &'static str {
    let path = path.replace("/./", "/").replace("%2F", "/").replace("%73", "s");
    ["/chat/completions", "/messages", "/responses"]
        .into_iter()
        .find(|name| path.contains(name))
        .unwrap()
}

/// A call is read as what its path names, or refused with the right path before it goes anywhere.
fn is_surface_or_refused(path: &str, answer: &Answer, upstream: &MockUpstream) -> bool {
    let kept = upstream.requests().is_empty();
    let refused = answer.status == 404 && kept && answer.text().contains(right_path(path));
    let (decision, reason) = (
        answer.header("x-liquid-decision"),
        answer.header("x-liquid-reason"),
    );
    refused || (answer.status == 200 && !decision.is_empty() && reason != "no_surface")
}

/// Every path is a surface or refused: with a worker the document is compressed, without one nothing of it leaves.
async fn are_surfaces(paths: &[&str]) {
    let upstream = MockUpstream::start().await.unwrap();
    let worker = Worker::start(Tiers::Lexical).await;
    let sidecar = Sidecar::start(&worker.settings(), &upstream.base_url()).await;
    let reject = Sidecar::start(REJECT, &upstream.base_url()).await;
    let model = "[upstream]\nmodel = \"openai/gpt-4o\"\n";
    let model = Sidecar::start(&format!("{model}{REJECT}"), &upstream.base_url()).await;
    let mut wrong = Vec::new();
    for path in paths {
        let body = request(path).to_string();
        let mut answer = send(post(&sidecar.url(path), body.clone())).await;
        while answer.header("x-liquid-reason") == "worker_unavailable" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            answer = send(post(&sidecar.url(path), body.clone())).await;
        }
        let decision = answer.header("x-liquid-decision");
        if !is_surface_or_refused(path, &answer, &upstream)
            || (answer.status == 200 && decision != "compressed")
        {
            let reason = answer.header("x-liquid-reason");
            wrong.push(format!("{path}: {} {decision:?} {reason:?}", answer.status));
        }
        upstream.reset();
        for sidecar in [&reject, &model] {
            let answer = send(post(&sidecar.url(path), body.clone())).await;
            let left = upstream.requests().iter().any(|request| {
                let text = String::from_utf8_lossy(&request.body).into_owned();
                text.contains(MARK)
            });
            if left || !(400..600).contains(&answer.status) {
                wrong.push(format!("{path}: left unread: {left}, status {}", answer.status));
            }
            upstream.reset();
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn case_10_every_reported_path_is_a_surface_or_refused() {
    let paths = read(&format!("{FOLDER}/paths.txt"));
    are_surfaces(&paths.lines().collect::<Vec<_>>()).await;
    let upstream = MockUpstream::start().await.unwrap();
    let sidecar = Sidecar::start("", &upstream.base_url()).await;
    let body = read(&format!("{FOLDER}/input.json"));
    for path in paths.lines() {
        upstream.reset();
        let answer = send(post(&sidecar.url(path), body.clone())).await;
        assert!(
            is_surface_or_refused(path, &answer, &upstream),
            "{path}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn case_10_other_spellings_of_a_path_are_surfaces_or_refused() {
    are_surfaces(&[
        "/v1/chat/completions//",
        "/v1/messages/",
        "/v1///messages",
        "/v1/responses/",
        "/v1/v1/v1/responses",
        "/v1/./chat/completions",
        "/v1/models/../chat/completions",
        "/v1/chat/./completions",
        "/v1/chat%2Fcompletions",
        "/v1/chat/completion%73",
        "/%76%31/messages",
        "/v1/%2e%2e/v1/messages",
        "/v1/chat/completions?api-version=2024-10-21",
    ])
    .await;
}

#[tokio::test]
async fn case_10_deployments_of_azure_are_surfaces_or_refused() {
    are_surfaces(&[
        "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        "/openai/deployments/my.deployment_1/chat/completions?api-version=2025-04-01-preview",
        "//openai/deployments/gpt-4o/chat/completions?api-version=2024-06-01",
        "/openai/v1/chat/completions",
        "/openai/v1/responses?api-version=preview",
        "/openai/responses?api-version=2025-03-01-preview",
    ])
    .await;
}

#[tokio::test]
async fn case_10_prefixes_of_other_providers_are_surfaces_or_refused() {
    are_surfaces(&[
        "/api/v1/chat/completions",
        "/v1beta/openai/chat/completions",
        "/anthropic/v1/messages",
        "/v2/chat/completions",
        "/api/v3/chat/completions",
    ])
    .await;
}
