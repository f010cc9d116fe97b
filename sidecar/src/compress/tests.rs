#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod conversations;
mod facts;
mod offsets;
mod staying;

use std::time::Duration;

use bytes::Bytes;
use liquid_testing::{MockWorker, WorkerBehaviour};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tonic::Code;

use super::*;
use crate::api::{Mode, Overrides, Surface, Tier};

const QUESTION: &str = "When did the turbine arrive?";

/// About 4,500 tokens in lines; two of them speak of the turbine.
fn document() -> String {
    let line = |number: usize| match number {
        77 => "The turbine arrived on \"Monday\", 3 May.\n".to_owned(),
        142 => "A crane was painted green.\n".to_owned(),
        200 => "The turbine was paid late.\n".to_owned(),
        _ => format!(
            "Delivery {number} went to plant {} and was accepted.\n",
            number % 7
        ),
    };
    (0..300).map(line).collect::<String>().trim_end().to_owned()
}

#[tokio::test]
async fn a_body_too_short_for_a_document_is_not_read_into_texts() {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let compressor = start(&worker, |_| {}).await;
    let sent = |document: &str| Call {
        evidence: false,
        ..chat(json!([{"role": "user", "content": document}, {"role": "user", "content": QUESTION}]))
    };
    let document = document();
    for (bytes, read) in [(1_600, false), (2_500, true)] {
        let call = sent(&document[..bytes]);
        let (body, dry_run) = (
            call.body.clone(),
            Call {
                dry_run: true,
                ..call.clone()
            },
        );
        let outcome = compressor.compress(call).await;
        assert!(is_same(&outcome, &body));
        let decision = outcome.decision();
        assert_eq!(
            (decision.reason, !decision.sites.is_empty()),
            (Reason::TooShort, read)
        );
        let shown = compressor.compress(dry_run).await;
        assert_eq!(shown.decision().sites.len(), 1, "a person sees why");
    }
}

async fn start(worker: &MockWorker, change: impl FnOnce(&mut Settings)) -> Compressor {
    let mut settings = Settings::default();
    settings.extract.workers = vec![worker.address().to_string()];
    settings.extract.deadline_ms = 1_000;
    change(&mut settings);
    Compressor::start(settings).unwrap()
}

fn call(surface: Surface, body: &Value) -> Call {
    let body = Bytes::from(body.to_string());
    Call {
        surface,
        body,
        overrides: Overrides::default(),
        request_id: Some("r1".into()),
        evidence: true,
        leaves: true,
        dry_run: false,
    }
}

fn chat(messages: Value) -> Call {
    call(
        Surface::ChatCompletions,
        &json!({"model": "gpt-5", "stream": true, "n": 2, "messages": messages, "seed": 1.50}),
    )
}

fn forwarded(outcome: &Outcome) -> (Value, &Decision) {
    match outcome {
        Outcome::Forward { body, decision, .. } => (serde_json::from_slice(body).unwrap(), decision),
        Outcome::Reject { rejection, .. } => panic!("{rejection:?}"),
    }
}

fn is_same(outcome: &Outcome, sent: &Bytes) -> bool {
    matches!(outcome, Outcome::Forward { body, .. } if body.as_ptr() == sent.as_ptr() && body.len() == sent.len())
}

#[tokio::test]
async fn replaces_the_document_and_nothing_else() {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let compressor = start(&worker, |_| {}).await;
    let doc = document();
    let text = format!("Answer from the report.\n<document>\n{doc}\n</document>\n\n{QUESTION}");
    let call = chat(json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]));
    let sent = call.body.clone();
    let outcome = compressor.compress(call).await;
    let (body, decision) = forwarded(&outcome);
    assert_eq!(
        (decision.action, decision.reason),
        (Action::Compressed, Reason::Question)
    );
    assert_eq!(
        (decision.model.as_deref(), decision.stream),
        (Some("gpt-5"), true)
    );
    assert!(decision.tokens_after * 5 < decision.tokens_before && decision.overhead() > Duration::ZERO);

    let Outcome::Forward {
        evidence: Some(evidence),
        body: bytes,
        ..
    } = &outcome
    else {
        panic!()
    };
    let content = body["messages"][1]["content"].as_str().unwrap();
    assert_eq!(content, text.replace(&doc, &evidence.packs[0].text));
    let cut = sent
        .windows(10)
        .position(|window| window == b"<document>")
        .unwrap()
        + "<document>\\n".len();
    assert_eq!(bytes[..cut], sent[..cut]);
    assert_eq!(bytes[bytes.len() - 50..], sent[sent.len() - 50..]);
    let texts: Vec<_> = evidence.packs[0]
        .excerpts
        .iter()
        .map(|excerpt| excerpt.text.as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "The turbine arrived on \"Monday\", 3 May.",
            "The turbine was paid late."
        ]
    );
    for excerpt in &evidence.packs[0].excerpts {
        assert_eq!(doc[excerpt.start as usize..excerpt.end as usize], excerpt.text);
    }
}

#[tokio::test]
async fn the_manifest_accounts_for_every_byte() {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let compressor = start(&worker, |_| {}).await;
    let doc = document();
    let messages = json!([{"role": "user", "content": doc}, {"role": "user", "content": QUESTION}]);
    let outcome = compressor.compress(chat(messages.clone())).await;
    let manifest = outcome.decision().pack.clone().unwrap();
    assert_eq!(compressor.manifest(&manifest.id), Some(Arc::clone(&manifest)));
    let json = serde_json::to_vec(&*manifest).unwrap();
    assert_eq!(Manifest::parse(&json).unwrap(), *manifest);
    let [record] = manifest.packs.as_slice() else {
        panic!()
    };
    assert_eq!(record.source.bytes as usize, doc.len());
    assert_eq!(
        record.source.sha256,
        base16ct::lower::encode_string(&Sha256::digest(&doc))
    );
    assert_eq!(
        (manifest.reason.as_str(), record.tier.as_str()),
        ("question", "lexical")
    );
    assert!(
        !String::from_utf8(json).unwrap().contains("turbine"),
        "no document text"
    );

    let again = compressor.compress(chat(messages)).await;
    let (Outcome::Forward { body: one, .. }, Outcome::Forward { body: two, .. }) = (&outcome, &again) else {
        panic!()
    };
    assert_eq!(one, two, "the same bytes in, the same bytes out");
    assert!(
        again.decision().stages.extract_cached && again.decision().pack.as_ref().unwrap().id == manifest.id
    );
}

#[tokio::test]
async fn compresses_every_surface() {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let compressor = start(&worker, |_| {}).await;
    let doc = document();
    let prompt = format!("{doc}\n\n{QUESTION}");
    let bodies = [
        (
            Surface::Responses,
            json!({"model": "m", "input": prompt}),
            "/input",
        ),
        (
            Surface::Responses,
            json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": prompt}]}]}),
            "/input/0/content/0/text",
        ),
        (
            Surface::Messages,
            json!({"messages": [{"role": "user", "content": prompt}]}),
            "/messages/0/content",
        ),
        (Surface::Completions, json!({"prompt": prompt}), "/prompt"),
        (Surface::Completions, json!({"prompt": [prompt]}), "/prompt/0"),
        (
            Surface::HybridChat,
            json!({"model": "m", "large_document": doc, "final_user_prompt": QUESTION, "temperature": 0}),
            "/messages/0/content",
        ),
    ];
    for (surface, body, path) in bodies {
        let outcome = compressor.compress(call(surface, &body)).await;
        let (after, decision) = forwarded(&outcome);
        assert_eq!((decision.action, decision.surface), (Action::Compressed, surface));
        let text = after.pointer(path).unwrap().as_str().unwrap();
        assert!(
            text.starts_with("[excerpt ") && text.ends_with(QUESTION),
            "{surface}: {text}"
        );
        assert!(text.contains("3 May") && text.len() < 1_000);
    }
}

#[tokio::test]
async fn a_call_that_is_not_compressed_keeps_its_bytes() {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let compressor = start(&worker, |_| {}).await;
    let doc = document();
    let ask = |question: &str| {
        chat(json!([{"role": "user", "content": doc}, {"role": "user", "content": question}]))
    };
    let off = Call {
        overrides: Overrides {
            mode: Some(Mode::Off),
            ..Overrides::default()
        },
        ..ask(QUESTION)
    };
    let broken = Call {
        body: Bytes::from_static(b"{\"messages\": [}"),
        ..ask("")
    };
    for (call, reason) in [
        (ask("Translate it."), Reason::NeedsEverything),
        (off, Reason::ModeOff),
        (broken, Reason::Unreadable),
        (
            chat(json!([{"role": "user", "content": "Hello"}])),
            Reason::TooShort,
        ),
    ] {
        let sent = call.body.clone();
        let outcome = compressor.compress(call).await;
        assert_eq!(outcome.decision().reason, reason);
        assert!(is_same(&outcome, &sent), "{reason}");
    }
    assert_eq!(worker.arrived(), 0);
}

#[tokio::test]
async fn a_short_hybrid_chat_leaves_whole_and_a_wrong_one_is_refused() {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let compressor = start(&worker, |_| {}).await;
    let short = json!({"large_document": "Short.", "final_user_prompt": "Why?", "dry_run": true});
    let outcome = compressor.compress(call(Surface::HybridChat, &short)).await;
    let (body, decision) = forwarded(&outcome);
    assert_eq!(
        body,
        json!({"messages": [{"role": "user", "content": "Short.\n\nWhy?"}]})
    );
    assert!(decision.dry_run && decision.reason == Reason::TooShort);
    let wrong = compressor
        .compress(call(Surface::HybridChat, &json!({"large_document": "Short."})))
        .await;
    let Outcome::Reject { rejection, .. } = wrong else {
        panic!()
    };
    assert_eq!(
        (rejection.status, rejection.param),
        (400, Some("final_user_prompt"))
    );
    assert_eq!(rejection.message, "final_user_prompt is missing; send a string");
}

#[tokio::test]
async fn without_a_worker_the_original_goes_or_stays() {
    let failures = [
        (
            WorkerBehaviour::Fail(Code::Unavailable, Duration::ZERO),
            Reason::WorkerUnavailable,
            503,
        ),
        (
            WorkerBehaviour::Fail(Code::InvalidArgument, Duration::ZERO),
            Reason::WorkerRefused,
            422,
        ),
        (
            WorkerBehaviour::Slow(Duration::from_secs(30)),
            Reason::WorkerTimeout,
            504,
        ),
        (
            WorkerBehaviour::Spans(vec![(0, 1 << 40)]),
            Reason::WorkerInvalid,
            502,
        ),
    ];
    for (behaviour, reason, status) in failures {
        let worker = MockWorker::start([behaviour]).await.unwrap();
        let ask =
            || chat(json!([{"role": "user", "content": document()}, {"role": "user", "content": QUESTION}]));
        let forward = start(&worker, |settings| settings.extract.deadline_ms = 200).await;
        let sent = ask();
        let body = sent.body.clone();
        let outcome = forward.compress(sent).await;
        assert_eq!(outcome.decision().reason, reason);
        assert!(is_same(&outcome, &body) && outcome.decision().worker_error.is_some());

        let reject = start(&worker, |settings| {
            settings.extract.deadline_ms = 200;
            settings.extract.on_worker_unavailable = OnWorkerUnavailable::Reject;
        });
        let Outcome::Reject { rejection, decision } = reject.await.compress(ask()).await else {
            panic!()
        };
        assert_eq!(
            (rejection.status, decision.reason, decision.action),
            (status, reason, Action::Rejected)
        );
    }
}

#[tokio::test]
async fn many_questions_on_one_document_leave_it_to_the_cache() {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let compressor = start(&worker, |settings| settings.policy.budget.ratio = 2.0).await;
    let mut reasons = Vec::new();
    for question in [
        "When did the first turbine arrive?",
        "When did the second turbine arrive?",
        "When did the second turbine arrive?",
        "When did the third turbine arrive?",
        "When did the fourth turbine arrive?",
    ] {
        let messages =
            json!([{"role": "user", "content": document()}, {"role": "user", "content": question}]);
        reasons.push(compressor.compress(chat(messages)).await.decision().reason);
    }
    // A ratio of 2 is worth it for two questions: 2 / 1.35 = 1.5; for three it takes 3 / 1.45 = 2.1.
    assert_eq!(
        reasons,
        [
            Reason::Question,
            Reason::Question,
            Reason::Question,
            Reason::CachedPrefix,
            Reason::CachedPrefix
        ]
    );
}

#[tokio::test]
async fn a_pack_that_saves_too_little_is_not_used() {
    let end = document().len() as u64;
    let worker = MockWorker::start([WorkerBehaviour::Spans(vec![(0, end - 1)])])
        .await
        .unwrap();
    let compressor = start(&worker, |_| {}).await;
    let call = chat(json!([{"role": "user", "content": document()}, {"role": "user", "content": QUESTION}]));
    let sent = call.body.clone();
    let outcome = compressor.compress(call).await;
    assert_eq!(outcome.decision().reason, Reason::NotSmaller);
    assert!(is_same(&outcome, &sent));
    assert_eq!(outcome.decision().tokens_before, outcome.decision().tokens_after);
}

#[tokio::test]
async fn a_large_body_shares_its_memory_with_the_document() {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let compressor = start(&worker, |_| {}).await;
    let doc = format!(
        "{} The turbine arrived on 3 May. {}",
        "word ".repeat(400_000),
        "word ".repeat(100_000)
    );
    let call = chat(json!([{"role": "user", "content": doc}, {"role": "user", "content": QUESTION}]));
    let prepared = prepare::prepare(&compressor.state, &call);
    let NextStep::Extract(job) = prepared.next else {
        panic!()
    };
    assert!(call.body.as_ptr_range().contains(&job.documents[0].text.as_ptr()));
    assert!(
        call.body
            .as_ptr_range()
            .contains(&job.template.unchanged().as_ptr())
    );
}

#[test]
fn overrides_are_checked() {
    let parse = |name: &'static str, value: &'static str| {
        Overrides::parse(|header| (header == name).then_some(value)).map_err(|error| error.to_string())
    };
    assert_eq!(parse("x-liquid-ratio", " 8.5 ").unwrap().ratio, Some(8.5));
    assert_eq!(parse("x-liquid-mode", "force").unwrap().mode, Some(Mode::Force));
    assert_eq!(parse("x-liquid-tier", "static").unwrap().tier, Some(Tier::Static));
    assert_eq!(parse("x-liquid-max-tokens", "900").unwrap().max_tokens, Some(900));
    for (name, value, remedy) in [
        ("x-liquid-ratio", "NaN", "send a number from 1 to 1000"),
        ("x-liquid-ratio", "0.5", "send a number from 1 to 1000"),
        ("x-liquid-mode", "maybe", "send off, auto or force"),
        (
            "x-liquid-tier",
            "decoder",
            "send lexical, static, encoder or ranker",
        ),
        (
            "x-liquid-max-tokens",
            "-1",
            "send a whole number from 1 to 10000000",
        ),
    ] {
        assert_eq!(
            parse(name, value),
            Err(format!("header {name}: {value:?} is not valid; {remedy}"))
        );
    }
    assert!(
        Overrides::parse(|name| (name == "x-liquid-ratio" || name == "x-liquid-max-tokens").then_some("5"))
            .is_err()
    );
}

#[test]
fn settings_refuse_what_they_do_not_know() {
    let parse = |text| toml::from_str::<Settings>(text).map_err(|error| error.message().to_owned());
    let settings = parse(
        "[policy]\nmode = 'force'\n[policy.budget]\nratio = 8\n[extract.tls]\nca_file = 'ca.pem'\nserver_name = 'w'",
    );
    assert_eq!(settings.unwrap().policy.budget.ratio, 8.0);
    assert!(
        parse("[policy]\nmodus = 'auto'")
            .unwrap_err()
            .starts_with("unknown field `modus`")
    );
    let wrong =
        parse("[policy]\nmin_saving = 2\n[policy.budget]\nratio = 0\n[pack]\nstore_ttl_s = 0").unwrap();
    let fields: Vec<_> = wrong
        .validate()
        .into_iter()
        .map(|invalid| invalid.field)
        .collect();
    assert_eq!(
        fields,
        ["policy.budget.ratio", "policy.min_saving", "pack.store_ttl_s"]
    );
}
