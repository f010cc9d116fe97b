//! The workers' language model as the provider: no upstream, no key, one worker a conversation.

use std::collections::BTreeSet;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use liquid_contract::headers::TIMEOUT_MS;
use liquid_sidecar::api::Wire;
use liquid_testing::{MockUpstream, MockWorker, WorkerBehaviour};
use serde_json::{Value, json};

use crate::compress;
use crate::support::{Sidecar, ask, chat, eventually, open, post, send, sidecar};

pub(crate) const CHAT: &str = "/v1/chat/completions";
/// Where nothing listens: whoever is sent there by mistake fails.
const NOWHERE: &str = "http://127.0.0.1:9/v1";
pub(crate) const LIQUID: &str = "[upstream]\nopenai = \"liquid\"\nanthropic = \"liquid\"\nretries = 0\n";

/// A worker, and the language model that it serves.
pub(crate) struct ModelWorker {
    pub(crate) worker: MockWorker,
    pub(crate) model: MockUpstream,
}

impl ModelWorker {
    async fn start() -> Self {
        let model = MockUpstream::start().await.unwrap();
        let worker = MockWorker::start_with_model([WorkerBehaviour::Evidence], &model)
            .await
            .unwrap();
        Self { worker, model }
    }

    pub(crate) fn script(&self, faults: &str) {
        self.model.script(faults.parse().unwrap());
    }

    pub(crate) fn calls(&self) -> usize {
        self.model.requests().len()
    }
}

pub(crate) async fn start_workers(count: usize) -> Vec<ModelWorker> {
    futures::future::join_all((0..count).map(|_| ModelWorker::start())).await
}

/// A sidecar without any upstream, whose workers are known to be healthy.
pub(crate) async fn with_workers(toml: &str, workers: &[ModelWorker]) -> Sidecar {
    let addresses: Vec<_> = workers
        .iter()
        .map(|each| each.worker.address().to_string())
        .collect();
    let toml =
        format!("{toml}\n[extract]\nworkers = {addresses:?}\nhealth_interval_ms = 50\neject_ms = 50\n");
    let sidecar = sidecar(&toml, NOWHERE).await;
    healthy(&sidecar, workers.len()).await;
    sidecar
}

pub(crate) async fn healthy(sidecar: &Sidecar, count: usize) {
    let compressor = sidecar.app.live.load().compressor.clone();
    eventually("so many workers are healthy", || {
        let workers = compressor.workers();
        workers.iter().filter(|worker| worker.healthy).count() == count
    })
    .await;
}

fn conversation(number: usize, turns: usize) -> String {
    let mut messages = vec![json!({"role": "system", "content": "Be brief."})];
    for turn in 0..turns {
        messages.push(json!({"role": "user", "content": format!("Question {turn} of {number}")}));
        messages.push(json!({"role": "assistant", "content": "Yes."}));
    }
    messages.push(json!({"role": "user", "content": format!("Question {turns} of {number}")}));
    json!({"model": "gpt-5.6", "messages": messages}).to_string()
}

#[tokio::test]
async fn a_worker_answers_and_nothing_else_is_connected() {
    let workers = start_workers(1).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    for stream in [false, true] {
        let answer = ask(&sidecar.url(CHAT), chat("gpt-5.6", stream)).await;
        assert_eq!((answer.status, answer.complete), (200, true), "{}", answer.text());
        assert!(answer.text().contains("\"object\":\"chat.completion"));
        assert_eq!(stream, answer.text().ends_with("data: [DONE]\n\n"));
        let received = workers[0].model.last().unwrap();
        assert_eq!(received.path, CHAT);
        assert_eq!(
            received.body,
            chat("gpt-5.6", stream).replace("\"gpt-5.6\"", "null")
        );
    }
    assert_eq!(sidecar.app.upstreams.guard().connections(), 0);
    assert!(sidecar.metric("liquid_sidecar_upstream_connections") < 0.5);
    let provider = "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"liquid\"";
    let counted = format!("gen_ai_client_operation_duration_seconds_count{{{provider}}}");
    eventually("the calls are counted", || sidecar.metric(&counted) > 1.5).await;
    let stats = send(
        Request::get(sidecar.url("/liquid/stats"))
            .body(Body::empty())
            .unwrap(),
    )
    .await;
    let stats = stats.json();
    assert_eq!(
        (&stats["upstream_connections"], &stats["requests"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(stats["workers"][0]["in_flight"], 0);
}

#[tokio::test]
async fn workers_are_sent_no_key_and_no_header_of_the_application() {
    let workers = start_workers(1).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    let mut request = post(&sidecar.url(CHAT), chat("m", false));
    for (name, value) in [
        ("api-key", "sk-azure"),
        ("x-api-key", "sk-anthropic"),
        ("cookie", "session=1"),
        ("openai-organization", "org"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    assert_eq!(send(request).await.status, 200);
    let received = workers[0].model.last().unwrap();
    let names: BTreeSet<&str> = received.headers.iter().map(|(name, _)| name.as_str()).collect();
    let known = [
        "cdn-loop",
        "content-length",
        "content-type",
        "traceparent",
        "user-agent",
        TIMEOUT_MS,
    ];
    assert_eq!(names, BTreeSet::from(known));
    let time = received.header(TIMEOUT_MS).unwrap().parse::<u64>().unwrap();
    let total = 600_000;
    assert!(time > total - 10_000 && time < total, "{time} of {total} ms");
    assert!(!format!("{:?}", received.headers).contains("sk-"));
}

#[tokio::test]
async fn the_configured_model_goes_before_the_workers_own() {
    let workers = start_workers(1).await;
    let toml = "[upstream]\nmodel = \"liquid/small/it\"\nretries = 0\n";
    let sidecar = with_workers(toml, &workers).await;
    let answer = ask(&sidecar.url(CHAT), chat("gpt-5.6", false)).await;
    assert_eq!(answer.json()["model"], "small/it");
    assert_eq!(workers[0].model.last().unwrap().json()["model"], "small/it");
}

#[tokio::test]
async fn each_api_is_answered_or_refused_in_its_words() {
    let workers = start_workers(1).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    let plain = ask(
        &sidecar.url("/v1/completions"),
        r#"{"model":"m","prompt":"Once"}"#,
    )
    .await;
    assert_eq!(
        (plain.status, &plain.json()["path"]),
        (200, &json!("/v1/completions"))
    );
    let hybrid =
        json!({"model": "m", "large_document": "It is 9 m tall.", "final_user_prompt": "How tall is it?"});
    let hybrid = ask(&sidecar.url("/v1/hybrid_chat"), hybrid.to_string()).await;
    assert_eq!(
        (hybrid.status, &hybrid.json()["object"]),
        (200, &json!("chat.completion"))
    );
    let body = json!({"model": "m", "input": "Hi", "instructions": "Be brief."});
    let response = ask(&sidecar.url("/v1/responses"), body.to_string()).await;
    let read = response.json();
    assert_eq!(
        (response.status, &read["object"], &read["instructions"]),
        (200, &json!("response"), &json!("Be brief."))
    );
    assert_eq!(read["output"][0]["content"][0]["type"], "output_text");
    let asked = workers[0].calls();

    let leaning = json!({"model": "m", "input": "Hi", "previous_response_id": "resp_1"});
    let refused = ask(&sidecar.url("/v1/responses"), leaning.to_string()).await;
    let error = &refused.json()["error"];
    assert_eq!(
        (refused.status, &error["param"]),
        (400, &json!("previous_response_id"))
    );
    assert_eq!(workers[0].calls(), asked);
}

#[tokio::test]
async fn a_streamed_response_has_the_events_of_its_api() {
    let workers = start_workers(1).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    let body = json!({"model": "m", "input": "Hi", "stream": true});
    let answer = ask(&sidecar.url("/v1/responses"), body.to_string()).await;
    assert_eq!(answer.status, 200);
    let text = String::from_utf8_lossy(&answer.body);
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(names.first(), Some(&"response.created"));
    assert_eq!(names.last(), Some(&"response.completed"));
    assert!(names.contains(&"response.output_text.delta"), "{names:?}");
}

#[tokio::test]
async fn a_document_is_packed_before_a_worker_reads_it() {
    let workers = start_workers(1).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    let answer = ask(&sidecar.url(CHAT), compress::body(true)).await;
    assert_eq!(
        (answer.status, answer.header("x-liquid-decision")),
        (200, "compressed"),
        "{}",
        answer.text()
    );
    assert_eq!(workers[0].worker.answered(), 1);
    let received = workers[0].model.last().unwrap().body.len();
    assert!(received * 3 < compress::body(true).len(), "{received}");
}

#[tokio::test]
async fn a_whole_document_may_go_to_a_worker_where_it_must_not_leave() {
    let workers = start_workers(1).await;
    let policy = "[policy]\nmode = \"off\"\nwhole = \"refuse\"\nunread = \"refuse\"\n";
    let sidecar = with_workers(&format!("{LIQUID}{policy}"), &workers).await;
    let answer = ask(&sidecar.url(CHAT), compress::body(false)).await;
    assert_eq!(
        (answer.status, answer.header("x-liquid-decision")),
        (200, "passed")
    );
    assert!(sidecar.app.live.load().routes.stays(Wire::Chat));

    let leaves = LIQUID.replace(
        "openai = \"liquid\"",
        "model = \"liquid/m\"\nfallbacks = [\"openai/m\"]",
    );
    let sidecar = with_workers(&format!("{leaves}{policy}"), &workers).await;
    assert!(!sidecar.app.live.load().routes.stays(Wire::Chat));
    assert_eq!(ask(&sidecar.url(CHAT), compress::body(false)).await.status, 403);
}

#[tokio::test]
async fn tools_and_their_calls_pass() {
    let workers = start_workers(1).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let tool = json!({"type": "function", "function": {"name": "weather", "parameters": parameters}});
    let mut body: Value = serde_json::from_str(&chat("m", false)).unwrap();
    body["tools"] = json!([tool]);
    let answer = ask(&sidecar.url(CHAT), body.to_string()).await.json();
    let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "weather");
    assert_eq!(workers[0].model.last().unwrap().json()["tools"], body["tools"]);
    body["stream"] = json!(true);
    let streamed = ask(&sidecar.url(CHAT), body.to_string()).await;
    assert!(streamed.complete && streamed.text().contains("\"finish_reason\":\"tool_calls\""));
}

#[tokio::test]
async fn a_conversation_stays_with_one_worker_in_every_sidecar() {
    let workers = start_workers(3).await;
    let sidecars = [
        with_workers(LIQUID, &workers).await,
        with_workers(LIQUID, &workers).await,
    ];
    let mut used = BTreeSet::new();
    for number in 0..16 {
        let before: Vec<usize> = workers.iter().map(ModelWorker::calls).collect();
        for turns in 0..3 {
            let sidecar = &sidecars[turns % 2];
            let answer = ask(&sidecar.url(CHAT), conversation(number, turns)).await;
            assert_eq!(answer.status, 200);
        }
        let grown = workers
            .iter()
            .zip(before)
            .map(|(worker, before)| worker.calls() - before);
        let grown: Vec<usize> = grown.collect();
        assert!(grown.contains(&3), "{number}: {grown:?}");
        used.extend(grown.iter().position(|calls| *calls == 3));
    }
    assert!(used.len() > 1, "16 conversations went to one worker");
}

#[tokio::test]
async fn a_worker_that_is_not_ready_is_passed_over_and_comes_back() {
    let workers = start_workers(2).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    let call = conversation(1, 0);
    ask(&sidecar.url(CHAT), call.clone()).await;
    let (own, other) = match workers[0].calls() {
        1 => (&workers[0], &workers[1]),
        _ => (&workers[1], &workers[0]),
    };
    own.worker.set_serving(false).await;
    healthy(&sidecar, 1).await;
    assert_eq!(ask(&sidecar.url(CHAT), call.clone()).await.status, 200);
    assert_eq!((own.calls(), other.calls()), (1, 1));
    own.worker.set_serving(true).await;
    healthy(&sidecar, 2).await;
    assert_eq!(ask(&sidecar.url(CHAT), call).await.status, 200);
    assert_eq!((own.calls(), other.calls()), (2, 1));
}

#[tokio::test]
async fn the_next_worker_answers_where_one_is_full_or_fails() {
    let workers = start_workers(2).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    for faults in ["429", "503+retry-after-1", "500", "404", "cut-0"] {
        for worker in &workers {
            worker.model.reset();
        }
        ask(&sidecar.url(CHAT), chat("m", true)).await;
        let own = workers.iter().find(|worker| worker.calls() == 1).unwrap();
        own.script(faults);
        let answer = ask(&sidecar.url(CHAT), chat("m", true)).await;
        assert_eq!((answer.status, answer.complete), (200, true), "{faults}");
        assert!(workers.iter().all(|worker| worker.calls() > 0), "{faults}");
        healthy(&sidecar, 2).await;
    }
}

#[tokio::test]
async fn the_wait_that_full_workers_ask_for_reaches_the_application() {
    let workers = start_workers(2).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    workers
        .iter()
        .for_each(|worker| worker.script("429+retry-after-30"));
    let answer = ask(&sidecar.url(CHAT), chat("m", false)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "30"));
    let again = LIQUID.replace("retries = 0", "retries = 1");
    let sidecar = with_workers(&again, &workers).await;
    workers
        .iter()
        .for_each(|worker| worker.script("429+retry-after-0"));
    assert_eq!(ask(&sidecar.url(CHAT), chat("m", false)).await.status, 200);
}

#[tokio::test]
async fn a_wrong_request_is_not_sent_to_a_second_worker() {
    let workers = start_workers(2).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    workers.iter().for_each(|worker| worker.script("400"));
    let answer = ask(&sidecar.url(CHAT), chat("m", false)).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["message"], "scripted by the test");
    assert_eq!(workers[0].calls() + workers[1].calls(), 1);
}

#[tokio::test]
async fn without_a_worker_the_call_is_a_503_to_try_again() {
    let sidecar = sidecar(
        &format!("{LIQUID}[extract]\nworkers = [\"127.0.0.1:9\"]\n"),
        NOWHERE,
    )
    .await;
    for stream in [false, true] {
        let answer = ask(&sidecar.url(CHAT), chat("m", stream)).await;
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, &error["code"]),
            (503, &json!("worker_unavailable"))
        );
        assert_eq!(error["type"], "server_error");
        assert_eq!(
            (answer.header("retry-after"), answer.header("x-should-retry")),
            ("1", "true")
        );
    }
    let models = Request::get(sidecar.url("/v1/models"))
        .body(Body::empty())
        .unwrap();
    assert_eq!(send(models).await.status, 503);
}

#[tokio::test]
async fn a_worker_of_a_version_without_models_is_named() {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let toml = format!("{LIQUID}[extract]\nworkers = [\"{}\"]\n", worker.address());
    let sidecar = sidecar(&toml, NOWHERE).await;
    let answer = ask(&sidecar.url(CHAT), chat("m", false)).await;
    assert_eq!(answer.status, 503);
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains("serves no language model") && message.contains(&worker.address().to_string()));
}

#[tokio::test]
async fn where_no_worker_answers_the_fallback_does() {
    let toml = "[upstream]\nmodel = \"liquid/m\"\nfallbacks = [\"local/extractive\"]\nretries = 0\n\
                [extract]\nworkers = [\"127.0.0.1:9\"]\n";
    let sidecar = sidecar(toml, NOWHERE).await;
    let answer = ask(&sidecar.url(CHAT), chat("m", false)).await;
    assert_eq!(
        (answer.status, &answer.json()["model"]),
        (200, &json!("local/extractive"))
    );
}

#[tokio::test]
async fn a_stream_that_a_worker_breaks_off_ends_as_an_error() {
    let workers = start_workers(2).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    workers.iter().for_each(|worker| worker.script("cut-3"));
    let answer = ask(&sidecar.url(CHAT), chat("m", true)).await;
    assert_eq!((answer.status, answer.complete), (200, false));
    assert!(
        answer.text().contains("\"code\":\"upstream_broken\""),
        "{}",
        answer.text()
    );
    assert!(!answer.text().contains("[DONE]"));
    assert_eq!(workers[0].calls() + workers[1].calls(), 1, "it is not sent again");
    let compressor = sidecar.app.live.load().compressor.clone();
    let failed = compressor
        .workers()
        .iter()
        .map(|worker| worker.failed)
        .sum::<u64>();
    assert_eq!(failed, 1);
}

#[tokio::test]
async fn a_client_that_goes_ends_the_workers_answer() {
    let workers = start_workers(1).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    let compressor = sidecar.app.live.load().compressor.clone();
    workers[0].script("pace-50");
    let mut body = open(post(&sidecar.url(CHAT), chat("m", true))).await.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(compressor.workers()[0].in_flight, 1);
    drop(body);
    eventually("the worker sees the client go", || {
        workers[0].model.abandoned() == 1
    })
    .await;
    eventually("the call is over", || compressor.workers()[0].in_flight == 0).await;

    workers[0].script("hang");
    let waiting = tokio::spawn(send(post(&sidecar.url(CHAT), chat("m", false))));
    eventually("the worker was asked", || workers[0].calls() == 2).await;
    waiting.abort();
    eventually("the call is over", || compressor.workers()[0].in_flight == 0).await;
}

#[tokio::test]
async fn the_list_of_models_is_the_workers_and_the_rest_is_not_there() {
    let workers = start_workers(1).await;
    let sidecar = with_workers(LIQUID, &workers).await;
    let get = |path: &str| Request::get(sidecar.url(path)).body(Body::empty()).unwrap();
    assert_eq!(send(get("/v1/models")).await.json()["object"], "list");
    assert_eq!(send(get("/models/small")).await.json()["id"], "small");
    assert_eq!(workers[0].model.last().unwrap().path, "/v1/models/small");
    let missing = send(get("/v1/files")).await;
    assert_eq!(
        (missing.status, &missing.json()["error"]["code"]),
        (404, &json!("not_found"))
    );
    assert_eq!(ask(&sidecar.url("/v1/embeddings"), "{}").await.status, 404);
    let mut coded = post(&sidecar.url(CHAT), "x");
    coded
        .headers_mut()
        .insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(send(coded).await.status, 415);
    assert_eq!(workers[0].calls(), 2);
}
