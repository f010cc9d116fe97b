//! Calls for the workers' language model: HTTP on the connections on which the workers are asked for evidence. Calls whose
//! prompts begin alike go to one worker, which has read that beginning before.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use liquid_contract::headers::{MOST_TIMEOUT_MS, TIMEOUT_MS};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tonic::body::Body;
use tower::ServiceExt;

use super::Client;
use super::error::{AttemptFailure, ExtractError};
use super::worker::{InFlightGuard, Worker};
use crate::cause::innermost;

const TIMEOUT: HeaderName = HeaderName::from_static(TIMEOUT_MS);

/// What is kept back of the time for an answer, at most: for its way here.
const RESERVE: Duration = Duration::from_millis(250);

/// The beginning of a prompt as a sum: calls with the same one go to the same worker.
pub type PrefixKey = [u8; 32];

/// A call that is ready to be sent to a worker.
#[derive(Debug, Clone)]
pub struct ModelCall {
    /// Method.
    pub method: Method,
    /// Path and query, such as `/v1/chat/completions`.
    pub path: PathAndQuery,
    /// The headers that workers are sent: no credentials.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// By which the worker is chosen.
    pub prefix: PrefixKey,
    /// By when the answer must have ended, if the call has a limit.
    pub deadline: Option<Instant>,
}

/// A worker's answer that has begun.
#[derive(Debug)]
pub struct ModelAnswer {
    /// Status, headers, and what follows the first frame.
    pub response: Response<WorkerBody>,
    /// The first frame, if there is a body and the status is a success.
    pub first: Option<Frame<Bytes>>,
}

/// The body of a worker's answer. The call counts as in flight there until this is dropped.
#[derive(Debug)]
pub struct WorkerBody {
    body: Body,
    call: InFlightGuard,
}

impl Client {
    /// Sends a call to the worker that its prefix belongs to; where that one cannot be asked or does not take it, to the
    /// next, at most to `extract.attempts` of them.
    ///
    /// # Errors
    /// [`ExtractError::Unavailable`] if no worker answered. An answer may still be an error of the worker's own.
    pub async fn forward(&self, call: &ModelCall) -> Result<ModelAnswer, ExtractError> {
        let (pool, attempts) = (self.pool(), self.attempts());
        let workers = pool.rank(&call.prefix).await;
        let mut best = None;
        for worker in workers.iter().take(attempts) {
            let outcome = worker.forward(call).await;
            let worth = worth(&outcome);
            if worth == Worth::Final {
                pool.note_served();
                return outcome;
            }
            if best.as_ref().is_none_or(|(most, _)| *most <= worth) {
                best = Some((worth, outcome));
            }
        }
        best.map_or_else(|| Err(pool.no_worker_error()), |(_, outcome)| outcome)
    }
}

/// How much an outcome tells the caller, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// No answer came.
    Nothing,
    /// An answer that another worker may better: it failed, or does not serve this model.
    Failed,
    /// The worker is full, or does not serve yet or any more.
    Busy,
    /// Every worker would say this.
    Final,
}

fn worth(outcome: &Result<ModelAnswer, ExtractError>) -> Worth {
    let Ok(answer) = outcome else {
        return Worth::Nothing;
    };
    match answer.response.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Worth::Busy,
        // The time of the call is over, whoever answers.
        StatusCode::GATEWAY_TIMEOUT => Worth::Final,
        StatusCode::NOT_FOUND | StatusCode::REQUEST_TIMEOUT => Worth::Failed,
        status if status.is_server_error() => Worth::Failed,
        _ => Worth::Final,
    }
}

/// Sorts workers for a prefix, the one that it belongs to first (rendezvous hashing: a worker that comes or goes moves
/// its own prefixes alone). The order is the same in every sidecar of a zone: the one that it belongs to there, those
/// elsewhere, the others of the zone.
pub(super) fn rank(workers: &mut [Arc<Worker>], prefix: &PrefixKey, zone: &str) {
    workers.sort_by_cached_key(|worker| (worker.is_in(zone), Reverse(weight(worker.address, prefix))));
    if let Some(near) = workers.iter().position(|worker| worker.is_in(zone)) {
        workers[..=near].rotate_right(1);
    }
}

fn weight(address: SocketAddr, prefix: &PrefixKey) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(prefix);
    hash.update(address.to_string());
    hash.finalize().into()
}

impl Worker {
    /// Sends a call, and waits for the first frame of a success.
    async fn forward(self: &Arc<Self>, call: &ModelCall) -> Result<ModelAnswer, ExtractError> {
        let guard = InFlightGuard::enter(self, 0);
        let down = |message: String| {
            self.note(&AttemptFailure::Down);
            self.unavailable(&message)
        };
        let response = self.channel().oneshot(request(call)).await;
        let response = response.map_err(|error| down(innermost(&error)))?;
        if is_grpc(response.headers()) {
            return Err(self.unavailable("its version serves no language model; update it"));
        }
        match response.status() {
            status if status.is_success() => self.note_answer(),
            StatusCode::INTERNAL_SERVER_ERROR => self.note(&AttemptFailure::Fault),
            _ => {}
        }
        let success = response.status().is_success();
        let mut response = response.map(|body| WorkerBody { body, call: guard });
        let first = match success {
            true => response.body_mut().frame().await.transpose(),
            false => Ok(None),
        };
        let first = first.map_err(|error| self.unavailable(&error.message))?;
        Ok(ModelAnswer { response, first })
    }

    fn unavailable(&self, message: &str) -> ExtractError {
        ExtractError::unavailable(format!("{}: {message}", self.address))
    }
}

fn request(call: &ModelCall) -> Request<Body> {
    let mut request = Request::new(Body::new(Full::new(call.body.clone())));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = Uri::from(call.path.clone());
    *request.headers_mut() = call.headers.clone();
    if let Some(deadline) = call.deadline {
        let time = time_for_answer(deadline.saturating_duration_since(Instant::now()));
        request.headers_mut().insert(TIMEOUT, HeaderValue::from(time));
    }
    request
}

/// Returns the milliseconds that a worker gets of the time that is left: a little less, so that the end of an answer that
/// has no more time is here before the call is given up.
fn time_for_answer(left: Duration) -> u64 {
    let time = left.saturating_sub(RESERVE.min(left / 10)).as_millis();
    u64::try_from(time).unwrap_or(u64::MAX).clamp(1, MOST_TIMEOUT_MS)
}

/// Returns whether a worker took a call for one of gRPC, as one does that has no routes for HTTP.
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Why a worker's answer broke off.
#[derive(Debug, thiserror::Error)]
#[error("worker {worker}: {message}")]
pub struct BrokenAnswer {
    worker: SocketAddr,
    message: String,
}

impl HttpBody for WorkerBody {
    type Data = Bytes;
    type Error = BrokenAnswer;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenAnswer>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|status| {
                let worker = self.call.worker();
                worker.note(&AttemptFailure::Down);
                BrokenAnswer {
                    worker: worker.address,
                    message: innermost(&status),
                }
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
