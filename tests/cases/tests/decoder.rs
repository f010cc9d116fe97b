//! The whole way without any provider: an application, the sidecar, a worker that finds the evidence, and the worker's
//! language model, SmolLM2, that answers. Listed as ignored where there are no weights: `cargo xtask model --decoder`
//! fetches them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use liquid_cases::{Answer, Sidecar, Tiers, Worker, decoder, post, send};
use serde_json::{Value, json};

/// Where nothing listens: whoever is sent there by mistake fails.
const NOWHERE: &str = "http://127.0.0.1:9/v1";
const EVIDENCE: &str = "A termination needs ninety days of written notice.";

fn main() -> ExitCode {
    let tests: [(&str, Test); 3] = [
        ("a_document_is_packed_and_answered_inside", |sidecar| {
            Box::pin(packed(sidecar))
        }),
        ("a_conversation_is_read_from_the_cache", |sidecar| {
            Box::pin(continued(sidecar))
        }),
        ("errors_of_the_model_reach_the_application", |sidecar| {
            Box::pin(refused(sidecar))
        }),
    ];
    let trials =
        tests.map(|(name, test)| Trial::test(name, move || run(test)).with_ignored_flag(decoder().is_none()));
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

type Work = std::pin::Pin<Box<dyn Future<Output = ()>>>;
type Test = fn(Sidecar) -> Work;

/// Runs a test on a sidecar whose provider is the language model of its worker.
fn run(test: Test) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let worker = Worker::start_with(Tiers::Lexical, decoder()).await;
        let toml = format!(
            "[upstream]\nopenai = \"liquid\"\nanthropic = \"liquid\"\n[policy.budget]\nmax_tokens = 150\n{}",
            worker.settings()
        );
        let sidecar = Sidecar::start(&toml, NOWHERE).await;
        sidecar.worker_serves().await;
        test(sidecar).await;
    });
    Ok(())
}

async fn chat(sidecar: &Sidecar, body: &Value) -> Answer {
    send(post(&sidecar.url("/v1/chat/completions"), body.to_string())).await
}

async fn packed(sidecar: Sidecar) {
    let clause = |number: usize| match number {
        150 => EVIDENCE.to_owned(),
        _ => format!("Clause {number} says that the parties meet and shake hands."),
    };
    let document: Vec<String> = (0..300).map(clause).collect();
    let mut body = json!({
        "model": "gpt-5.6", "temperature": 0, "max_tokens": 12, "messages": [
            {"role": "user", "content": document.join("\n")},
            {"role": "user", "content": "How many days of notice does a termination need?"},
        ],
    });
    let whole = chat(&sidecar, &body).await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    assert_eq!(whole.header("x-liquid-decision"), "compressed");
    let whole = whole.json();
    assert_eq!(whole["model"], "smollm2-135m-instruct");
    let said = whole["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(!said.trim().is_empty());
    body["stream"] = json!(true);
    let streamed = chat(&sidecar, &body).await;
    assert!(streamed.complete && streamed.text().ends_with("data: [DONE]\n\n"));
    let events = streamed.events();
    let texts = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    assert_eq!(texts.collect::<String>(), said);
    assert!(sidecar.metric("liquid_sidecar_upstream_connections") < 0.5);
}

async fn continued(sidecar: Sidecar) {
    let system = "You answer in one short sentence, and say nothing that you were not asked for. ".repeat(8);
    let mut messages = vec![
        json!({"role": "system", "content": system}),
        json!({"role": "user", "content": "Name a colour."}),
    ];
    let mut cached = Vec::new();
    for _ in 0..2 {
        let body = json!({"model": "m", "temperature": 0, "max_tokens": 8, "messages": messages});
        let answer = chat(&sidecar, &body).await.json();
        let usage = &answer["usage"];
        cached.push(usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap());
        messages.push(answer["choices"][0]["message"].clone());
        messages.push(json!({"role": "user", "content": "And another one?"}));
    }
    assert_eq!(cached[0], 0);
    assert!(cached[1] > 64, "{cached:?}");
}

async fn refused(sidecar: Sidecar) {
    let user = json!([{"role": "user", "content": "Hi"}]);
    let body = json!({"model": "m", "max_tokens": 100_000, "messages": user});
    let answer = chat(&sidecar, &body).await;
    let error = &answer.json()["error"];
    assert_eq!(
        (answer.status, &error["code"]),
        (400, &json!("context_length_exceeded"))
    );
    let answer = chat(
        &sidecar,
        &json!({"model": "m", "logit_bias": {"1": 1}, "messages": user}),
    )
    .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["param"]),
        (400, &json!("logit_bias"))
    );
}
