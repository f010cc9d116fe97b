//! The queue, cancellation, health and drain, with an encoder that runs only when the test lets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use liquid_proto::worker::v1::{DescribeRequest, ExtractHeader, ExtractResponse, Load, Tier, TierReason};
use liquid_worker::config::Config;
use liquid_worker::model::{Device, EncodeError, Encoded, Encoder, Models};
use liquid_worker::runtime::Runtime;
use support::{TestServer, config, document, extract, header};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

/// The tiny model behind a gate: once shut, each call waits until the gate is gone, but for some that pass.
struct Gated {
    model: Box<dyn Encoder>,
    passes: Arc<AtomicUsize>,
    gate: Arc<Mutex<Option<Receiver<()>>>>,
}

impl Encoder for Gated {
    fn dim(&self) -> usize {
        self.model.dim()
    }

    fn max_tokens(&self) -> usize {
        self.model.max_tokens()
    }

    fn encode(&mut self, windows: &[&[u32]]) -> Result<Vec<Encoded>, EncodeError> {
        let pass = |left: usize| left.checked_sub(1);
        let passes = self
            .passes
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, pass)
            .is_ok();
        if let Some(gate) = &*self.gate.lock().unwrap()
            && !passes
        {
            // Returns when the sender is dropped.
            let _ = gate.recv();
        }
        self.model.encode(windows)
    }
}

struct Gate {
    shut: Arc<Mutex<Option<Receiver<()>>>>,
    passes: Arc<AtomicUsize>,
    folder: TempDir,
}

impl Gate {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        support::write_tiny_model(folder.path());
        Self {
            shut: Arc::default(),
            passes: Arc::default(),
            folder,
        }
    }

    /// Configures one encoder slot and this many places in the queue.
    fn config(&self, queue: usize) -> Config {
        let mut config = config();
        config.model.folder = Some(self.folder.path().to_owned());
        config.limits.encoder_slots = 1;
        config.limits.queue = queue;
        config
    }

    fn runtime(&self, config: &Config) -> Runtime {
        let mut models = Models::load(self.folder.path(), Device::Cpu).unwrap();
        models.encoder = Box::new(Gated {
            model: models.encoder,
            passes: Arc::clone(&self.passes),
            gate: Arc::clone(&self.shut),
        });
        Runtime::with_models(config, Some(models))
    }

    /// Starts a worker whose encoder blocks once it is ready, until the sender is dropped.
    async fn shut(&self, config: Config) -> (TestServer, Sender<()>) {
        let runtime = self.runtime(&config);
        let server = TestServer::start_with(config, runtime).await;
        let (open, shut) = channel();
        *self.shut.lock().unwrap() = Some(shut);
        (server, open)
    }
}

type Asked = JoinHandle<Result<ExtractResponse, Status>>;

async fn ask(server: &TestServer, question: &str, tier: Tier) -> Asked {
    let mut client = server.client().await;
    let asked = ExtractHeader {
        tier: tier.into(),
        ..header(question)
    };
    tokio::spawn(async move { extract(&mut client, asked, &document(600)).await })
}

async fn load(server: &TestServer) -> Load {
    let answer = server.client().await.describe(DescribeRequest {}).await.unwrap();
    answer.into_inner().load.unwrap()
}

async fn until_load(server: &TestServer, wanted: impl Fn(&Load) -> bool) {
    for _ in 0..500 {
        if wanted(&load(server).await) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", load(server).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_with_a_time_to_retry() {
    let gate = Gate::new();
    let (server, open) = gate.shut(gate.config(1)).await;
    let running = ask(&server, "first", Tier::Encoder).await;
    until_load(&server, |load| load.requests_in_flight == 1).await;
    let waiting = ask(&server, "second", Tier::Encoder).await;
    until_load(&server, |load| load.queue_depth == 1).await;
    let refused = ask(&server, "third", Tier::Encoder)
        .await
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(
        refused
            .get_error_details()
            .retry_info()
            .unwrap()
            .retry_delay
            .unwrap()
            >= Duration::from_millis(50)
    );
    let load = load(&server).await;
    assert_eq!(
        (load.queue_depth, load.queue_limit, load.requests_in_flight),
        (1, 1, 2)
    );
    assert!(load.tokens_in_flight > 1000);
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.contains("liquid_worker_queue_depth 1"), "{metrics}");
    assert!(
        metrics.contains("liquid_worker_errors_total{code=\"resource_exhausted\"} 1"),
        "{metrics}"
    );
    drop(open);
    assert_eq!(running.await.unwrap().unwrap().tier(), Tier::Encoder);
    let waited = waiting.await.unwrap().unwrap();
    assert!(waited.timing.unwrap().queue_us > 0 && waited.encoded_tokens > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cheap_tiers_do_not_wait_for_the_encoder() {
    let gate = Gate::new();
    let (server, open) = gate.shut(gate.config(0)).await;
    let running = ask(&server, "first", Tier::Encoder).await;
    until_load(&server, |load| load.requests_in_flight == 1).await;
    for tier in [Tier::Lexical, Tier::Static] {
        let answer = ask(&server, "second", tier).await.await.unwrap().unwrap();
        assert_eq!(answer.tier(), tier);
    }
    drop(open);
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_request_leaves_the_queue_and_the_device() {
    let gate = Gate::new();
    let (server, open) = gate.shut(gate.config(4)).await;
    let running = ask(&server, "first", Tier::Encoder).await;
    until_load(&server, |load| load.requests_in_flight == 1).await;
    let waiting = ask(&server, "second", Tier::Encoder).await;
    until_load(&server, |load| load.queue_depth == 1).await;
    waiting.abort();
    until_load(&server, |load| {
        load.queue_depth == 0 && load.requests_in_flight == 1
    })
    .await;
    running.abort();
    until_load(&server, |load| {
        load.requests_in_flight == 0 && load.tokens_in_flight == 0
    })
    .await;
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_in_the_queue_is_kept() {
    let gate = Gate::new();
    let mut config = gate.config(4);
    // No cheaper tier that could take over.
    config.tiers = vec![liquid_worker::engine::Tier::Encoder];
    let (server, open) = gate.shut(config).await;
    let running = ask(&server, "first", Tier::Encoder).await;
    until_load(&server, |load| load.requests_in_flight == 1).await;
    let late = extract(&mut server.client().await, hurried("second", 100), &document(600))
        .await
        .unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    let mut call = tonic::Request::new(futures::stream::iter(support::messages(
        header("third"),
        b"A text.",
        64,
    )));
    call.set_timeout(Duration::from_millis(200));
    let late = server.client().await.extract(call).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    until_load(&server, |load| load.requests_in_flight == 1).await;
    drop(open);
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_stops_half_way_brings_fewer_windows() {
    let gate = Gate::new();
    let (server, open) = gate.shut(gate.config(4)).await;
    // The question and the first step pass.
    gate.passes.store(2, Ordering::SeqCst);
    let answer = extract(
        &mut server.client().await,
        hurried("first", 4000),
        &document(3000),
    )
    .await
    .unwrap();
    assert_eq!(
        (answer.tier(), answer.tier_reason.as_str()),
        (
            Tier::Encoder,
            "the deadline left the encoder time for fewer windows"
        )
    );
    assert_eq!(answer.tier_reason_code(), TierReason::FewerWindows);
    assert!(answer.encoded_tokens > 500 && !answer.cached && answer.provisional);
    drop(open);
    let whole = extract(
        &mut server.client().await,
        hurried("first", 60_000),
        &document(3000),
    )
    .await
    .unwrap();
    assert!(!whole.cached && !whole.provisional && whole.encoded_tokens + 1000 > answer.encoded_tokens);
}

fn hurried(question: &str, deadline_ms: u32) -> ExtractHeader {
    ExtractHeader {
        deadline_ms,
        tier: Tier::Encoder.into(),
        ..header(question)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_free_slot_a_deadline_brings_a_cheaper_tier() {
    let gate = Gate::new();
    let (server, open) = gate.shut(gate.config(4)).await;
    let running = ask(&server, "first", Tier::Encoder).await;
    until_load(&server, |load| load.requests_in_flight == 1).await;
    // The slot does not come free at all, so the answer shows that nobody waited for it.
    let answer = extract(
        &mut server.client().await,
        hurried("second", 4000),
        &document(600),
    )
    .await
    .unwrap();
    assert_eq!(
        (answer.tier(), answer.tier_reason.as_str()),
        (Tier::Static, "no slot of the encoder was free in time")
    );
    assert_eq!(answer.tier_reason_code(), TierReason::NoFreeSlot);
    assert!(!answer.spans.is_empty() && answer.provisional);
    drop(open);
    let first = running.await.unwrap().unwrap();
    assert_eq!(
        (first.tier_reason.as_str(), first.tier_reason_code()),
        ("as asked", TierReason::AsAsked)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_stands_still_brings_a_cheaper_tier() {
    let gate = Gate::new();
    let (server, open) = gate.shut(gate.config(4)).await;
    for question in ["first", "second"] {
        let answer = extract(
            &mut server.client().await,
            hurried(question, 4000),
            &document(600),
        )
        .await
        .unwrap();
        assert_eq!(
            (answer.tier(), answer.tier_reason.as_str()),
            (Tier::Static, "the encoder was not free in time")
        );
        assert_eq!(answer.tier_reason_code(), TierReason::EncoderBusy);
        assert!(!answer.cached && answer.provisional);
    }
    drop(open);
    // What was given up is not in the way, and an answer that the deadline made poorer is not remembered.
    let answer = ask(&server, "first", Tier::Encoder).await.await.unwrap().unwrap();
    assert_eq!((answer.tier(), answer.cached), (Tier::Encoder, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn coverage_needs_no_encoder_and_is_remembered() {
    let gate = Gate::new();
    let (server, _open) = gate.shut(gate.config(4)).await;
    for cached in [false, true] {
        let answer = extract(&mut server.client().await, hurried("", 60_000), &document(600))
            .await
            .unwrap();
        assert_eq!(
            (answer.tier(), answer.provisional, answer.cached),
            (Tier::Lexical, false, cached)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_white_space_is_read_to_its_end() {
    let gate = Gate::new();
    let (server, _open) = gate.shut(gate.config(4)).await;
    let answer = extract(&mut server.client().await, hurried("first", 60_000), " \n\n \n")
        .await
        .unwrap();
    assert_eq!((answer.tier(), answer.provisional), (Tier::Encoder, false));
    assert!(answer.spans.is_empty() && answer.tier_reason == "as asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_requests_share_one_extraction() {
    let gate = Gate::new();
    let (server, open) = gate.shut(gate.config(4)).await;
    let (first, second) = (
        ask(&server, "same", Tier::Encoder).await,
        ask(&server, "same", Tier::Encoder).await,
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(load(&server).await.requests_in_flight, 1);
    first.abort();
    drop(open);
    assert!(!second.await.unwrap().unwrap().spans.is_empty());
}

async fn health(server: &TestServer, service: &str) -> ServingStatus {
    let mut client = HealthClient::new(server.channel().await);
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    client.check(request).await.unwrap().into_inner().status()
}

const SERVICES: [&str; 2] = ["", "liquid.worker.v1.Worker"];

#[tokio::test(flavor = "multi_thread")]
async fn is_ready_only_after_the_warm_up() {
    let gate = Gate::new();
    let config = gate.config(4);
    let (open, shut) = channel();
    *gate.shut.lock().unwrap() = Some(shut);
    let runtime = gate.runtime(&config);
    let server = TestServer::spawn(config, async { Ok(runtime) }).await;
    for service in SERVICES {
        assert_eq!(health(&server, service).await, ServingStatus::NotServing);
    }
    let (status, said) = server.get("/readyz").await;
    assert!(
        status == 503 && said.starts_with("warming up, for "),
        "{status}: {said}"
    );
    assert_eq!(server.get("/livez").await.0, 200);
    let refused = ask(&server, "early", Tier::Lexical)
        .await
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.get_error_details().retry_info().is_some());
    drop(open);
    server.until_ready(200).await;
    for service in SERVICES {
        assert_eq!(health(&server, service).await, ServingStatus::Serving);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_runs_and_refuses_the_rest() {
    let gate = Gate::new();
    let mut config = gate.config(4);
    config.drain.notice_ms = 400;
    let (mut server, open) = gate.shut(config).await;
    let running = ask(&server, "first", Tier::Encoder).await;
    until_load(&server, |load| load.requests_in_flight == 1).await;
    server.stop();
    server.until_ready(503).await;
    assert_eq!(health(&server, "").await, ServingStatus::NotServing);
    assert!(
        server
            .client()
            .await
            .describe(DescribeRequest {})
            .await
            .unwrap()
            .into_inner()
            .draining
    );
    // The notice: balancers have not seen it yet, so requests are still served.
    ask(&server, "second", Tier::Lexical)
        .await
        .await
        .unwrap()
        .unwrap();
    let refused = loop {
        if let Err(status) = ask(&server, "third", Tier::Lexical).await.await.unwrap() {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.get_error_details().retry_info().is_some());
    drop(open);
    assert!(!running.await.unwrap().unwrap().spans.is_empty());
    tokio::time::timeout(Duration::from_secs(10), &mut server.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_in_time_even_if_a_request_does_not() {
    let gate = Gate::new();
    let mut config = gate.config(4);
    config.drain.timeout_ms = 200;
    let (mut server, open) = gate.shut(config).await;
    let running = ask(&server, "first", Tier::Encoder).await;
    until_load(&server, |load| load.requests_in_flight == 1).await;
    server.stop();
    tokio::time::timeout(Duration::from_secs(5), &mut server.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(running.await.unwrap().unwrap_err().code(), Code::Unavailable);
    drop(open);
}
