//! A small real worker: serves the contract on a loopback port and behaves, or misbehaves, as it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use liquid_proto::worker::v1::extract_request::Part;
use liquid_proto::worker::v1::worker_server::{self, WorkerServer};
use liquid_proto::worker::v1::{
    DescribeRequest, DescribeResponse, ExtractHeader, ExtractRequest, ExtractResponse, Load, SERVICE_NAME,
    Span, Tier,
};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

/// What the next calls get; the last one stays.
#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    /// The lines that hold a word of the question (of five letters or more); the first line in coverage.
    Evidence,
    /// The same, late.
    Slow(Duration),
    /// The same, from a worker that could do better with more time.
    Hurried,
    /// A status, with a wait in its details if it is not zero.
    Fail(tonic::Code, Duration),
    /// These spans, whatever the document.
    Spans(Vec<(u64, u64)>),
}

/// A running worker. Stops when it is dropped.
pub(crate) struct TestWorker {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    health: tonic_health::server::HealthReporter,
    _server: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    behaviours: Mutex<Vec<Behaviour>>,
    /// Calls that arrived whole, and calls that were answered.
    pub(crate) arrived: AtomicU32,
    pub(crate) answered: AtomicU32,
    pub(crate) last: Mutex<Option<(ExtractHeader, usize)>>,
    /// What it says of its load.
    pub(crate) load: AtomicU32,
}

struct Service(Arc<Shared>);

impl TestWorker {
    pub(crate) async fn start(behaviours: impl IntoIterator<Item = Behaviour>) -> Self {
        Self::start_with(behaviours, None).await
    }

    pub(crate) async fn start_with(
        behaviours: impl IntoIterator<Item = Behaviour>,
        tls: Option<ServerTlsConfig>,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        *shared.behaviours.lock().unwrap() = behaviours.into_iter().collect();
        let (health, service) = tonic_health::server::health_reporter();
        health
            .set_service_status(SERVICE_NAME, tonic_health::ServingStatus::Serving)
            .await;
        let mut builder = Server::builder();
        if let Some(tls) = tls {
            builder = builder.tls_config(tls).unwrap();
        }
        let server = builder
            .add_service(service)
            .add_service(WorkerServer::new(Service(Arc::clone(&shared))))
            .serve_with_incoming(TcpIncoming::from(listener));
        let server = AbortOnDropHandle::new(tokio::spawn(async move { server.await.unwrap() }));
        Self {
            address,
            shared,
            health,
            _server: server,
        }
    }

    pub(crate) async fn set_serving(&self, serving: bool) {
        let status = if serving {
            tonic_health::ServingStatus::Serving
        } else {
            tonic_health::ServingStatus::NotServing
        };
        self.health.set_service_status(SERVICE_NAME, status).await;
    }

    pub(crate) fn arrived(&self) -> u32 {
        self.shared.arrived.load(SeqCst)
    }

    pub(crate) fn answered(&self) -> u32 {
        self.shared.answered.load(SeqCst)
    }
}

#[tonic::async_trait]
impl worker_server::Worker for Service {
    async fn extract(
        &self,
        request: Request<Streaming<ExtractRequest>>,
    ) -> Result<Response<ExtractResponse>, Status> {
        let (header, document) = receive(request.into_inner()).await?;
        self.0.arrived.fetch_add(1, SeqCst);
        *self.0.last.lock().unwrap() = Some((header.clone(), document.len()));
        let document =
            String::from_utf8(document).map_err(|_| Status::invalid_argument("document: not UTF-8"))?;
        let behaviour = {
            let mut behaviours = self.0.behaviours.lock().unwrap();
            if behaviours.len() > 1 {
                behaviours.remove(0)
            } else {
                behaviours[0].clone()
            }
        };
        let provisional = matches!(behaviour, Behaviour::Hurried);
        let spans = match behaviour {
            Behaviour::Evidence | Behaviour::Hurried => evidence(&document, &header.question),
            Behaviour::Slow(wait) => {
                tokio::time::sleep(wait).await;
                evidence(&document, &header.question)
            }
            Behaviour::Fail(code, wait) => return Err(status(code, wait)),
            Behaviour::Spans(spans) => spans.into_iter().map(|(start, end)| span(start, end)).collect(),
        };
        self.0.answered.fetch_add(1, SeqCst);
        let load = Load {
            tokens_in_flight: self.0.load.load(SeqCst).into(),
            ..Load::default()
        };
        let tier = Tier::Lexical.into();
        Ok(Response::new(ExtractResponse {
            spans,
            tier,
            load: Some(load),
            provisional,
            ..ExtractResponse::default()
        }))
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse::default()))
    }
}

async fn receive(mut stream: Streaming<ExtractRequest>) -> Result<(ExtractHeader, Vec<u8>), Status> {
    let (mut header, mut document) = (None, Vec::new());
    while let Some(message) = stream.message().await? {
        match message.part {
            Some(Part::Header(first)) => header = Some(first),
            Some(Part::DocumentChunk(chunk)) => {
                assert!(chunk.len() <= 64 << 10);
                document.extend(chunk);
            }
            None => return Err(Status::invalid_argument("part: missing")),
        }
    }
    Ok((
        header.ok_or_else(|| Status::invalid_argument("header: missing"))?,
        document,
    ))
}

fn status(code: tonic::Code, wait: Duration) -> Status {
    if wait.is_zero() {
        return Status::new(code, "told to fail");
    }
    Status::with_error_details(code, "told to fail", ErrorDetails::with_retry_info(Some(wait)))
}

fn evidence(document: &str, question: &str) -> Vec<Span> {
    let words: Vec<_> = question
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() >= 5)
        .collect();
    let mut at = 0;
    let lines = document.split_inclusive('\n').filter_map(|line| {
        let start = at;
        at += line.len();
        let text = line.trim_end();
        let hit = words.iter().any(|word| text.contains(word)) || (question.is_empty() && start == 0);
        (hit && !text.is_empty()).then(|| span(start as u64, (start + text.len()) as u64))
    });
    lines.collect()
}

fn span(start: u64, end: u64) -> Span {
    Span {
        start,
        end,
        score: 1.5,
        kind: 1,
    }
}
