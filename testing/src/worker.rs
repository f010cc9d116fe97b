//! A mock worker: serves the contract between sidecar and worker on a loopback port, and behaves, or misbehaves, as it
//! is told.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use liquid_process::lock;
use liquid_proto::worker::v1::extract_request::Part;
use liquid_proto::worker::v1::worker_server::{self, WorkerServer};
use liquid_proto::worker::v1::{
    DescribeRequest, DescribeResponse, ExtractHeader, ExtractRequest, ExtractResponse, Load, ReportRequest,
    ReportResponse, SERVICE_NAME, Span, Tier,
};
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_types::{ErrorDetails, StatusExt};

use crate::MockUpstream;

/// Larger pieces of a document are refused: the sidecar promises smaller ones.
const MAX_CHUNK_BYTES: usize = 64 << 10;

/// Shorter words of a question find nothing.
const SHORTEST_WORD: usize = 5;

/// How a mock worker treats one call.
#[derive(Debug, Clone, Default)]
pub enum WorkerBehaviour {
    /// Answers with the lines that hold a word of the question (of five letters or more); in coverage with the first.
    #[default]
    Evidence,
    /// Answers with the evidence after a wait.
    Slow(Duration),
    /// Answers with the evidence, and says that more time would have found better.
    Hurried,
    /// Fails with a status, and with a wait in its details if that is not zero.
    Fail(Code, Duration),
    /// Answers with these spans, whatever the document.
    Spans(Vec<(u64, u64)>),
    /// Answers with the evidence and these fields of the response.
    Response(Box<ExtractResponse>),
}

/// A call that has arrived whole.
#[derive(Debug, Clone)]
pub struct ReceivedExtract {
    /// The stream's first message.
    pub header: ExtractHeader,
    /// The length of the document that followed it.
    pub document_bytes: usize,
}

/// A running mock worker; it ends when this value is dropped.
#[derive(Debug)]
pub struct MockWorker {
    address: SocketAddr,
    shared: Arc<Shared>,
    health: HealthReporter,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    behaviours: Mutex<VecDeque<WorkerBehaviour>>,
    arrived: AtomicU32,
    answered: AtomicU32,
    last: Mutex<Option<ReceivedExtract>>,
    reports: Mutex<Vec<ReportRequest>>,
    report_failure: Mutex<Option<Code>>,
    load: AtomicU64,
    zone: Mutex<String>,
}

struct Service(Arc<Shared>);

impl Drop for MockWorker {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl MockWorker {
    /// Starts on a free loopback port. The calls are treated as `behaviours` say, one after the other; the last one
    /// stays.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(behaviours: impl IntoIterator<Item = WorkerBehaviour>) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), behaviours).await
    }

    /// Starts as [`MockWorker::start`] does, on this address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_at(
        address: SocketAddr,
        behaviours: impl IntoIterator<Item = WorkerBehaviour>,
    ) -> io::Result<Self> {
        Self::start_on(Server::builder(), address, behaviours, None).await
    }

    /// Starts as [`MockWorker::start`] does, with a language model: what is no call of gRPC is answered, and remembered, by
    /// `model`, on the same port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start_with_model(
        behaviours: impl IntoIterator<Item = WorkerBehaviour>,
        model: &MockUpstream,
    ) -> io::Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        Self::start_on(Server::builder(), address, behaviours, Some(model)).await
    }

    /// Starts as [`MockWorker::start`] does, with TLS and perhaps a language model.
    ///
    /// # Errors
    /// When the certificates cannot be used or no port can be bound.
    pub async fn start_with_tls(
        behaviours: impl IntoIterator<Item = WorkerBehaviour>,
        tls: ServerTlsConfig,
        model: Option<&MockUpstream>,
    ) -> io::Result<Self> {
        let builder = Server::builder().tls_config(tls).map_err(io::Error::other)?;
        Self::start_on(builder, (Ipv4Addr::LOCALHOST, 0).into(), behaviours, model).await
    }

    async fn start_on(
        mut builder: Server,
        address: SocketAddr,
        behaviours: impl IntoIterator<Item = WorkerBehaviour>,
        model: Option<&MockUpstream>,
    ) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        lock(&shared.behaviours).extend(behaviours);
        let (health, service) = tonic_health::server::health_reporter();
        health
            .set_service_status(SERVICE_NAME, ServingStatus::Serving)
            .await;
        let grpc = Routes::new(service).add_service(WorkerServer::new(Service(Arc::clone(&shared))));
        let routes = match model {
            // The fallback of gRPC's routes gives way to the model's.
            Some(model) => grpc
                .into_axum_router()
                .reset_fallback()
                .merge(model.routes())
                .into(),
            None => grpc,
        };
        let serving = builder
            .add_routes(routes)
            .serve_with_incoming(TcpIncoming::from(listener));
        let server = tokio::spawn(async move {
            let _ = serving.await;
        });
        Ok(Self {
            address,
            shared,
            health,
            server,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes its health service report that it serves, or that it does not.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.health.set_service_status(SERVICE_NAME, status).await;
    }

    /// Makes its answers report so many tokens in flight.
    pub fn set_load(&self, tokens_in_flight: u64) {
        self.shared.load.store(tokens_in_flight, SeqCst);
    }

    /// Makes it describe itself as one of this zone.
    pub fn set_zone(&self, zone: &str) {
        zone.clone_into(&mut lock(&self.shared.zone));
    }

    /// How many calls have arrived whole.
    #[must_use]
    pub fn arrived(&self) -> u32 {
        self.shared.arrived.load(SeqCst)
    }

    /// How many calls have been answered.
    #[must_use]
    pub fn answered(&self) -> u32 {
        self.shared.answered.load(SeqCst)
    }

    /// The last call that has arrived whole.
    #[must_use]
    pub fn last(&self) -> Option<ReceivedExtract> {
        lock(&self.shared.last).clone()
    }

    /// The reports that have arrived, also those that it answered with an error.
    #[must_use]
    pub fn reports(&self) -> Vec<ReportRequest> {
        lock(&self.shared.reports).clone()
    }

    /// Makes it answer reports with an error of this code, or take them.
    pub fn set_report_failure(&self, code: Option<Code>) {
        *lock(&self.shared.report_failure) = code;
    }
}

impl Shared {
    /// Takes the next behaviour; the last one stays.
    fn next_behaviour(&self) -> WorkerBehaviour {
        let mut behaviours = lock(&self.behaviours);
        match behaviours.len() {
            0 | 1 => behaviours.front().cloned(),
            _ => behaviours.pop_front(),
        }
        .unwrap_or_default()
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
        *lock(&self.0.last) = Some(ReceivedExtract {
            header: header.clone(),
            document_bytes: document.len(),
        });
        let document =
            String::from_utf8(document).map_err(|_| Status::invalid_argument("document: not UTF-8"))?;
        let mut response = ExtractResponse {
            spans: find_evidence(&document, &header.question),
            tier: Tier::Lexical.into(),
            ..ExtractResponse::default()
        };
        match self.0.next_behaviour() {
            WorkerBehaviour::Evidence => {}
            WorkerBehaviour::Hurried => response.provisional = true,
            WorkerBehaviour::Slow(wait) => tokio::time::sleep(wait).await,
            WorkerBehaviour::Fail(code, wait) => return Err(failure(code, wait)),
            WorkerBehaviour::Spans(spans) => {
                response.spans = spans.into_iter().map(|(start, end)| span(start, end)).collect();
            }
            WorkerBehaviour::Response(fields) => {
                response = ExtractResponse {
                    spans: response.spans,
                    ..*fields
                };
            }
        }
        response.load = Some(Load {
            tokens_in_flight: self.0.load.load(SeqCst),
            ..Load::default()
        });
        self.0.answered.fetch_add(1, SeqCst);
        Ok(Response::new(response))
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse {
            zone: lock(&self.0.zone).clone(),
            ..DescribeResponse::default()
        }))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        lock(&self.0.reports).push(request.into_inner());
        match *lock(&self.0.report_failure) {
            Some(code) => Err(failure(code, Duration::ZERO)),
            None => Ok(Response::new(ReportResponse::default())),
        }
    }
}

async fn receive(mut stream: Streaming<ExtractRequest>) -> Result<(ExtractHeader, Vec<u8>), Status> {
    let (mut header, mut document) = (None, Vec::new());
    while let Some(message) = stream.message().await? {
        match message.part {
            Some(Part::Header(first)) => header = Some(first),
            Some(Part::DocumentChunk(chunk)) if chunk.len() > MAX_CHUNK_BYTES => {
                return Err(Status::invalid_argument("document_chunk: larger than 64 KiB"));
            }
            Some(Part::DocumentChunk(chunk)) => document.extend(chunk),
            None => return Err(Status::invalid_argument("part: missing")),
        }
    }
    let header = header.ok_or_else(|| Status::invalid_argument("header: missing"))?;
    Ok((header, document))
}

fn failure(code: Code, wait: Duration) -> Status {
    const MESSAGE: &str = "told to fail";
    if wait.is_zero() {
        return Status::new(code, MESSAGE);
    }
    Status::with_error_details(code, MESSAGE, ErrorDetails::with_retry_info(Some(wait)))
}

/// Finds the lines that hold a word of the question; without a question the first line.
fn find_evidence(document: &str, question: &str) -> Vec<Span> {
    let words: Vec<_> = question
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() >= SHORTEST_WORD)
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
