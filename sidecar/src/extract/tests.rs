#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod names;
mod tls;
pub(crate) mod worker;

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tonic::Code;

use self::worker::{Behaviour, TestWorker};
use super::*;

const DOCUMENT: &str = "Preamble.\nThe supplier is Örsted.\nNothing here.\nThe supplier pays.\n";

fn query(question: &str) -> Query {
    Query {
        document: DOCUMENT.into(),
        document_sha256: Sha256::digest(DOCUMENT).into(),
        question: question.to_owned(),
        budget: Budget::Ratio(5.5),
        tier: None,
        request_id: "r1".to_owned(),
    }
}

fn settings(workers: &[&TestWorker]) -> Settings {
    Settings {
        workers: workers.iter().map(|worker| worker.address.to_string()).collect(),
        deadline_ms: 2_000,
        health_interval_ms: 60_000,
        ..Settings::default()
    }
}

fn client(workers: &[&TestWorker]) -> Client {
    Client::start(settings(workers))
}

fn kept(found: &Found) -> Vec<&str> {
    found
        .extraction
        .spans
        .iter()
        .map(|span| &DOCUMENT[span.start as usize..span.end as usize])
        .collect()
}

#[tokio::test]
async fn finds_evidence_and_remembers_it() {
    let worker = TestWorker::start([Behaviour::Evidence]).await;
    let client = client(&[&worker]);
    let found = client.extract(query("Who is the supplier?")).await.unwrap();
    assert_eq!(kept(&found), ["The supplier is Örsted.", "The supplier pays."]);
    assert_eq!((found.cached, found.extraction.tier), (false, "lexical"));
    let (header, bytes) = worker.shared.last.lock().unwrap().clone().unwrap();
    assert_eq!(
        (header.document_bytes as usize, bytes),
        (DOCUMENT.len(), DOCUMENT.len())
    );
    assert_eq!(
        (header.request_id.as_str(), header.document_sha256.len()),
        ("r1", 32)
    );
    assert!((1..=2_000).contains(&header.deadline_ms));

    let again = client
        .extract(Query {
            request_id: "r2".to_owned(),
            ..query("Who is the supplier?")
        })
        .await
        .unwrap();
    assert!(again.cached && again.extraction == found.extraction);
    let other = Query {
        budget: Budget::Ratio(10.0),
        ..query("Who is the supplier?")
    };
    assert!(!client.extract(other).await.unwrap().cached);
    assert_eq!(worker.answered(), 2);
}

#[tokio::test]
async fn what_a_hurried_worker_found_is_not_remembered() {
    let worker = TestWorker::start([Behaviour::Hurried, Behaviour::Evidence]).await;
    let client = client(&[&worker]);
    for cached in [false, false, true] {
        let found = client.extract(query("Who is the supplier?")).await.unwrap();
        assert_eq!(kept(&found), ["The supplier is Örsted.", "The supplier pays."]);
        assert_eq!(found.cached, cached);
    }
    assert_eq!(worker.answered(), 2);
}

#[tokio::test]
async fn equal_asks_at_the_same_time_are_one_call() {
    let worker = TestWorker::start([Behaviour::Slow(Duration::from_millis(100))]).await;
    let client = client(&[&worker]);
    let calls = (0..20).map(|_| client.extract(query("Who is the supplier?")));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(worker.arrived(), 1);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_cancelled() {
    let worker = TestWorker::start([Behaviour::Slow(Duration::from_millis(300)), Behaviour::Evidence]).await;
    let client = client(&[&worker]);
    let impatient = tokio::time::timeout(
        Duration::from_millis(100),
        client.extract(query("Who is the supplier?")),
    );
    assert!(impatient.await.is_err());
    assert!(client.extract(query("Who is the supplier?")).await.is_ok());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((worker.arrived(), worker.answered()), (2, 1));
}

#[tokio::test]
async fn tries_another_worker_when_one_is_down_or_full() {
    for code in [Code::Unavailable, Code::ResourceExhausted, Code::Internal] {
        let bad = TestWorker::start([Behaviour::Fail(code, Duration::ZERO)]).await;
        let good = TestWorker::start([Behaviour::Evidence]).await;
        let client = client(&[&bad, &good]);
        for question in ["supplier one", "supplier two", "supplier three", "supplier four"] {
            assert!(client.extract(query(question)).await.is_ok(), "{code:?}");
        }
        assert_eq!(good.answered(), 4);
    }
}

#[tokio::test]
async fn a_worker_that_is_gone_rests() {
    let gone = TestWorker::start([Behaviour::Evidence]).await;
    let settings = Settings {
        eject_ms: 60_000,
        ..settings(&[&gone])
    };
    drop(gone);
    let client = Client::start(settings);
    let first = client.extract(query("Who is the supplier?")).await;
    assert!(
        matches!(first, Err(ExtractError::Unavailable { .. })),
        "{first:?}"
    );
    assert!(!client.workers()[0].healthy);
    let start = Instant::now();
    assert!(client.extract(query("Who is the supplier?")).await.is_err());
    assert!(
        start.elapsed() < Duration::from_millis(100),
        "a resting worker is not asked"
    );
}

#[tokio::test]
async fn waits_as_long_as_a_full_worker_asks() {
    let wait = Duration::from_millis(200);
    let worker = TestWorker::start([
        Behaviour::Fail(Code::ResourceExhausted, wait),
        Behaviour::Evidence,
    ])
    .await;
    let start = Instant::now();
    assert!(
        client(&[&worker])
            .extract(query("Who is the supplier?"))
            .await
            .is_ok()
    );
    assert!(start.elapsed() >= wait);
    let full = TestWorker::start([Behaviour::Fail(Code::ResourceExhausted, Duration::from_secs(60))]).await;
    let error = client(&[&full])
        .extract(query("Who is the supplier?"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ExtractError::Unavailable { retry_after: Some(wait), .. } if wait.as_secs() == 60)
    );
}

#[tokio::test]
async fn gives_up_at_the_deadline() {
    let worker = TestWorker::start([Behaviour::Slow(Duration::from_secs(30))]).await;
    let client = Client::start(Settings {
        deadline_ms: 200,
        ..settings(&[&worker])
    });
    let start = Instant::now();
    assert_eq!(
        client.extract(query("Who is the supplier?")).await.unwrap_err(),
        ExtractError::Timeout
    );
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_hedge_answers_for_a_slow_worker() {
    let behaviours = || [Behaviour::Evidence, Behaviour::Slow(Duration::from_secs(30))];
    let (one, two) = (
        TestWorker::start(behaviours()).await,
        TestWorker::start(behaviours()).await,
    );
    let settings = Settings {
        deadline_ms: 4_000,
        hedge_after: 0.05,
        ..settings(&[&one, &two])
    };
    let client = Client::start(settings);
    // Whoever answers first is slow from then on; the other one still has a quick answer.
    assert!(client.extract(query("supplier one")).await.is_ok());
    assert!(client.extract(query("supplier two")).await.is_ok());
    assert_eq!(one.answered() + two.answered(), 2);
}

#[tokio::test]
async fn a_refusal_is_final() {
    let refusing = || [Behaviour::Fail(Code::InvalidArgument, Duration::ZERO)];
    let (one, two) = (
        TestWorker::start(refusing()).await,
        TestWorker::start(refusing()).await,
    );
    let client = client(&[&one, &two]);
    assert!(matches!(
        client.extract(query("supplier")).await,
        Err(ExtractError::Refused { .. })
    ));
    assert_eq!(one.arrived() + two.arrived(), 1);
    assert!(client.workers().iter().all(|worker| worker.healthy));
}

#[tokio::test]
async fn spans_that_do_not_fit_the_document_are_not_used() {
    let umlaut = DOCUMENT.find('Ö').unwrap() as u64;
    let end = DOCUMENT.len() as u64;
    for spans in [
        vec![(0, end + 1)],
        vec![(5, 5)],
        vec![(9, 4)],
        vec![(0, 9), (8, 12)],
        vec![(0, umlaut + 1)],
    ] {
        let worker = TestWorker::start([Behaviour::Spans(spans.clone())]).await;
        let error = client(&[&worker]).extract(query("supplier")).await.unwrap_err();
        assert!(
            matches!(error, ExtractError::Invalid { .. }),
            "{spans:?}: {error}"
        );
    }
}

#[tokio::test]
async fn asks_the_less_busy_of_two() {
    let (busy, idle) = (
        TestWorker::start([Behaviour::Evidence]).await,
        TestWorker::start([Behaviour::Evidence]).await,
    );
    busy.shared
        .load
        .store(1_000_000, std::sync::atomic::Ordering::SeqCst);
    let client = client(&[&busy, &idle]);
    for number in 0..30 {
        client
            .extract(query(&format!("supplier {number}")))
            .await
            .unwrap();
    }
    assert!(
        busy.answered() <= 1,
        "its load is known from its first answer: {}",
        busy.answered()
    );
}

#[tokio::test]
async fn health_decides_who_is_asked() {
    let worker = TestWorker::start([Behaviour::Evidence]).await;
    let client = Client::start(Settings {
        health_interval_ms: 20,
        ..settings(&[&worker])
    });
    let becomes = async |healthy: bool| {
        while client
            .workers()
            .first()
            .is_none_or(|worker| worker.healthy != healthy)
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let limit = Duration::from_secs(10);
    worker.set_serving(false).await;
    tokio::time::timeout(limit, becomes(false)).await.unwrap();
    assert!(client.extract(query("supplier")).await.is_err());
    assert_eq!(worker.arrived(), 0);
    worker.set_serving(true).await;
    tokio::time::timeout(limit, becomes(true)).await.unwrap();
    assert!(client.extract(query("supplier")).await.is_ok());
}

#[tokio::test]
async fn names_are_looked_up() {
    let worker = TestWorker::start([Behaviour::Evidence]).await;
    let name = format!("localhost:{}", worker.address.port());
    let client = Client::start(Settings {
        workers: vec![name],
        ..settings(&[])
    });
    assert!(client.extract(query("supplier")).await.is_ok());
}

#[tokio::test]
async fn an_unknown_name_holds_no_call_up_twice() {
    let workers = vec!["worker.invalid:50051".to_owned()];
    let client = Client::start(Settings {
        workers,
        ..settings(&[])
    });
    assert!(client.extract(query("supplier")).await.is_err());
    let start = Instant::now();
    assert!(matches!(
        client.extract(query("supplier")).await,
        Err(ExtractError::Unavailable { .. })
    ));
    assert!(start.elapsed() < Duration::from_millis(100));
}

#[tokio::test]
async fn a_long_document_arrives_whole() {
    let worker = TestWorker::start([Behaviour::Evidence]).await;
    let document = format!("{}The supplier is far down.\n", "Line.\n".repeat(200_000));
    let document_sha256 = Sha256::digest(&document).into();
    let length = document.len();
    let query = Query {
        document: document.into(),
        document_sha256,
        ..query("Who is the supplier?")
    };
    let found = client(&[&worker]).extract(query).await.unwrap();
    assert_eq!(found.extraction.spans.len(), 1);
    assert_eq!(worker.shared.last.lock().unwrap().clone().unwrap().1, length);
}

#[test]
fn settings_say_what_is_wrong() {
    let wrong = Settings {
        workers: vec!["worker".into()],
        attempts: 0,
        hedge_after: 0.0,
        ..Settings::default()
    };
    let texts: Vec<_> = wrong.validate().iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "workers = worker: write host:port, such as worker:50051 or [::1]:50051",
            "attempts = 0: set 1 to 10",
            "hedge_after = 0: set a share above 0; 1 switches it off",
        ]
    );
    assert!(Settings::default().validate().is_empty());
}
