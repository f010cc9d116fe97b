//! A document on its way: packed, reported, explained, refused.

use std::time::Duration;

use liquid_testing::{MockUpstream, MockWorker, WorkerBehaviour};
use serde_json::{Value, json};

use crate::contract::{EVIDENCE, QUESTION, document};
use crate::support::{Answer, Stack, ask, chat, eventually, open, post, send, sidecar, stack};

pub(crate) const CHAT: &str = "/v1/chat/completions";

pub(crate) fn body(stream: bool) -> String {
    json!({"model": "m", "stream": stream, "messages": [
        {"role": "user", "content": document()}, {"role": "user", "content": QUESTION}]})
    .to_string()
}

/// A sidecar with a worker that is known to be healthy.
pub(crate) async fn with_worker(toml: &str, behaviour: WorkerBehaviour) -> (Stack, MockWorker) {
    let worker = MockWorker::start([behaviour]).await.unwrap();
    let upstream = MockUpstream::start().await.unwrap();
    let toml = format!(
        "{toml}\n[extract]\nworkers = [\"{}\"]\nhealth_interval_ms = 50\n",
        worker.address()
    );
    let sidecar = sidecar(&toml, &upstream.base_url()).await;
    let stack = Stack { upstream, sidecar };
    let compressor = stack.sidecar.app.live.load().compressor.clone();
    eventually("the worker is healthy", || {
        compressor.workers().iter().any(|worker| worker.healthy)
    })
    .await;
    (stack, worker)
}

pub(crate) fn number(answer: &Answer, header: &str) -> u64 {
    answer
        .header(header)
        .parse()
        .unwrap_or_else(|_| panic!("{header}: {:?}", answer.headers))
}

#[tokio::test]
async fn a_document_is_replaced_and_the_answer_says_so() {
    let (stack, _worker) = with_worker("", WorkerBehaviour::Evidence).await;
    for stream in [false, true] {
        let answer = ask(&stack.url(CHAT), body(stream)).await;
        assert_eq!(
            (answer.status, answer.header("x-liquid-decision")),
            (200, "compressed"),
            "{:?}",
            answer.headers
        );
        assert_eq!(answer.header("x-liquid-reason"), "question");
        assert!(number(&answer, "x-liquid-tokens-after") * 5 < number(&answer, "x-liquid-tokens-before"));
        let received = stack.upstream.last().unwrap();
        assert_eq!(
            received.header("content-length"),
            Some(received.body.len().to_string().as_str())
        );
        let pack = received.json()["messages"][0]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(pack.contains(EVIDENCE) && !pack.contains("Clause 17 "), "{pack}");
        assert_eq!(received.json()["messages"][1]["content"], QUESTION);

        let id = answer.header("x-liquid-pack-id");
        let request = http::Request::get(stack.url(&format!("/liquid/packs/{id}")));
        let manifest = send(request.body(axum::body::Body::empty()).unwrap())
            .await
            .json();
        assert_eq!(manifest["id"], id);
        assert_eq!(
            manifest["packs"][0]["source"]["bytes"].as_u64(),
            Some(document().len() as u64)
        );
        let kept = manifest["packs"][0]["kept"].as_array().unwrap();
        let quotes = |span: &Value| {
            let range = span["start"].as_u64().unwrap() as usize..span["end"].as_u64().unwrap() as usize;
            document()[range].contains(EVIDENCE)
        };
        assert!(kept.iter().any(quotes), "{manifest}");
    }
    assert!(
        stack
            .sidecar
            .metric("liquid_sidecar_prompt_tokens_saved_total{surface=\"chat_completions\"}")
            > 1000.0
    );
}

#[tokio::test]
async fn a_dry_run_shows_the_pack_and_sends_nothing() {
    let (stack, _worker) = with_worker("", WorkerBehaviour::Evidence).await;
    let answer = ask(&stack.url("/v1/chat/completions?dry_run=1"), body(true)).await;
    let json = answer.json();
    assert_eq!(json["decision"]["action"], "compressed");
    assert!(
        json["evidence"]["packs"][0]["text"]
            .as_str()
            .unwrap()
            .contains(EVIDENCE)
    );
    assert_eq!(json["manifest"]["id"], answer.header("x-liquid-pack-id"));
    assert!(json["ratio"].as_f64().unwrap() > 5.0);
    assert!(stack.upstream.requests().is_empty());
}

#[tokio::test]
async fn every_document_of_a_call_is_reported_and_counted() {
    let (stack, _worker) = with_worker("", WorkerBehaviour::Evidence).await;
    let code: String = (0..900)
        .map(|number| format!("    let value_{number} = compute(&inputs[{number}], {number})?;\n"))
        .collect();
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "fetch", "arguments": "{}"}},
            {"id": "c2", "type": "function", "function": {"name": "read_file", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": document()},
        {"role": "tool", "tool_call_id": "c2", "content": format!("fn main() -> Result<(), Error> {{\n{code}}}\n")}]});
    let answer = ask(&stack.url(CHAT), body.to_string()).await;
    assert_eq!(
        answer.header("x-liquid-decision"),
        "compressed",
        "{:?}",
        answer.headers
    );
    let sites: Vec<Vec<&str>> = answer
        .header("x-liquid-sites")
        .split(", ")
        .map(|site| site.split(' ').collect())
        .collect();
    let [packed, whole] = sites.as_slice() else {
        panic!("{sites:?}")
    };
    assert_eq!(packed[..3], ["tool_result", "compressed", "question"]);
    assert_eq!(whole[..2], ["tool_result", "passed"]);
    let tokens =
        |site: &[&str]| -> Vec<u64> { site[3].split('/').map(|number| number.parse().unwrap()).collect() };
    let (packed_tokens, whole_tokens) = (tokens(packed), tokens(whole));
    assert!(packed_tokens[0] > 5 * packed_tokens[1]);
    assert_eq!(whole_tokens[0], whole_tokens[1]);
    let saved = number(&answer, "x-liquid-tokens-before") - number(&answer, "x-liquid-tokens-after");
    assert_eq!(
        packed_tokens[0] - packed_tokens[1],
        saved,
        "what the sites saved is what the call saved"
    );

    let metric = |which: &str, site: &[&str]| {
        let labels = format!(
            "{{kind=\"{}\",decision=\"{}\",reason=\"{}\"}}",
            site[0], site[1], site[2]
        );
        stack
            .sidecar
            .metric(&format!("liquid_sidecar_site_tokens_{which}_total{labels}"))
    };
    for (site, tokens) in [(packed, &packed_tokens), (whole, &whole_tokens)] {
        assert_eq!(metric("before", site), tokens[0] as f64, "{site:?}");
        assert_eq!(metric("after", site), tokens[1] as f64, "{site:?}");
    }

    ask(&stack.url(CHAT), body.to_string()).await;
    let request = http::Request::get(stack.url("/liquid/stats"));
    let stats = send(request.body(axum::body::Body::empty()).unwrap())
        .await
        .json();
    let sum = |decision: &str, tokens: &[u64]| {
        json!({"kind": "tool_result", "decision": decision, "documents": 2,
               "tokens_before": 2 * tokens[0], "tokens_after": 2 * tokens[1]})
    };
    assert_eq!(
        stats["sites"],
        json!([sum("compressed", &packed_tokens), sum("passed", &whole_tokens)])
    );
    let whole_call = 2 * number(&answer, "x-liquid-tokens-before");
    assert_eq!(
        (stats["requests"].as_u64(), stats["tokens_before"].as_u64()),
        (Some(2), Some(whole_call))
    );
}

/// The answer to a dry run of a body on a path.
async fn dry_run(stack: &Stack, path: &str, body: &Value) -> Value {
    let request = http::Request::post(stack.url(path)).header("x-liquid-dry-run", "1");
    let answer = send(request.body(body.to_string().into()).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_dry_run_shows_turns_sites_and_asks_of_every_surface() {
    let (stack, _worker) = with_worker("", WorkerBehaviour::Evidence).await;
    let call = json!({"q": "termination notice"}).to_string();
    let chat = json!({"messages": [
        {"role": "system", "content": "You are a lawyer's assistant."},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "fetch", "arguments": call}}]},
        {"role": "tool", "tool_call_id": "c1", "content": document()}]});
    let responses = json!({"instructions": "You are a lawyer's assistant.", "input": [
        {"role": "user", "content": QUESTION},
        {"type": "function_call", "call_id": "c1", "name": "fetch", "arguments": call},
        {"type": "function_call_output", "call_id": "c1", "output": document()}]});
    let messages = json!({"max_tokens": 9, "system": "You are a lawyer's assistant.", "messages": [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "c1", "name": "fetch", "input": {"q": "termination notice"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": document()}]}]});
    for (path, body) in [
        (CHAT, chat),
        ("/v1/responses", responses),
        ("/v1/messages", messages),
    ] {
        let json = dry_run(&stack, path, &body).await;
        let site = &json["decision"]["sites"][0];
        assert_eq!(
            (
                site["kind"].as_str(),
                site["action"].as_str(),
                site["turn"].as_u64()
            ),
            (Some("tool_result"), Some("compressed"), Some(1)),
            "{path}: {json}"
        );
        let evidence = &json["evidence"];
        let [first, second] = evidence["turns"].as_array().unwrap().as_slice() else {
            panic!("{path}: {evidence}")
        };
        assert_eq!(
            (
                second["turn"].as_u64(),
                second["reason"].as_str(),
                second["further"].as_str()
            ),
            (Some(1), Some("question"), Some("nothing")),
            "{path}"
        );
        let first_part = first["first_part"].as_u64().unwrap() + first["parts"].as_u64().unwrap();
        assert!(
            second["first_part"].as_u64().unwrap() >= first_part,
            "{path}: {evidence}"
        );
        let asks = evidence["asks"].as_array().unwrap();
        let goal =
            |ask: &Value| ask["source"] == "goal" && ask["text"] == QUESTION && ask["need"] == "evidence";
        let arguments = |ask: &Value| ask["source"] == "arguments" && ask["turn"] == 1;
        assert!(
            asks.iter().any(goal) && asks.iter().any(arguments),
            "{path}: {evidence}"
        );
        let pack = &evidence["packs"][0];
        assert_eq!(pack["site"], 0);
        assert!(
            pack["excerpts"][0]["text"].as_str().unwrap().contains(EVIDENCE),
            "{path}: {pack}"
        );
        assert!(!json.to_string().contains("Clause 17 "), "{path}");
    }
    assert!(stack.upstream.requests().is_empty());
}

#[tokio::test]
async fn a_dry_run_of_a_call_that_passes_shows_what_was_read() {
    let (stack, worker) = with_worker("", WorkerBehaviour::Evidence).await;
    let body = json!({"messages": [
        {"role": "user", "content": document()},
        {"role": "user", "content": "Translate it into German."}]});
    let json = dry_run(&stack, CHAT, &body).await;
    assert_eq!(json["decision"]["sites"][0]["reason"], "needs_everything");
    assert_eq!(json["evidence"]["turns"][0]["need"], "transform");
    assert_eq!(json["evidence"]["asks"][0]["text"], "Translate it into German.");
    assert_eq!(json["evidence"]["packs"], json!([]));
    assert_eq!((json["request"].clone(), worker.arrived()), (body, 0));
}

#[tokio::test]
async fn hybrid_chat_leaves_as_a_chat_completion() {
    let (stack, _worker) = with_worker("", WorkerBehaviour::Evidence).await;
    let hybrid = |dry_run: bool| {
        json!({"model": "m", "large_document": document(), "extraction_task": QUESTION,
               "final_user_prompt": "Answer in one line.", "dry_run": dry_run})
        .to_string()
    };
    let dry = ask(&stack.url("/v1/hybrid_chat"), hybrid(true)).await;
    assert_eq!(dry.json()["object"], "liquid.dry_run");
    assert!(stack.upstream.requests().is_empty());
    let answer = ask(&stack.url("/v1/hybrid_chat"), hybrid(false)).await;
    assert_eq!(
        (answer.status, answer.json()["object"].as_str()),
        (200, Some("chat.completion"))
    );
    let received = stack.upstream.last().unwrap();
    assert_eq!(received.path, "/v1/chat/completions");
    assert!(String::from_utf8_lossy(&received.body).contains(EVIDENCE));
}

#[tokio::test]
async fn the_extractive_provider_quotes_with_offsets() {
    let (stack, _worker) = with_worker(
        "[upstream]\nmodel = \"local/extractive\"",
        WorkerBehaviour::Evidence,
    )
    .await;
    let said = ask(&stack.url(CHAT), body(false)).await.json()["choices"][0]["message"]["content"].clone();
    let start = document().find(EVIDENCE).unwrap();
    let quote = format!("[{start}-{}] \"{EVIDENCE}\"", start + EVIDENCE.len());
    assert!(said.as_str().unwrap().contains(&quote), "{said}");
    // A document that is too short to be worth packing for a model is searched all the same.
    let lines = document()
        .lines()
        .skip(280)
        .take(40)
        .collect::<Vec<_>>()
        .join("\n");
    let short = json!({"model": "m", "messages": [
        {"role": "user", "content": lines}, {"role": "user", "content": QUESTION}]});
    let answer = ask(&stack.url(CHAT), short.to_string()).await;
    assert!(answer.text().contains(EVIDENCE), "{}", answer.text());
    assert!(stack.upstream.requests().is_empty());
}

#[tokio::test]
async fn without_a_worker_the_original_goes_or_stays() {
    let forward = stack("").await;
    let answer = ask(&forward.url(CHAT), body(false)).await;
    assert_eq!(
        (answer.status, answer.header("x-liquid-reason")),
        (200, "worker_unavailable")
    );
    assert!(!answer.header("x-liquid-error").is_empty());
    assert_eq!(forward.upstream.last().unwrap().body, body(false));

    let reject = stack("[extract]\non_worker_unavailable = \"reject\"").await;
    let answer = ask(&reject.url(CHAT), body(false)).await;
    assert_eq!(
        (answer.status, answer.header("x-liquid-decision")),
        (503, "rejected")
    );
    assert!(answer.json()["error"]["code"].is_string());
    let anthropic = ask(&reject.url("/v1/messages"), body(false)).await;
    assert_eq!(
        (anthropic.status, anthropic.json()["error"]["type"].as_str()),
        (503, Some("overloaded_error"))
    );
    assert!(reject.upstream.requests().is_empty());
    // What needs no worker is answered all the same.
    assert_eq!(ask(&reject.url(CHAT), chat("m", false)).await.status, 200);
}

#[tokio::test]
async fn a_client_that_goes_ends_the_extraction() {
    let (stack, worker) = with_worker("", WorkerBehaviour::Slow(Duration::from_millis(1500))).await;
    let waiting = tokio::spawn(open(post(&stack.url(CHAT), body(false))));
    eventually("the worker works", || worker.arrived() == 1).await;
    waiting.abort();
    eventually("the call has ended", || {
        stack.sidecar.metric("liquid_sidecar_requests_in_flight") < 0.5
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1800)).await;
    assert_eq!(worker.answered(), 0, "the worker was not told");
    assert!(stack.upstream.requests().is_empty());
}
