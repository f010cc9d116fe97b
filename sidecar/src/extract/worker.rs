//! One worker: its connection, its load, and whether it is available.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use futures::StreamExt;
use liquid_process::lock;
use liquid_proto::worker::v1::{self as wire, extract_request::Part, worker_client::WorkerClient};
use tonic::Status;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::error::{AttemptFailure, ExtractError};
use super::query::Query;
use super::{CallTotals, Extraction, ReportOutcome, Settings, WorkerHealth, WorkerStatus};

/// Bytes of a message of the document's stream. Less than the contract recommends: the allocator keeps blocks
/// of that size for a while after each message has gone, which for a long document adds up to the document
/// again.
const CHUNK: usize = 64 << 10;
/// Faults in a row after which a worker is ejected.
const FAULTS: u32 = 3;

/// One worker. Shared between calls and the background tasks.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) address: SocketAddr,
    name: String,
    channel: Channel,
    /// Its zone, once it has said it; it is asked where zones count.
    zone: OnceLock<String>,
    zones_count: bool,
    eject: Duration,
    /// Whether it serves, as it was last heard: by its health service or by an answer. Empty until then.
    serving: Mutex<Option<bool>>,
    ejection: Mutex<Ejection>,
    in_flight: AtomicU32,
    /// Bytes of the documents that it works on for us.
    bytes_in_flight: AtomicU64,
    reported: Mutex<Option<ReportedLoad>>,
    answered: AtomicU64,
    failed: AtomicU64,
}

/// What a worker said of its load.
#[derive(Debug, Clone, Copy)]
struct ReportedLoad {
    /// Document tokens that wait or run there.
    tokens: u64,
    at: Instant,
}

impl ReportedLoad {
    /// Estimates what is left of it at `now`. Half is taken to be done each second: a worker that is not asked says nothing
    /// new, and what it said last must not keep calls away for ever.
    fn left(self, now: Instant) -> u64 {
        let seconds = now.saturating_duration_since(self.at).as_secs();
        u32::try_from(seconds)
            .ok()
            .and_then(|seconds| self.tokens.checked_shr(seconds))
            .unwrap_or(0)
    }
}

/// A worker's failures in a row, and the end of its ejection for them.
#[derive(Debug, Default)]
struct Ejection {
    failures: u32,
    faults: u32,
    until: Option<Instant>,
}

/// A failed attempt: the error to report, and what it means.
pub(super) struct FailedAttempt {
    pub(super) error: ExtractError,
    pub(super) failure: AttemptFailure,
}

impl Worker {
    /// Sets the connection up without connecting yet.
    pub(super) fn new(
        address: SocketAddr,
        settings: &Settings,
        tls: Option<&ClientTlsConfig>,
    ) -> Result<Self, tonic::transport::Error> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
            .connect_timeout(Duration::from_millis(settings.connect_timeout_ms))
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        if let Some(tls) = tls {
            endpoint = endpoint.tls_config(tls.clone())?;
        }
        Ok(Self {
            address,
            name: address.to_string(),
            channel: endpoint.connect_lazy(),
            zone: OnceLock::new(),
            zones_count: !settings.zone.is_empty(),
            eject: Duration::from_millis(settings.eject_ms),
            serving: Mutex::default(),
            ejection: Mutex::default(),
            in_flight: AtomicU32::new(0),
            bytes_in_flight: AtomicU64::new(0),
            reported: Mutex::default(),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// Returns true if the worker may be asked at `now`: it is not known not to serve, and not ejected. One that has
    /// not been heard from is: asking it is the quickest way to know.
    pub(super) fn is_available(&self, now: Instant) -> bool {
        *lock(&self.serving) != Some(false) && !self.is_ejected(now)
    }

    /// Returns true if the worker is known to serve and is not ejected at `now`.
    pub(super) fn is_healthy(&self, now: Instant) -> bool {
        self.health(now) == WorkerHealth::Healthy
    }

    fn health(&self, now: Instant) -> WorkerHealth {
        match *lock(&self.serving) {
            _ if self.is_ejected(now) => WorkerHealth::Unhealthy,
            Some(true) => WorkerHealth::Healthy,
            Some(false) => WorkerHealth::Unhealthy,
            None => WorkerHealth::Unknown,
        }
    }

    fn is_ejected(&self, now: Instant) -> bool {
        self.ejection().until.is_some_and(|until| now < until)
    }

    /// Estimates the document tokens before it: what is left of those that it reported, and those of ours.
    pub(super) fn load(&self, now: Instant) -> u64 {
        let reported = lock(&self.reported).map_or(0, |load| load.left(now));
        reported.saturating_add(self.bytes_in_flight.load(Relaxed) / 4)
    }

    /// Returns whether it is known to be in this zone.
    pub(super) fn is_in(&self, zone: &str) -> bool {
        !zone.is_empty() && self.zone.get().is_some_and(|own| own == zone)
    }

    pub(super) fn status(&self, now: Instant) -> WorkerStatus {
        WorkerStatus {
            address: self.name.clone(),
            zone: self.zone.get().cloned().unwrap_or_default(),
            healthy: self.is_healthy(now),
            health: self.health(now),
            in_flight: self.in_flight.load(Relaxed),
            tokens_in_flight: lock(&self.reported).map_or(0, |load| load.tokens),
            answered: self.answered.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }

    /// Sends the document and waits for its evidence.
    pub(super) async fn extract(
        self: &Arc<Self>,
        query: &Query,
        deadline: Instant,
    ) -> Result<Extraction, FailedAttempt> {
        let _guard = InFlightGuard::enter(self, query.document.len() as u64);
        let left = deadline.saturating_duration_since(Instant::now());
        // A little less than the caller waits, so that a slow worker is seen to be slow.
        let mine = left.mul_f64(0.95);
        let mut request = tonic::Request::new(messages(query, mine));
        request.set_timeout(left);
        let mut client = WorkerClient::new(self.channel.clone()).max_decoding_message_size(64 << 20);
        let late = |_| Err(Status::deadline_exceeded("no answer in time"));
        match tokio::time::timeout(mine, client.extract(request))
            .await
            .unwrap_or_else(late)
        {
            Ok(response) => self.answered(response.into_inner(), query),
            Err(status) => {
                let failure = AttemptFailure::from_status(&status);
                if failure == AttemptFailure::Refused {
                    *lock(&self.serving) = Some(true);
                }
                self.note(&failure);
                Err(FailedAttempt {
                    error: ExtractError::from_status(&status, &self.name),
                    failure,
                })
            }
        }
    }

    fn answered(&self, response: wire::ExtractResponse, query: &Query) -> Result<Extraction, FailedAttempt> {
        if let Some(load) = response.load {
            *lock(&self.reported) = Some(ReportedLoad {
                tokens: load.tokens_in_flight,
                at: Instant::now(),
            });
        }
        let checked = Extraction::check(response, &query.document, &self.name);
        match &checked {
            Ok(_) => self.note_answer(),
            Err(_) => self.note(&AttemptFailure::Fault),
        }
        checked.map_err(|error| FailedAttempt {
            error,
            failure: AttemptFailure::Fault,
        })
    }

    /// Notes an answer: the worker serves.
    pub(super) fn note_answer(&self) {
        self.answered.fetch_add(1, Relaxed);
        *lock(&self.serving) = Some(true);
        *self.ejection() = Ejection::default();
    }

    /// Ejects the worker after failures, twice as long each time.
    pub(super) fn note(&self, failure: &AttemptFailure) {
        let mut ejection = self.ejection();
        match failure {
            AttemptFailure::Refused | AttemptFailure::Busy(_) => return,
            AttemptFailure::Fault => {
                ejection.faults += 1;
                self.failed.fetch_add(1, Relaxed);
                if ejection.faults < FAULTS {
                    return;
                }
            }
            AttemptFailure::Down => drop(self.failed.fetch_add(1, Relaxed)),
        }
        ejection.until = Some(Instant::now() + self.eject * (1 << ejection.failures.min(5)));
        ejection.failures += 1;
        ejection.faults = 0;
    }

    /// Asks the health service of the worker.
    pub(super) async fn check_health(&self, time: Duration) {
        let request = HealthCheckRequest {
            service: wire::SERVICE_NAME.to_owned(),
        };
        let mut client = HealthClient::new(self.channel.clone());
        let serving = match tokio::time::timeout(time, client.check(request)).await {
            Ok(Ok(response)) => response.into_inner().status() == ServingStatus::Serving,
            Ok(Err(status)) => status.code() == tonic::Code::Unimplemented,
            Err(_) => false,
        };
        let before = lock(&self.serving).replace(serving);
        if serving && before != Some(true) {
            *self.ejection() = Ejection::default();
        }
        if before != Some(serving) {
            tracing::info!(worker = %self.address, serving, "worker changed its health");
        }
        if serving && self.zones_count && self.zone.get().is_none() {
            self.ask_zone(time).await;
        }
    }

    /// Asks for its zone. One that gives no answer is asked again with its health.
    async fn ask_zone(&self, time: Duration) {
        let mut client = WorkerClient::new(self.channel.clone());
        let answer = tokio::time::timeout(time, client.describe(wire::DescribeRequest {})).await;
        if let Ok(Ok(described)) = answer {
            // Another check may have been quicker; it was told the same.
            let _ = self.zone.set(described.into_inner().zone);
        }
    }

    /// Reports what calls have come to.
    pub(super) async fn report(&self, totals: CallTotals, deadline: Instant) -> ReportOutcome {
        let mut client = WorkerClient::new(self.channel.clone());
        let answer =
            tokio::time::timeout_at(deadline.into(), client.report(wire::ReportRequest::from(totals)));
        match answer.await {
            Ok(Ok(_)) | Err(_) => ReportOutcome::Settled,
            Ok(Err(status)) => {
                tracing::debug!(worker = %self.address, %status, "the worker did not take the report");
                ReportOutcome::from_status(&status)
            }
        }
    }

    /// Returns its connection, which is opened when it is first used.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn ejection(&self) -> std::sync::MutexGuard<'_, Ejection> {
        lock(&self.ejection)
    }
}

/// The stream of a request. Chunks are copied one at a time, as the connection takes them.
fn messages(query: &Query, left: Duration) -> impl futures::Stream<Item = wire::ExtractRequest> + use<> {
    // A tenth is left for the way there and back.
    let deadline_ms = u32::try_from(left.as_millis() * 9 / 10)
        .unwrap_or(u32::MAX)
        .max(1);
    let header = Part::Header(query.header(deadline_ms));
    let document = query.document.as_bytes().clone();
    let starts = (0..document.len()).step_by(CHUNK);
    let chunks = starts.map(move |start| {
        let end = (start + CHUNK).min(document.len());
        Part::DocumentChunk(document.slice(start..end).to_vec())
    });
    futures::stream::iter(std::iter::once(header).chain(chunks))
        .map(|part| wire::ExtractRequest { part: Some(part) })
}

/// Counts a call while it runs, however it ends.
#[derive(Debug)]
pub(super) struct InFlightGuard {
    worker: Arc<Worker>,
    bytes: u64,
}

impl InFlightGuard {
    /// Counts a call with so many bytes of documents.
    pub(super) fn enter(worker: &Arc<Worker>, bytes: u64) -> Self {
        worker.in_flight.fetch_add(1, Relaxed);
        worker.bytes_in_flight.fetch_add(bytes, Relaxed);
        Self {
            worker: Arc::clone(worker),
            bytes,
        }
    }

    /// Returns the worker that works on it.
    pub(super) fn worker(&self) -> &Worker {
        &self.worker
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.worker.in_flight.fetch_sub(1, Relaxed);
        self.worker.bytes_in_flight.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_for_half_each_second() {
        let at = Instant::now();
        let load = ReportedLoad { tokens: 1_000, at };
        let left = |seconds: u64| load.left(at + Duration::from_secs(seconds));
        assert_eq!(
            [0, 1, 2, 10, 64, u64::MAX >> 32].map(left),
            [1_000, 500, 250, 0, 0, 0]
        );
    }
}
