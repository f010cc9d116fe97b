#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use liquid_testing::{MockWorker, WorkerBehaviour};
use serde_json::{Value, json};

use super::*;
use crate::api::{Overrides, Surface};
use crate::compress::{self, Action, Call, Compressor, Outcome};

const QUESTION: &str = "When did the turbine arrive?";

fn document(evidence: &str) -> String {
    let line = |number: usize| match number {
        77 => evidence.to_owned(),
        _ => format!("Delivery {number} went to plant {} and was accepted.", number % 7),
    };
    (0..300).map(line).collect::<Vec<_>>().join("\n")
}

/// Packs a document with a worker that finds by words.
async fn packed(evidence: &str) -> Outcome {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let mut settings = compress::Settings::default();
    settings.extract.workers = vec![worker.address().to_string()];
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": document(evidence)}, {"role": "user", "content": QUESTION}]});
    let call = Call {
        surface: Surface::ChatCompletions,
        body: Bytes::from(body.to_string()),
        overrides: Overrides::default(),
        request_id: None,
        evidence: true,
        leaves: true,
        dry_run: false,
    };
    Compressor::start(settings).unwrap().compress(call).await
}

fn detail(list: &RecentCalls, number: u64) -> Value {
    serde_json::to_value(list.detail(number, |_| None)).unwrap()
}

fn has_texts(list: &RecentCalls) -> Vec<bool> {
    let calls = list.list();
    calls
        .iter()
        .map(|call| !detail(list, call.number)["texts"].is_null())
        .collect()
}

#[tokio::test]
async fn texts_are_kept_only_where_the_settings_say_so() {
    let outcome = packed("The turbine arrived on 3 May.").await;
    let on = Settings {
        enabled: true,
        keep_texts: true,
        ..Settings::default()
    };
    let list = RecentCalls::start(&on);
    list.record(&outcome);
    let shown = detail(&list, 1);
    let stretches = shown["texts"]["sites"][0]["stretches"].as_array().unwrap();
    let kept: Vec<_> = stretches
        .iter()
        .filter(|stretch| stretch["kind"] == "kept")
        .collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["text"], "The turbine arrived on 3 May.");
    let whole: String = stretches
        .iter()
        .map(|stretch| stretch["text"].as_str().unwrap())
        .collect();
    assert_eq!(whole, document("The turbine arrived on 3 May."));
    assert_eq!(shown["texts"]["asks"][0]["text"], QUESTION);
    assert_eq!(shown["packs"][0]["site"], 0);

    let off = RecentCalls::start(&Settings {
        keep_texts: false,
        ..on
    });
    off.record(&outcome);
    let shown = detail(&off, 1);
    assert_eq!((&shown["texts"], &shown["packs"]), (&Value::Null, &Value::Null));
    assert!(!shown.to_string().contains("turbine"), "{shown}");
    let known = off.detail(1, |_| outcome.decision().pack.clone()).unwrap();
    assert_eq!(serde_json::to_value(known).unwrap()["packs"][0]["site"], 0);
}

#[tokio::test]
async fn calls_and_texts_are_bounded() {
    let outcome = packed("The turbine arrived on 3 May.").await;
    let bytes = document("The turbine arrived on 3 May.").len() as u64;
    let settings = Settings {
        enabled: true,
        calls: 3,
        keep_texts: true,
        // Room for two.
        text_bytes: bytes * 5 / 2,
        text_ttl_s: 100,
    };
    let list = RecentCalls::start(&settings);
    for _ in 0..5 {
        list.record(&outcome);
    }
    let numbers: Vec<u64> = list.list().iter().map(|call| call.number).collect();
    assert_eq!(numbers, [5, 4, 3]);
    assert_eq!(has_texts(&list), [true, true, false]);
    assert!(list.detail(2, |_| None).is_none());

    list.forget_texts(Instant::now() + Duration::from_secs(101));
    assert_eq!(has_texts(&list), [false, false, false]);

    list.record_unread(Surface::Responses, Action::Passed, "encoded_body");
    let calls = list.list();
    let last = &calls[0];
    assert_eq!(
        (last.number, last.reason, last.sites.len()),
        (6, "encoded_body", 0)
    );

    let small = RecentCalls::start(&Settings {
        text_bytes: bytes - 1,
        ..settings
    });
    small.record(&outcome);
    assert_eq!(
        has_texts(&small),
        [false],
        "one that is too long pushes nothing out"
    );
}

#[tokio::test]
async fn old_texts_are_forgotten_without_a_further_call() {
    let outcome = packed("The turbine arrived on 3 May.").await;
    let list = RecentCalls::start(&Settings {
        enabled: true,
        keep_texts: true,
        text_ttl_s: 1,
        ..Settings::default()
    });
    list.record(&outcome);
    assert!(list.text_bytes() > 0);
    let waiting = async {
        while list.text_bytes() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap();
    assert_eq!(list.list().len(), 1);
    let watched = Arc::downgrade(&list);
    drop(list);
    assert!(watched.upgrade().is_none(), "the task holds nothing");
}

#[test]
fn the_policy_names_the_hashes_of_the_pages_own_script_and_style() {
    let policy = &*CONTENT_SECURITY_POLICY;
    assert_eq!(policy.matches("'sha256-").count(), 2);
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"));
    assert_eq!(
        (HTML.matches("<script").count(), HTML.matches("<style").count()),
        (1, 1)
    );
    for forbidden in [
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "http://",
        "https://",
        " style=",
        " on",
    ] {
        let script = HTML.split_once("<script>").unwrap();
        let part = if forbidden.starts_with(' ') {
            script.0
        } else {
            HTML
        };
        assert!(!part.contains(forbidden), "{forbidden}");
    }
}
