#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod names;
mod reports;
mod tls;
mod wake;
mod zones;

use std::sync::Arc;
use std::time::{Duration, Instant};

use liquid_proto::worker::v1::{self as wire, ExtractResponse, TierReason};
use liquid_testing::{MockWorker, ReceivedExtract, WorkerBehaviour};
use sha2::{Digest, Sha256};
use tonic::Code;

use super::*;

const DOCUMENT: &str = "Preamble.\nThe supplier is Örsted.\nNothing here.\nThe supplier pays.\n";

fn query(question: &str) -> Query {
    Query {
        document: DOCUMENT.into(),
        document_sha256: Sha256::digest(DOCUMENT).into(),
        texts: Vec::new(),
        asks: vec![Asked {
            text: question.to_owned(),
            weight: 1.0,
        }],
        budget: Budget::Ratio(5.5),
        tier: None,
        request_id: "r1".to_owned(),
    }
}

fn settings(workers: &[&MockWorker]) -> Settings {
    Settings {
        workers: workers
            .iter()
            .map(|worker| worker.address().to_string())
            .collect(),
        deadline_ms: 2_000,
        health_interval_ms: 60_000,
        ..Settings::default()
    }
}

fn client(workers: &[&MockWorker]) -> Client {
    Client::start(settings(workers))
}

fn kept(found: &ExtractAnswer) -> Vec<&str> {
    found
        .extraction
        .spans
        .iter()
        .map(|span| &DOCUMENT[span.start as usize..span.end as usize])
        .collect()
}

#[tokio::test]
async fn finds_evidence_and_remembers_it() {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let client = client(&[&worker]);
    let found = client.extract(query("Who is the supplier?")).await.unwrap();
    assert_eq!(kept(&found), ["The supplier is Örsted.", "The supplier pays."]);
    assert_eq!((found.cached, found.extraction.tier), (false, "lexical"));
    let ReceivedExtract {
        header,
        document_bytes,
    } = worker.last().unwrap();
    assert_eq!(
        (header.document_bytes as usize, document_bytes),
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
async fn the_reason_for_the_tier_is_a_name_or_an_older_workers_sentence() {
    let with_code = ExtractResponse {
        tier_reason: "the best one served".into(),
        tier_reason_code: TierReason::BestServed.into(),
        ..ExtractResponse::default()
    };
    let without_code = ExtractResponse {
        tier_reason: "x".repeat(300),
        ..ExtractResponse::default()
    };
    for (response, reason) in [
        (with_code, "best_served".to_owned()),
        (without_code, "x".repeat(200)),
    ] {
        assert_eq!(extraction_of(response).await.tier_reason, reason);
    }
}

/// What the client makes of a worker's answer.
async fn extraction_of(response: ExtractResponse) -> Arc<Extraction> {
    let worker = MockWorker::start([WorkerBehaviour::Response(Box::new(response))])
        .await
        .unwrap();
    let found = client(&[&worker])
        .extract(query("Who is the supplier?"))
        .await
        .unwrap();
    found.extraction
}

#[tokio::test]
async fn a_tier_or_reason_of_a_later_version_is_no_fault() {
    for (tier, name) in [(wire::Tier::Ranker.into(), "ranker"), (99, "unspecified")] {
        let later = ExtractResponse {
            tier,
            tier_reason: "because".into(),
            tier_reason_code: 99,
            ..ExtractResponse::default()
        };
        let extraction = extraction_of(later).await;
        assert_eq!(
            (extraction.tier, extraction.tier_reason.as_str()),
            (name, "because")
        );
    }
}

#[tokio::test]
async fn what_a_hurried_worker_found_is_not_remembered() {
    let worker = MockWorker::start([WorkerBehaviour::Hurried, WorkerBehaviour::Evidence])
        .await
        .unwrap();
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
    let worker = MockWorker::start([WorkerBehaviour::Slow(Duration::from_millis(100))])
        .await
        .unwrap();
    let client = client(&[&worker]);
    let calls = (0..20).map(|_| client.extract(query("Who is the supplier?")));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(worker.arrived(), 1);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_cancelled() {
    let worker = MockWorker::start([
        WorkerBehaviour::Slow(Duration::from_millis(300)),
        WorkerBehaviour::Evidence,
    ])
    .await
    .unwrap();
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
        let bad = MockWorker::start([WorkerBehaviour::Fail(code, Duration::ZERO)])
            .await
            .unwrap();
        let good = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
        let client = client(&[&bad, &good]);
        for question in ["supplier one", "supplier two", "supplier three", "supplier four"] {
            assert!(client.extract(query(question)).await.is_ok(), "{code:?}");
        }
        assert_eq!(good.answered(), 4);
    }
}

#[tokio::test]
async fn a_worker_that_is_gone_rests() {
    let gone = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
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
    let worker = MockWorker::start([
        WorkerBehaviour::Fail(Code::ResourceExhausted, wait),
        WorkerBehaviour::Evidence,
    ])
    .await
    .unwrap();
    let start = Instant::now();
    assert!(
        client(&[&worker])
            .extract(query("Who is the supplier?"))
            .await
            .is_ok()
    );
    assert!(start.elapsed() >= wait);
    let full = MockWorker::start([WorkerBehaviour::Fail(
        Code::ResourceExhausted,
        Duration::from_secs(60),
    )])
    .await
    .unwrap();
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
    let worker = MockWorker::start([WorkerBehaviour::Slow(Duration::from_secs(30))])
        .await
        .unwrap();
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
    let behaviours = || {
        [
            WorkerBehaviour::Evidence,
            WorkerBehaviour::Slow(Duration::from_secs(30)),
        ]
    };
    let (one, two) = (
        MockWorker::start(behaviours()).await.unwrap(),
        MockWorker::start(behaviours()).await.unwrap(),
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
    let refusing = || [WorkerBehaviour::Fail(Code::InvalidArgument, Duration::ZERO)];
    let (one, two) = (
        MockWorker::start(refusing()).await.unwrap(),
        MockWorker::start(refusing()).await.unwrap(),
    );
    let client = client(&[&one, &two]);
    assert!(matches!(
        client.extract(query("supplier")).await,
        Err(ExtractError::Refused { .. })
    ));
    assert_eq!(one.arrived() + two.arrived(), 1);
    let workers = client.workers();
    assert!(workers.iter().any(|worker| worker.healthy));
    assert!(
        workers
            .iter()
            .all(|worker| worker.health != WorkerHealth::Unhealthy)
    );
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
        let worker = MockWorker::start([WorkerBehaviour::Spans(spans.clone())])
            .await
            .unwrap();
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
        MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap(),
        MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap(),
    );
    busy.set_load(1_000_000);
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
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let client = Client::start(Settings {
        health_interval_ms: 20,
        ..settings(&[&worker])
    });
    let becomes = async |healthy: WorkerHealth| {
        while client
            .workers()
            .first()
            .is_none_or(|worker| worker.health != healthy)
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let limit = Duration::from_secs(10);
    worker.set_serving(false).await;
    tokio::time::timeout(limit, becomes(WorkerHealth::Unhealthy))
        .await
        .unwrap();
    assert!(client.extract(query("supplier")).await.is_err());
    assert_eq!(worker.arrived(), 0);
    worker.set_serving(true).await;
    tokio::time::timeout(limit, becomes(WorkerHealth::Healthy))
        .await
        .unwrap();
    assert!(client.extract(query("supplier")).await.is_ok());
}

#[tokio::test]
async fn names_are_looked_up() {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let name = format!("localhost:{}", worker.address().port());
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
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
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
    assert_eq!(worker.last().unwrap().document_bytes, length);
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
