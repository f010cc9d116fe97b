//! A model that asks for more of a document: answered here, never seen by the application.

mod errors;
mod responses;
mod streams;
mod surfaces;

use bytes::Bytes;
use liquid_sidecar::pack;
use liquid_testing::{Canned, MockUpstream, MockWorker, WorkerBehaviour};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::contract::{EVIDENCE, QUESTION, with_clauses};
use crate::support::{Answer, Stack, ask, eventually, sidecar};

const CHAT: &str = "/v1/chat/completions";
const OTHER: &str = "The warranty covers seventeen months after delivery.";
const ON: &str = "[policy.retrieval]\nenabled = true\n[upstream]\nretries = 0\n";

fn document() -> String {
    with_clauses(&[(300, EVIDENCE), (500, OTHER)])
}

fn name() -> String {
    let document = document();
    pack::name(&document, &Sha256::digest(&document).into())
}

fn call(fields: Value) -> String {
    let mut body = json!({"model": "m", "messages": [
        {"role": "user", "content": document()}, {"role": "user", "content": QUESTION}]});
    for (field, value) in fields.as_object().unwrap() {
        body[field] = value.clone();
    }
    body.to_string()
}

fn weather() -> Value {
    json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}})
}

async fn with_worker(toml: &str) -> (Stack, MockWorker) {
    with_workers_behaviour(toml, Vec::new()).await
}

/// A sidecar with a worker that is known to be healthy, finds evidence at first, and then behaves so.
async fn with_workers_behaviour(toml: &str, then: Vec<WorkerBehaviour>) -> (Stack, MockWorker) {
    let behaviours = std::iter::once(WorkerBehaviour::Evidence).chain(then);
    let worker = MockWorker::start(behaviours).await.unwrap();
    let upstream = MockUpstream::start().await.unwrap();
    let workers = format!(
        "[extract]\nworkers = [\"{}\"]\nhealth_interval_ms = 50\n",
        worker.address()
    );
    let sidecar = sidecar(&format!("{toml}\n{workers}"), &upstream.base_url()).await;
    let stack = Stack { upstream, sidecar };
    let compressor = stack.sidecar.app.live.load().compressor.clone();
    eventually("the worker is healthy", || {
        compressor.workers().iter().any(|worker| worker.healthy)
    })
    .await;
    (stack, worker)
}

fn whole(body: &Value) -> Canned {
    Canned {
        status: 200,
        headers: vec![("content-type".into(), "application/json".into())],
        body: vec![Bytes::from(body.to_string())],
    }
}

fn events(events: &[Value], named: bool) -> Canned {
    let mut text: Vec<String> = events
        .iter()
        .map(|event| match event["type"].as_str().filter(|_| named) {
            Some(kind) => format!("event: {kind}\ndata: {event}\n\n"),
            None => format!("data: {event}\n\n"),
        })
        .collect();
    if !named {
        text.push("data: [DONE]\n\n".into());
    }
    Canned {
        status: 200,
        headers: vec![("content-type".into(), "text/event-stream".into())],
        body: text.into_iter().map(Bytes::from).collect(),
    }
}

fn chat_call(id: &str, name: &str, arguments: &Value) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments.to_string()}})
}

fn completion(message: Value, finish: &str) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
           "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": null}],
           "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110,
                     "prompt_tokens_details": {"cached_tokens": 40}}})
}

fn asks(arguments: &Value) -> Value {
    let call = chat_call("call_q", "liquid_retrieve", arguments);
    completion(
        json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [call]}),
        "tool_calls",
    )
}

fn says(text: &str) -> Value {
    completion(
        json!({"role": "assistant", "content": text, "refusal": null}),
        "stop",
    )
}

fn about_warranty() -> Value {
    json!({"document": name(), "question": "How long is the warranty?"})
}

fn count(stack: &Stack, result: &str) -> f64 {
    stack
        .sidecar
        .metric(&format!("liquid_sidecar_retrievals_total{{result=\"{result}\"}}"))
}

/// Every `data` of a stream as JSON, `[DONE]` as a string.
fn data(answer: &Answer) -> Vec<Value> {
    let text = answer.text();
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| line.into()))
        .collect()
}

/// The same answer in pieces of single bytes.
fn bytewise(canned: Canned) -> Canned {
    let all = canned.body.concat();
    Canned {
        body: all.iter().map(|byte| Bytes::copy_from_slice(&[*byte])).collect(),
        ..canned
    }
}

#[tokio::test]
async fn a_question_is_answered_between_two_rounds() {
    let (stack, _worker) = with_worker(ON).await;
    stack.upstream.answer(whole(&asks(&about_warranty())));
    stack.upstream.answer(whole(&says("Seventeen months.")));
    let answer = ask(
        &stack.url(CHAT),
        call(json!({"tools": [weather()], "temperature": "T"})).replace("\"T\"", "0.50"),
    )
    .await;

    assert_eq!(
        (answer.status, answer.header("x-liquid-decision")),
        (200, "compressed")
    );
    let json = answer.json();
    assert_eq!(json["choices"][0]["message"]["content"], "Seventeen months.");
    assert_eq!(json["choices"][0]["finish_reason"], "stop");
    assert_eq!(json["usage"]["prompt_tokens"], 200);
    assert_eq!(json["usage"]["total_tokens"], 220);
    assert_eq!(json["usage"]["prompt_tokens_details"]["cached_tokens"], 80);
    assert!(!answer.text().contains("liquid_retrieve"));

    let requests = stack.upstream.requests();
    let [first, second] = requests.as_slice() else {
        panic!("{}", requests.len())
    };
    let tools = &first.json()["tools"];
    assert_eq!((&tools[0], tools.as_array().unwrap().len()), (&weather(), 2));
    assert_eq!(tools[1]["function"]["name"], "liquid_retrieve");
    let said = second.json()["messages"].as_array().unwrap()[2..].to_vec();
    assert_eq!(
        said[0],
        json!({"role": "assistant", "content": null,
                               "tool_calls": [chat_call("call_q", "liquid_retrieve", &about_warranty())]})
    );
    assert_eq!(
        (&said[1]["role"], &said[1]["tool_call_id"]),
        (&json!("tool"), &json!("call_q"))
    );
    let told = said[1]["content"].as_str().unwrap();
    let start = document().find(OTHER).unwrap();
    assert_eq!(
        told,
        format!("[{0} @{start}]\n{OTHER}\n[end of excerpt {0}]", name())
    );
    // What was sent before comes again, the same bytes: the first request but for the end of its messages.
    let (one, two) = (
        String::from_utf8_lossy(&first.body),
        String::from_utf8_lossy(&second.body),
    );
    let turns = one.find(&format!("{}\"}}]", QUESTION)).unwrap() + QUESTION.len() + 2;
    assert!(
        two.starts_with(&one[..turns]) && two.ends_with(&one[turns..]),
        "{two}"
    );
    assert!(one.ends_with("}],\"temperature\":0.50}"), "{one}");
    assert!((count(&stack, "passages") - 1.0).abs() < 0.1);
    let input = "gen_ai_client_token_usage_sum{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_token_type=\"input\"}";
    assert!((stack.sidecar.metric(input) - 200.0).abs() < 0.5);
}

#[tokio::test]
async fn without_the_setting_or_a_pack_nothing_is_offered() {
    let (off, _worker) = with_worker("").await;
    ask(&off.url(CHAT), call(json!({}))).await;
    assert!(off.upstream.last().unwrap().json().get("tools").is_none());

    let (on, _worker) = with_worker(ON).await;
    let short = json!({"model": "m", "messages": [{"role": "user", "content": QUESTION}]}).to_string();
    let answer = ask(&on.url(CHAT), short.clone()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(on.upstream.last().unwrap().body, short);
}

#[tokio::test]
async fn nothing_is_offered_where_it_could_not_be_answered() {
    let (stack, _worker) = with_worker(ON).await;
    let named = json!({"type": "function", "function": {"name": "weather"}});
    let tools = json!([weather()]);
    for fields in [
        json!({"n": 2}),
        json!({"tools": tools, "tool_choice": "none"}),
        json!({"tools": tools, "tool_choice": "required"}),
        json!({"tools": tools, "tool_choice": named}),
        json!({"functions": [{"name": "weather"}]}),
    ] {
        let answer = ask(&stack.url(CHAT), call(fields.clone())).await;
        assert_eq!(
            (answer.status, answer.header("x-liquid-decision")),
            (200, "compressed")
        );
        let received = stack.upstream.last().unwrap().json();
        assert_eq!(received.get("tools"), fields.get("tools"), "{fields}");
    }
    let items = json!([{"role": "user", "content": document()}, {"role": "user", "content": QUESTION}]);
    let background = json!({"model": "m", "background": true, "input": items});
    let answer = ask(&stack.url("/v1/responses"), background.to_string()).await;
    assert_eq!(
        (answer.status, answer.header("x-liquid-decision")),
        (200, "compressed")
    );
    assert!(stack.upstream.last().unwrap().json().get("tools").is_none());
}

#[tokio::test]
async fn a_tool_of_the_same_name_keeps_it() {
    let (stack, _worker) = with_worker(ON).await;
    let mut tool = weather();
    tool["function"]["name"] = "liquid_retrieve".into();
    stack.upstream.answer(whole(&asks(&about_warranty())));
    let answer = ask(&stack.url(CHAT), call(json!({"tools": [tool]}))).await;
    let names = stack.upstream.last().unwrap().json()["tools"].clone();
    assert_eq!(names[1]["function"]["name"], "liquid_retrieve_2");
    let calls = answer.json()["choices"][0]["message"]["tool_calls"].clone();
    assert_eq!(
        calls[0]["function"]["name"], "liquid_retrieve",
        "it is the application's"
    );
}

#[tokio::test]
async fn the_tool_is_the_same_in_every_turn() {
    let (stack, _worker) = with_worker(ON).await;
    ask(&stack.url(CHAT), call(json!({}))).await;
    let turns = json!([{"role": "user", "content": document()}, {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "Ninety."}, {"role": "user", "content": "How long is the warranty?"}]);
    ask(&stack.url(CHAT), call(json!({"messages": turns}))).await;
    let requests = stack.upstream.requests();
    assert_eq!(requests[0].json()["tools"], requests[1].json()["tools"]);
    assert_eq!(
        requests[0].json()["messages"][0],
        requests[1].json()["messages"][0]
    );
    assert_eq!(requests[0].json()["tools"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_application_gets_its_own_calls_alone() {
    let (stack, _worker) = with_worker(ON).await;
    let own = chat_call("call_w", "weather", &json!({"city": "Oslo"}));
    let ours = chat_call("call_q", "liquid_retrieve", &about_warranty());
    let message = json!({"role": "assistant", "content": null, "tool_calls": [ours, own]});
    stack.upstream.answer(whole(&completion(message, "tool_calls")));
    let answer = ask(&stack.url(CHAT), call(json!({"tools": [weather()]}))).await;
    let choice = answer.json()["choices"][0].clone();
    assert_eq!(
        (&choice["message"]["tool_calls"], &choice["finish_reason"]),
        (&json!([own]), &json!("tool_calls"))
    );
    assert_eq!(stack.upstream.requests().len(), 1);
    assert!((count(&stack, "dropped") - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_dry_run_shows_the_tool() {
    let (stack, _worker) = with_worker(ON).await;
    let answer = ask(&stack.url(&format!("{CHAT}?dry_run=1")), call(json!({}))).await;
    assert_eq!(
        answer.json()["request"]["tools"][0]["function"]["name"],
        "liquid_retrieve"
    );
    assert!(stack.upstream.requests().is_empty());
}
