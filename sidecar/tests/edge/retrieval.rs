//! A model that asks for more of a document: answered here, never seen by the application.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use liquid_sidecar::pack;
use liquid_testing::{Canned, MockUpstream, MockWorker, WorkerBehaviour};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tonic::Code;

use crate::support::{Answer, Stack, ask, eventually, open, post, sidecar};

const CHAT: &str = "/v1/chat/completions";
const QUESTION: &str = "How many days of notice does a termination need?";
const EVIDENCE: &str = "A termination needs ninety days of written notice.";
const OTHER: &str = "The warranty covers seventeen months after delivery.";
const ON: &str = "[policy.retrieval]\nenabled = true\n[upstream]\nretries = 0\n";

fn document() -> String {
    let mut lines: Vec<String> = (0..600)
        .map(|number| format!("Clause {number} says that the parties meet and shake hands."))
        .collect();
    lines[300] = EVIDENCE.into();
    lines[500] = OTHER.into();
    lines.join("\n")
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
    assert!(
        one.ends_with("}]}") && one.contains("\"temperature\":0.50"),
        "{one}"
    );
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
    let streamed = json!({"model": "m", "stream": true, "input": items});
    let answer = ask(&stack.url("/v1/responses"), streamed.to_string()).await;
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
async fn what_is_wrong_with_a_question_is_said_to_the_model() {
    let (stack, _worker) = with_worker(ON).await;
    let length = document().len();
    for (arguments, result, says_so) in [
        (
            json!({"document": "zzzz", "question": "Which?"}),
            "unknown_document",
            name(),
        ),
        (
            json!({"document": name(), "start": length, "end": length + 9}),
            "bad_range",
            length.to_string(),
        ),
        (
            json!({"document": name(), "start": 9, "end": 3}),
            "bad_range",
            "9 to 3".into(),
        ),
        (json!({"document": name()}), "bad_arguments", "question".into()),
        (json!({"start": 4}), "bad_arguments", "document".into()),
        (
            json!({"document": name(), "question": "Xylophone?"}),
            "nothing",
            name(),
        ),
        (
            json!({"document": name(), "start": 10, "end": 30}),
            "range",
            document()[10..30].into(),
        ),
    ] {
        stack.upstream.answer(whole(&asks(&arguments)));
        stack.upstream.answer(whole(&says("Well.")));
        let answer = ask(&stack.url(CHAT), call(json!({}))).await;
        assert_eq!(
            answer.json()["choices"][0]["message"]["content"],
            "Well.",
            "{arguments}"
        );
        let told = stack.upstream.last().unwrap().json()["messages"][3]["content"].clone();
        assert!(told.as_str().unwrap().contains(&says_so), "{arguments}: {told}");
        assert!(count(&stack, result) > 0.5, "{result}");
    }
}

#[tokio::test]
async fn a_long_range_is_cut_and_a_forgotten_document_is_said_to_be_gone() {
    let (stack, _worker) = with_worker("[policy.retrieval]\nenabled = true\nmax_answer_tokens = 50").await;
    stack.upstream.answer(whole(&asks(
        &json!({"document": name(), "start": 0, "end": 9000}),
    )));
    ask(&stack.url(CHAT), call(json!({}))).await;
    let told = stack.upstream.last().unwrap().json()["messages"][3]["content"].clone();
    let told = told.as_str().unwrap();
    assert!(
        told.len() < 600 && told.contains("goes on to byte 9000"),
        "{told}"
    );

    let (small, _worker) = with_worker("[policy.retrieval]\nenabled = true\nstore_bytes = 1000").await;
    small.upstream.answer(whole(&asks(&about_warranty())));
    let answer = ask(&small.url(CHAT), call(json!({}))).await;
    assert_eq!(answer.status, 200);
    assert!(count(&small, "forgotten") > 0.5);
}

#[tokio::test]
async fn no_more_than_max_rounds_are_answered() {
    let (stack, _worker) = with_worker("[policy.retrieval]\nenabled = true\nmax_rounds = 1").await;
    for _ in 0..3 {
        stack.upstream.answer(whole(&asks(&about_warranty())));
    }
    let answer = ask(&stack.url(CHAT), call(json!({}))).await;
    let choice = answer.json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(
        choice["message"],
        json!({"role": "assistant", "content": "", "refusal": null})
    );
    assert_eq!(answer.json()["usage"]["completion_tokens"], 30);
    let requests = stack.upstream.requests();
    assert_eq!(requests.len(), 3);
    let told = requests[2].json()["messages"][5]["content"].clone();
    assert!(told.as_str().unwrap().contains("nothing more"), "{told}");
    for result in ["passages", "exhausted", "dropped"] {
        assert!((count(&stack, result) - 1.0).abs() < 0.1, "{result}");
    }
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

    let chunks = [
        chunk(
            json!({"role": "assistant", "content": null, "tool_calls": [piece(0, "call_q", "liquid_retrieve")]}),
        ),
        chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": about_warranty().to_string()}}]})),
        chunk(json!({"tool_calls": [piece(1, "call_w", "weather")]})),
        chunk(json!({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]})),
        finish("tool_calls"),
    ];
    stack.upstream.answer(events(&chunks, false));
    let answer = ask(
        &stack.url(CHAT),
        call(json!({"tools": [weather()], "stream": true})),
    )
    .await;
    let data = data(&answer);
    let pieces: Vec<&Value> = data
        .iter()
        .filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0"))
        .collect();
    assert_eq!(
        pieces,
        [
            &piece(0, "call_w", "weather"),
            &json!({"index": 0, "function": {"arguments": "{}"}})
        ]
    );
    assert!(answer.complete && answer.text().contains("\"finish_reason\":\"tool_calls\""));
    assert_eq!(stack.upstream.requests().len(), 2);
    assert!((count(&stack, "dropped") - 2.0).abs() < 0.1);
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
async fn a_second_round_that_fails_fails_the_call() {
    let (stack, _worker) = with_worker(ON).await;
    stack.upstream.answer(whole(&asks(&about_warranty())));
    stack.upstream.answer(Canned {
        status: 500,
        headers: vec![("content-type".into(), "application/json".into())],
        body: vec![Bytes::from_static(b"{\"error\":{\"message\":\"no\"}}")],
    });
    let answer = ask(&stack.url(CHAT), call(json!({}))).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (500, "{\"error\":{\"message\":\"no\"}}")
    );
    assert_eq!(stack.upstream.requests().len(), 2);
}

fn chunk(delta: Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
           "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn piece(index: u64, id: &str, name: &str) -> Value {
    json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}})
}

fn finish(reason: &str) -> Value {
    let mut chunk = chunk(json!({}));
    chunk["choices"][0]["finish_reason"] = reason.into();
    chunk
}

fn usage_chunk() -> Value {
    let mut chunk = chunk(json!({}));
    chunk["choices"] = json!([]);
    chunk["usage"] = json!({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110});
    chunk
}

/// A stream that says something and then asks.
fn asking_stream() -> Canned {
    let arguments = about_warranty().to_string();
    let (head, tail) = arguments.split_at(14);
    events(
        &[
            chunk(json!({"role": "assistant", "content": ""})),
            chunk(json!({"content": "Let me "})),
            chunk(json!({"content": "look. "})),
            chunk(json!({"tool_calls": [piece(0, "call_q", "liquid_retrieve")]})),
            chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": head}}]})),
            chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": tail}}]})),
            finish("tool_calls"),
            usage_chunk(),
        ],
        false,
    )
}

fn saying_stream() -> Canned {
    let mut chunks = vec![
        chunk(json!({"role": "assistant", "content": ""})),
        chunk(json!({"content": "Seventeen"})),
        chunk(json!({"content": " months."})),
        finish("stop"),
        usage_chunk(),
    ];
    for chunk in &mut chunks {
        chunk["id"] = "chatcmpl-2".into();
    }
    events(&chunks, false)
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
async fn streams_of_several_rounds_are_one() {
    let (stack, _worker) = with_worker(ON).await;
    let fields = json!({"stream": true, "stream_options": {"include_usage": true}});
    for cut in [false, true] {
        stack.upstream.reset();
        for canned in [asking_stream(), saying_stream()] {
            stack.upstream.answer(if cut { bytewise(canned) } else { canned });
        }
        let answer = ask(&stack.url(CHAT), call(fields.clone())).await;
        assert!(answer.complete && answer.status == 200, "{}", answer.text());
        let data = data(&answer);
        let text: String = data
            .iter()
            .filter_map(|chunk| chunk.pointer("/choices/0/delta/content").and_then(Value::as_str))
            .collect();
        assert_eq!(text, "Let me look. Seventeen months.");
        let roles = data
            .iter()
            .filter(|chunk| chunk.pointer("/choices/0/delta/role").is_some());
        assert_eq!(roles.count(), 1);
        let ends: Vec<_> = data
            .iter()
            .filter_map(|chunk| chunk.pointer("/choices/0/finish_reason").and_then(Value::as_str))
            .collect();
        assert_eq!(ends, ["stop"]);
        let (done, chunks) = data.split_last().unwrap();
        assert_eq!(done, "[DONE]");
        assert!(
            chunks.iter().all(|chunk| chunk["id"] == "chatcmpl-1"),
            "{}",
            answer.text()
        );
        let usage: Vec<_> = chunks.iter().filter(|chunk| chunk["usage"].is_object()).collect();
        assert_eq!(usage.len(), 1);
        assert_eq!(
            usage[0]["usage"],
            json!({"prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220})
        );
        assert!(!answer.text().contains("tool_calls"), "{}", answer.text());

        let second = stack.upstream.requests()[1].json()["messages"].clone();
        assert_eq!(
            second[2],
            json!({"content": "Let me look. ", "role": "assistant",
            "tool_calls": [chat_call("call_q", "liquid_retrieve", &about_warranty())]})
        );
        assert!(second[3]["content"].as_str().unwrap().contains(OTHER));
    }
    let input = "gen_ai_client_token_usage_sum{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_token_type=\"input\"}";
    assert!((stack.sidecar.metric(input) - 400.0).abs() < 0.5);
}

#[tokio::test]
async fn a_stream_without_questions_is_the_same_bytes() {
    let (stack, _worker) = with_worker(ON).await;
    let canned = saying_stream();
    let sent = canned.body.concat();
    stack.upstream.answer(canned);
    let answer = ask(&stack.url(CHAT), call(json!({"stream": true}))).await;
    assert_eq!(answer.body, sent);
}

#[tokio::test]
async fn a_second_stream_that_fails_breaks_the_answer() {
    let (stack, _worker) = with_worker(ON).await;
    let error = Canned {
        status: 500,
        ..whole(&json!({"error": {"message": "no"}}))
    };
    let mut cut = saying_stream();
    cut.body.truncate(2);
    for second in [error, cut] {
        stack.upstream.answer(asking_stream());
        stack.upstream.answer(second);
        let answer = ask(&stack.url(CHAT), call(json!({"stream": true}))).await;
        assert!(
            !answer.complete && answer.text().contains("Let me "),
            "{}",
            answer.text()
        );
        assert!(answer.text().contains("upstream_broken"), "{}", answer.text());
        assert!(!answer.text().contains("[DONE]"));
    }
}

#[tokio::test]
async fn text_does_not_wait_for_a_question_and_a_client_that_goes_ends_it() {
    let slow = WorkerBehaviour::Slow(Duration::from_millis(1500));
    let (stack, worker) = with_workers_behaviour(ON, vec![slow]).await;
    stack.upstream.answer(asking_stream());
    let mut body = open(post(&stack.url(CHAT), call(json!({"stream": true}))))
        .await
        .into_body();
    let mut text = String::new();
    while !text.contains("look. ") {
        let frame = body.frame().await.unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap()));
    }
    eventually("the worker is asked", || worker.arrived() == 2).await;
    assert_eq!(worker.answered(), 1);
    drop(body);
    eventually("the call has ended", || {
        stack.sidecar.metric("liquid_sidecar_requests_in_flight") < 0.5
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1800)).await;
    assert_eq!((worker.answered(), stack.upstream.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_worker_that_fails_is_an_error_to_the_model() {
    let refuses = WorkerBehaviour::Fail(Code::InvalidArgument, Duration::ZERO);
    let (stack, _worker) = with_workers_behaviour(ON, vec![refuses]).await;
    let tool_use = |reason| message("msg_1", &json!([tool_use()]), reason);
    stack.upstream.answer(whole(&tool_use("tool_use")));
    let answer = ask(&stack.url("/v1/messages"), call(json!({"max_tokens": 99}))).await;
    assert_eq!(answer.status, 200);
    let result = stack.upstream.last().unwrap().json()["messages"][3]["content"][0].clone();
    assert_eq!(result["is_error"], true);
    assert!(
        result["content"].as_str().unwrap().contains("start and end"),
        "{result}"
    );
    assert!(count(&stack, "no_worker") > 0.5);
}

#[tokio::test]
async fn the_document_of_another_call_is_none_of_this_one() {
    let (stack, _worker) = with_worker(ON).await;
    ask(&stack.url(CHAT), call(json!({}))).await;
    let other = document().replace("Clause 7 ", "Paragraph 7 ");
    let messages = json!([{"role": "user", "content": other}, {"role": "user", "content": QUESTION}]);
    stack.upstream.answer(whole(&asks(&about_warranty())));
    stack.upstream.answer(whole(&says("Well.")));
    let answer = ask(&stack.url(CHAT), call(json!({"messages": messages}))).await;
    assert_eq!(
        (answer.status, answer.header("x-liquid-decision")),
        (200, "compressed")
    );
    let told = stack.upstream.last().unwrap().json()["messages"][3]["content"].clone();
    let told = told.as_str().unwrap();
    assert!(
        told.starts_with("Error") && !told.contains(OTHER) && !told.contains(&name()),
        "{told}"
    );
    assert!(count(&stack, "unknown_document") > 0.5);
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

fn message(id: &str, content: &Value, reason: &str) -> Value {
    json!({"id": id, "type": "message", "role": "assistant", "model": "m", "content": content,
           "stop_reason": reason, "stop_sequence": null,
           "usage": {"input_tokens": 100, "output_tokens": 10, "cache_read_input_tokens": 30}})
}

fn tool_use() -> Value {
    json!({"type": "tool_use", "id": "toolu_q", "name": "liquid_retrieve", "input": about_warranty()})
}

fn thinking() -> Value {
    json!({"type": "thinking", "thinking": "Hm.", "signature": "c2ln"})
}

#[tokio::test]
async fn a_message_with_a_question_is_answered() {
    let (stack, _worker) = with_worker(ON).await;
    let text = |text: &str| json!({"type": "text", "text": text});
    stack.upstream.answer(whole(&message(
        "msg_1",
        &json!([thinking(), text("Let me look."), tool_use()]),
        "tool_use",
    )));
    stack.upstream.answer(whole(&message(
        "msg_2",
        &json!([text("Seventeen months.")]),
        "end_turn",
    )));
    let answer = ask(&stack.url("/v1/messages"), call(json!({"max_tokens": 99}))).await;
    let json = answer.json();
    assert_eq!(json["content"], json!([text("Seventeen months.")]), "{json}");
    assert_eq!(
        json["usage"],
        json!({"input_tokens": 200, "output_tokens": 20, "cache_read_input_tokens": 60})
    );
    let requests = stack.upstream.requests();
    assert_eq!(requests[0].json()["tools"][0]["name"], "liquid_retrieve");
    let turns = requests[1].json()["messages"].clone();
    assert_eq!(
        turns[2]["content"],
        json!([thinking(), text("Let me look."), tool_use()])
    );
    let result = &turns[3]["content"][0];
    assert_eq!(
        (&result["type"], &result["tool_use_id"]),
        (&json!("tool_result"), &json!("toolu_q"))
    );
    assert!(result["content"].as_str().unwrap().contains(OTHER) && result.get("is_error").is_none());
}

/// The events of a message of blocks, each with its deltas.
fn message_stream(id: &str, blocks: &[(Value, Vec<Value>)], reason: &str) -> Canned {
    let mut start = message(id, &json!([]), "");
    start["stop_reason"] = Value::Null;
    start["usage"]["output_tokens"] = 1.into();
    let mut all = vec![
        json!({"type": "message_start", "message": start}),
        json!({"type": "ping"}),
    ];
    for (index, (block, deltas)) in blocks.iter().enumerate() {
        all.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        let deltas = deltas
            .iter()
            .map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta}));
        all.extend(deltas);
        all.push(json!({"type": "content_block_stop", "index": index}));
    }
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    all.push(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 10}}));
    all.push(json!({"type": "message_stop"}));
    events(&all, true)
}

#[tokio::test]
async fn message_streams_of_several_rounds_are_one() {
    let (stack, _worker) = with_worker(ON).await;
    let text = |text: &str| {
        let delta = json!({"type": "text_delta", "text": text});
        (json!({"type": "text", "text": ""}), vec![delta])
    };
    let thinks = (
        json!({"type": "thinking", "thinking": "", "signature": ""}),
        vec![
            json!({"type": "thinking_delta", "thinking": "Hm."}),
            json!({"type": "signature_delta", "signature": "c2ln"}),
        ],
    );
    let arguments = about_warranty().to_string();
    let (head, tail) = arguments.split_at(9);
    let asks = (
        json!({"type": "tool_use", "id": "toolu_q", "name": "liquid_retrieve", "input": {}}),
        vec![
            json!({"type": "input_json_delta", "partial_json": head}),
            json!({"type": "input_json_delta", "partial_json": tail}),
        ],
    );
    let first = message_stream("msg_1", &[thinks, text("Let me look."), asks], "tool_use");
    let second = message_stream("msg_2", &[text("Seventeen months.")], "end_turn");
    for cut in [false, true] {
        stack.upstream.reset();
        for canned in [first.clone(), second.clone()] {
            stack.upstream.answer(if cut { bytewise(canned) } else { canned });
        }
        let answer = ask(
            &stack.url("/v1/messages"),
            call(json!({"max_tokens": 99, "stream": true})),
        )
        .await;
        assert!(answer.complete, "{}", answer.text());
        let data = data(&answer);
        let kinds: Vec<_> = data
            .iter()
            .map(|event| event["type"].as_str().unwrap())
            .filter(|kind| *kind != "ping")
            .collect();
        let block = ["content_block_start", "content_block_delta", "content_block_stop"];
        let mut expected = vec!["message_start", "content_block_start", "content_block_delta"];
        expected.extend(["content_block_delta", "content_block_stop"]);
        expected.extend([block, block].concat());
        expected.extend(["message_delta", "message_stop"]);
        assert_eq!(kinds, expected, "{}", answer.text());
        let starts: Vec<_> = data
            .iter()
            .filter(|event| event["type"] == "content_block_start")
            .map(|event| event["index"].as_u64())
            .collect();
        assert_eq!(starts, [Some(0), Some(1), Some(2)]);
        let end = data
            .iter()
            .find(|event| event["type"] == "message_delta")
            .unwrap();
        assert_eq!(end["delta"]["stop_reason"], "end_turn");
        assert_eq!(
            end["usage"],
            json!({"output_tokens": 20, "input_tokens": 200, "cache_read_input_tokens": 60})
        );
        assert!(!answer.text().contains("liquid_retrieve"));
        let turns = stack.upstream.requests()[1].json()["messages"].clone();
        assert_eq!(
            turns[2]["content"],
            json!([thinking(), {"type": "text", "text": "Let me look."}, tool_use()])
        );
        assert!(
            turns[3]["content"][0]["content"]
                .as_str()
                .unwrap()
                .contains(OTHER)
        );
    }
}

fn response(id: &str, output: &Value, tools: &Value) -> Value {
    json!({"id": id, "object": "response", "status": "completed", "model": "m", "store": true, "output": output,
           "tools": tools, "usage": {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}})
}

#[tokio::test]
async fn a_response_with_a_question_is_answered() {
    let (stack, _worker) = with_worker(ON).await;
    let call = json!({"type": "function_call", "id": "fc_1", "call_id": "call_q", "name": "liquid_retrieve",
                      "arguments": about_warranty().to_string(), "status": "completed"});
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": []});
    let said = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                      "content": [{"type": "output_text", "text": "Seventeen months.", "annotations": []}]});
    let tools = json!([{"type": "function", "name": "liquid_retrieve", "parameters": {}}]);
    stack
        .upstream
        .answer(whole(&response("resp_1", &json!([reasoning, call]), &tools)));
    stack
        .upstream
        .answer(whole(&response("resp_2", &json!([said]), &tools)));
    let prompt = format!("{}\n\n{QUESTION}", document());
    let answer = ask(
        &stack.url("/v1/responses"),
        json!({"model": "m", "input": prompt}).to_string(),
    )
    .await;
    assert_eq!(
        answer.header("x-liquid-decision"),
        "compressed",
        "{:?}",
        answer.headers
    );
    let json = answer.json();
    assert_eq!(
        (&json["output"], &json["tools"], &json["id"]),
        (&json!([said]), &json!([]), &json!("resp_2"))
    );
    assert_eq!(
        json["usage"],
        json!({"input_tokens": 200, "output_tokens": 20, "total_tokens": 220})
    );
    let requests = stack.upstream.requests();
    let (first, second) = (requests[0].json(), requests[1].json());
    assert_eq!(
        second["input"][0],
        json!({"role": "user", "content": first["input"]})
    );
    assert_eq!((&second["input"][1], &second["input"][2]), (&reasoning, &call));
    assert_eq!(second["input"][3]["call_id"], "call_q");
    assert!(second["input"][3]["output"].as_str().unwrap().contains(OTHER));
}

#[tokio::test]
async fn a_translated_answer_is_answered_and_a_translated_stream_not_offered() {
    let anthropic = "[policy.retrieval]\nenabled = true\n[upstream]\nmodel = \"anthropic/claude\"";
    let (stack, _worker) = with_worker(anthropic).await;
    stack
        .upstream
        .answer(whole(&message("msg_1", &json!([tool_use()]), "tool_use")));
    let text = json!([{"type": "text", "text": "Seventeen months."}]);
    stack.upstream.answer(whole(&message("msg_2", &text, "end_turn")));
    let answer = ask(&stack.url(CHAT), call(json!({}))).await;
    let json = answer.json();
    assert_eq!(
        json["choices"][0]["message"]["content"], "Seventeen months.",
        "{json}"
    );
    assert_eq!(json["usage"]["completion_tokens"], 20);
    let turns = stack.upstream.last().unwrap().json()["messages"].clone();
    assert!(turns.to_string().contains(OTHER), "{turns}");

    let answer = ask(&stack.url(CHAT), call(json!({"stream": true}))).await;
    assert_eq!(
        (answer.status, answer.header("x-liquid-decision")),
        (200, "compressed")
    );
    assert!(stack.upstream.last().unwrap().json().get("tools").is_none());
}
