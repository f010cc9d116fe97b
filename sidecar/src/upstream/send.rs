//! One call to the upstreams: tries, waits and fallbacks, all before the first byte goes to the client.
//!
//! Expected flow: the first target answers and the answer is returned with its first body frame already read.
//! On 408, 409, 429, 5xx, a failed connection or a slow first byte the target is tried again after the
//! upstream's `retry-after` or a jittered backoff, then the next target is tried. What the last one said is
//! what the caller gets, word for word. Once a first byte is here nothing is tried again. A call for the workers is held
//! where there is none and one can be started; its time to the first byte begins after that.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Either};
use hyper::body::Incoming;
use hyper_util::client;
use tokio::time::{Instant, sleep, timeout_at};

use super::connect::ConnectError;
use super::prepare::PreparedRequest;
use super::{CallPath, HttpClient, Settings, Target, Upstreams};
use crate::api::{ProviderKind, Wire, header_names};
use crate::cause::{self, innermost};
use crate::extract::{self, ExtractError, WorkerBody};
use crate::translate;

/// First wait of the backoff; doubles each time, with up to half of it taken off at random.
const BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// How often and how long a call is tried.
#[derive(Debug, Clone)]
pub struct RetryLimits {
    retries: u32,
    max_retry_wait: Duration,
    first_byte: Duration,
    total: Duration,
}

impl RetryLimits {
    /// Takes the limits from the settings.
    pub fn new(settings: &Settings) -> Self {
        Self {
            retries: settings.retries,
            max_retry_wait: Duration::from_millis(settings.max_retry_wait_ms),
            first_byte: Duration::from_millis(settings.first_byte_timeout_ms),
            total: Duration::from_millis(settings.total_timeout_ms),
        }
    }
}

/// Until when one call goes on.
#[derive(Debug, Clone, Copy)]
struct CallLimits {
    /// All tries, and the answer.
    deadline: Instant,
    /// Its wait for a worker where there is none, in all tries together.
    held: std::time::Instant,
}

/// A call that is ready to be sent.
#[derive(Debug)]
pub struct OutgoingCall<'a> {
    /// The shape the client speaks.
    pub wire: Wire,
    /// The client's path, read.
    pub path: &'a CallPath,
    /// The client's query.
    pub query: Option<&'a str>,
    /// The client's headers, hop-by-hop ones and our own already taken out.
    pub headers: &'a HeaderMap,
    /// The body, patched.
    pub body: Bytes,
    /// The workers, which answer where a provider is of kind `liquid`.
    pub workers: &'a extract::Client,
}

/// The body of an answer, from an upstream or a worker.
pub type AnswerBody = Either<Incoming, WorkerBody>;

/// The answer to a call: an upstream's, or the built-in provider's.
#[derive(Debug)]
pub enum UpstreamAnswer {
    /// An upstream's answer; its first body frame is already here.
    Upstream(Box<UpstreamResponse>),
    /// The built-in extractive provider is to answer.
    Local {
        /// The model to name in the answer.
        model: String,
    },
}

/// An upstream's answer that has begun.
#[derive(Debug)]
pub struct UpstreamResponse {
    /// Status, headers, and what follows the first frame.
    pub response: Response<AnswerBody>,
    /// The first frame, if there is a body and the status is a success.
    pub first: Option<Frame<Bytes>>,
    /// The target that answered.
    pub target: Target,
    /// The translation back into the client's shape, where one is needed.
    pub translation: Option<translate::Translation>,
    /// The time at which the answer must be over.
    pub deadline: Instant,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection could be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke before an answer was there.
    #[error("{provider} closed the connection before it answered: {}", innermost(&**source))]
    Broken {
        /// The provider's name.
        provider: String,
        /// The transport's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The first byte did not come in time.
    #[error("{provider} sent no first byte within {limit_ms} ms (upstream.first_byte_timeout_ms)")]
    FirstByte {
        /// The provider's name.
        provider: String,
        /// The limit, in milliseconds.
        limit_ms: u128,
    },
    /// The time for all tries together is over.
    #[error("no answer within {limit_ms} ms (upstream.total_timeout_ms)")]
    Total {
        /// The limit, in milliseconds.
        limit_ms: u128,
    },
    /// The request cannot be translated for the provider.
    #[error(transparent)]
    Untranslatable(#[from] translate::RequestError),
    /// No worker answered.
    #[error(transparent)]
    Worker(#[from] ExtractError),
}

impl Upstreams {
    /// Returns how long a call may take, all tries and the stream included.
    pub fn total(&self) -> Duration {
        self.limits.total
    }

    /// Asks the targets in order.
    ///
    /// # Errors
    /// The last target's failure, if it gave no answer at all.
    pub async fn send(&self, call: &OutgoingCall<'_>, targets: &[Target]) -> Result<UpstreamAnswer, Failure> {
        let limits = CallLimits {
            deadline: Instant::now() + self.limits.total,
            held: call.workers.hold_limit(),
        };
        let mut last = None;
        for target in targets {
            if target.provider.kind == ProviderKind::Local {
                let model = target.model.clone().unwrap_or_else(|| "extractive".into());
                return Ok(UpstreamAnswer::Local {
                    model: format!("{}/{model}", target.provider.name),
                });
            }
            let outcome = self.try_target(call, target, limits).await;
            if !may_try_again(&outcome) {
                return outcome;
            }
            if let Err(failure) = &outcome {
                tracing::warn!(
                    provider = %target.provider.name,
                    error = %failure,
                    "no answer from the provider"
                );
            }
            let over = Instant::now() >= limits.deadline;
            last = Some(outcome);
            if over {
                break;
            }
        }
        last.unwrap_or_else(|| Err(self.total_failure()))
    }

    fn total_failure(&self) -> Failure {
        Failure::Total {
            limit_ms: self.limits.total.as_millis(),
        }
    }

    async fn try_target(
        &self,
        call: &OutgoingCall<'_>,
        target: &Target,
        CallLimits { deadline, held }: CallLimits,
    ) -> Result<UpstreamAnswer, Failure> {
        let prepared = PreparedRequest::new(call, target, self, deadline)?;
        let attempt = || self.attempt(&prepared, call, target, deadline);
        let is_lost = |failure: &Failure| matches!(failure, Failure::Worker(_));
        let mut tried = 0;
        loop {
            let outcome = match &prepared {
                PreparedRequest::Upstream(_) => attempt().await,
                PreparedRequest::Worker(_) => {
                    // In a box: calls for upstreams do not carry what it needs.
                    let asked = Box::pin(call.workers.ask_or_hold(held, attempt, is_lost));
                    let outcome = timeout_at(deadline, asked).await;
                    outcome.unwrap_or_else(|_| Err(self.total_failure()))
                }
            };
            if tried >= self.limits.retries || !may_try_again(&outcome) {
                return outcome;
            }
            let asked = match &outcome {
                Ok(UpstreamAnswer::Upstream(arrived)) => {
                    retry_after(arrived.response.headers(), SystemTime::now())
                }
                _ => None,
            };
            let wait = asked.unwrap_or_else(|| backoff(tried));
            if wait > self.limits.max_retry_wait || Instant::now() + wait >= deadline {
                return outcome;
            }
            drop(outcome);
            sleep(wait).await;
            tried += 1;
        }
    }

    async fn attempt(
        &self,
        prepared: &PreparedRequest,
        call: &OutgoingCall<'_>,
        target: &Target,
        deadline: Instant,
    ) -> Result<UpstreamAnswer, Failure> {
        let limit = self.limits.first_byte;
        let name = &target.provider.name;
        let first_byte = Instant::now() + limit;
        let exchange = async {
            match prepared {
                PreparedRequest::Upstream(request) => {
                    let (response, first) =
                        exchange(&self.client, request.build(call, target, self), name).await?;
                    Ok((response.map(Either::Left), first))
                }
                PreparedRequest::Worker(request) => {
                    let answer = call.workers.forward(&request.call).await?;
                    Ok((answer.response.map(Either::Right), answer.first))
                }
            }
        };
        match timeout_at(first_byte.min(deadline), exchange).await {
            Ok(Ok((response, first))) => Ok(UpstreamAnswer::Upstream(Box::new(UpstreamResponse {
                response,
                first,
                target: target.clone(),
                translation: prepared.translation().cloned(),
                deadline,
            }))),
            Ok(Err(failure)) => Err(failure),
            Err(_) if first_byte < deadline => Err(Failure::FirstByte {
                provider: name.clone(),
                limit_ms: limit.as_millis(),
            }),
            Err(_) => Err(self.total_failure()),
        }
    }

    /// Sends a request that is streamed through, once: its body cannot be sent twice.
    ///
    /// # Errors
    /// No connection, a broken one, or no answer in time.
    pub async fn pass(
        &self,
        request: Request<Body>,
        target: &Target,
        upgrade: bool,
    ) -> Result<Response<Incoming>, Failure> {
        let client = if upgrade { &self.upgrades } else { &self.client };
        let name = &target.provider.name;
        let limit = self.limits.first_byte;
        match tokio::time::timeout(limit, client.request(request)).await {
            Ok(answer) => answer.map_err(|error| Failure::from_client(error, name)),
            Err(_) => Err(Failure::FirstByte {
                provider: name.clone(),
                limit_ms: limit.as_millis(),
            }),
        }
    }
}

/// Sends, and waits for the first body frame of a success.
async fn exchange(
    client: &HttpClient,
    request: Request<Body>,
    provider: &str,
) -> Result<(Response<Incoming>, Option<Frame<Bytes>>), Failure> {
    let mut response = client
        .request(request)
        .await
        .map_err(|error| Failure::from_client(error, provider))?;
    if !response.status().is_success() {
        return Ok((response, None));
    }
    match response.body_mut().frame().await {
        Some(Ok(frame)) => Ok((response, Some(frame))),
        None => Ok((response, None)),
        Some(Err(error)) => Err(Failure::Broken {
            provider: provider.into(),
            source: error.into(),
        }),
    }
}

fn may_try_again(outcome: &Result<UpstreamAnswer, Failure>) -> bool {
    match outcome {
        Ok(UpstreamAnswer::Upstream(arrived)) => {
            let status = arrived.response.status();
            match arrived
                .response
                .headers()
                .get(header_names::SHOULD_RETRY)
                .map(HeaderValue::as_bytes)
            {
                Some(b"true") if !status.is_success() => true,
                Some(b"false") => false,
                _ => matches!(status.as_u16(), 408 | 409 | 429 | 500..=599),
            }
        }
        Ok(UpstreamAnswer::Local { .. }) => false,
        Err(
            Failure::Connect(ConnectError::Loop { .. }) | Failure::Untranslatable(_) | Failure::Total { .. },
        ) => false,
        Err(_) => true,
    }
}

/// Reads the wait that the upstream asks for: `retry-after-ms`, then `retry-after` in seconds or as a date
/// (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    if let Some(ms) = text(header_names::RETRY_AFTER_MS).and_then(|value| value.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(ms / 1000.0).ok();
    }
    let value = text(header::RETRY_AFTER)?;
    match value.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

fn backoff(tried: u32) -> Duration {
    let full = BACKOFF.saturating_mul(1 << tried.min(16)).min(MAX_BACKOFF);
    full.mul_f64(1.0 - 0.5 * fastrand::f64())
}

impl Failure {
    /// Tells a connection that could not be opened from one that broke.
    fn from_client(error: client::legacy::Error, provider: &str) -> Self {
        match cause::find::<ConnectError>(&error) {
            Some(cause) => Self::Connect(cause.clone()),
            None if error.is_connect() => Self::Connect(ConnectError::Handshake {
                host: provider.into(),
                source: Arc::new(error),
            }),
            None => Self::Broken {
                provider: provider.into(),
                source: error.into(),
            },
        }
    }

    /// Returns the status of the answer that reports the failure.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Connect(ConnectError::Loop { .. }) => StatusCode::LOOP_DETECTED,
            Self::Connect(ConnectError::Timeout { .. }) | Self::FirstByte { .. } | Self::Total { .. } => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Connect(_) | Self::Broken { .. } => StatusCode::BAD_GATEWAY,
            Self::Untranslatable(_) => StatusCode::BAD_REQUEST,
            Self::Worker(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn wait(name: &'static str, value: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        retry_after(
            &headers,
            SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770),
        )
    }

    #[test]
    fn reads_every_form_of_retry_after() {
        assert_eq!(wait("retry-after-ms", "1500"), Some(Duration::from_millis(1500)));
        assert_eq!(wait("retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(
            wait("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            wait("retry-after", "Sat, 06 Nov 1993 08:49:37 GMT"),
            Some(Duration::ZERO)
        );
        for bad in ["soon", "-1", "nan", "inf"] {
            assert_eq!(wait("retry-after", bad), None, "{bad}");
        }
    }

    #[test]
    fn backs_off_within_bounds() {
        for tried in 0..40 {
            let wait = backoff(tried);
            assert!(wait >= BACKOFF / 2 && wait <= MAX_BACKOFF, "{tried}: {wait:?}");
        }
    }
}
