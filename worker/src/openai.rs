//! The decoder over HTTP, in the words of OpenAI's API and, where that has none, of vLLM's.
//!
//! A request is read (`fields`, `options`, `conversation`), becomes requests of the engine, and its answers come back as
//! one stream of events (`answers`), which becomes chunks (`chat`, `completions`), sent as server-sent events or put together
//! (`reply`). Routes share the listener of gRPC, its encryption and its clients.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use liquid_decoder::FinishReason;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::requests::{ActiveRequests, Phase, RequestNames};
use crate::runtime::{Decoder, JobError, Runtime};

mod answers;
mod calls;
mod chat;
mod completions;
mod constraint;
mod conversation;
mod deadline;
mod error;
mod events;
mod fields;
mod logprobs;
mod metrics;
mod models;
mod options;
mod reply;
mod tokens;
mod usage;

use error::ApiError;
use fields::Fields;
pub(crate) use metrics::AnswerMetrics;

/// Bytes of the largest body, and the time that it may take to arrive.
const MOST_BODY: usize = 16 << 20;
const BODY_TIME: Duration = Duration::from_secs(60);

/// The decoder's HTTP routes.
#[derive(Clone)]
pub(crate) struct Gateway(Arc<Inner>);

struct Inner {
    runtime: Runtime,
    metrics: AnswerMetrics,
    phase: watch::Receiver<Phase>,
    requests: ActiveRequests,
    names: RequestNames,
    /// Requests that are made prompts at a time: that takes a core.
    cores: Semaphore,
}

/// A request that is let in.
struct Admitted {
    decoder: Arc<Decoder>,
    /// By when its answers must have ended.
    deadline: Option<Instant>,
    /// Held until its answer has ended: a drain waits for it.
    under_way: TaskTrackerToken,
}

impl Gateway {
    pub(crate) fn new(
        runtime: &Runtime,
        metrics: AnswerMetrics,
        phase: watch::Receiver<Phase>,
        requests: ActiveRequests,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Inner {
            runtime: runtime.clone(),
            metrics,
            phase,
            requests,
            names: RequestNames::default(),
            cores: Semaphore::new(cores),
        }))
    }

    /// Adds the routes to those of gRPC.
    pub(crate) fn routes(self, grpc: Router) -> Router {
        let routes = Router::new()
            .route("/v1/chat/completions", post(chat::answer))
            .route("/v1/completions", post(completions::answer))
            .route("/v1/models", get(models::list))
            .route("/v1/models/{*name}", get(models::one))
            .route("/tokenize", post(tokens::tokenize))
            .route("/detokenize", post(tokens::detokenize))
            .method_not_allowed_fallback(async || ApiError::wrong_method())
            .route_layer(middleware::from_fn_with_state(self.clone(), count))
            .with_state(self);
        grpc.merge(routes).fallback(unknown)
    }

    /// Lets a request in if the worker serves, and serves a decoder.
    fn admit(&self) -> Result<Admitted, ApiError> {
        if let Some(refusal) = self.0.phase.borrow().refusal() {
            return Err(ApiError::unavailable(refusal));
        }
        let decoder = self.0.runtime.decoder().ok_or_else(ApiError::no_decoder)?;
        Ok(Admitted {
            decoder: Arc::clone(decoder),
            deadline: None,
            under_way: self.0.requests.under_way.token(),
        })
    }

    /// Lets a request for answers in, and reads it.
    async fn open<T: Send + 'static>(
        &self,
        headers: &HeaderMap,
        body: Body,
        make: impl FnOnce(&Fields<'_>, &Decoder) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<(Admitted, T), ApiError> {
        let deadline = deadline::read(headers);
        let mut admitted = self.admit()?;
        let request = self.read(body, &admitted.decoder, make).await?;
        // An error that comes before the body is read costs the connection.
        admitted.deadline = deadline?;
        Ok((admitted, request))
    }

    /// Reads a body, and makes something of its JSON object on a thread of its own.
    async fn read<T: Send + 'static>(
        &self,
        body: Body,
        decoder: &Arc<Decoder>,
        make: impl FnOnce(&Fields<'_>, &Decoder) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let mut reservation = self.0.runtime.reserve();
        let reserve = |bytes: usize| reservation.grow_to(bytes as u64).map_err(ApiError::from);
        let bytes = tokio::time::timeout(BODY_TIME, read_body(body, reserve)).await;
        let bytes = bytes.unwrap_or_else(|_| Err(ApiError::slow_body(BODY_TIME)))?;
        let decoder = Arc::clone(decoder);
        let _turn = self.0.cores.acquire().await.map_err(ApiError::internal)?;
        let made = tokio::task::spawn_blocking(move || {
            let value: Value = serde_json::from_slice(&bytes).map_err(|error| ApiError::no_json(&error))?;
            let fields = Fields::root(&value)?;
            check_model(&fields, &decoder)?;
            make(&fields, &decoder)
        });
        made.await.map_err(ApiError::internal)?
    }
}

async fn read_body(
    body: Body,
    mut reserve: impl FnMut(usize) -> Result<(), ApiError>,
) -> Result<Bytes, ApiError> {
    let (mut chunks, mut bytes) = (body.into_data_stream(), BytesMut::new());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| ApiError::broken_body(&error))?;
        if bytes.len() + chunk.len() > MOST_BODY {
            return Err(ApiError::too_large(MOST_BODY));
        }
        reserve(bytes.len() + chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

fn check_model(fields: &Fields<'_>, decoder: &Decoder) -> Result<(), ApiError> {
    match fields.text("model")? {
        Some(name) if name != decoder.name => Err(ApiError::unknown_model(name, &decoder.name)),
        _ => Ok(()),
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Busy { retry_after, .. } => Self::busy(error.to_string(), retry_after),
            other => Self::internal(other),
        }
    }
}

/// Counts requests by route and status.
async fn count(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(route_name);
    let response = next.run(request).await;
    if let Some(route) = route {
        gateway.0.metrics.count_request(route, response.status());
    }
    response
}

/// Names a route in metrics: its path as clients of OpenAI know it.
fn route_name(path: &MatchedPath) -> &'static str {
    match path.as_str() {
        "/v1/chat/completions" => "/v1/chat/completions",
        "/v1/completions" => "/v1/completions",
        "/tokenize" => "/tokenize",
        "/detokenize" => "/detokenize",
        _ => "/v1/models",
    }
}

/// What begins every object that is an answer, or a chunk of one.
#[derive(Clone, Debug, Serialize)]
struct Head {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
}

impl Head {
    fn new(id: &str, object: &'static str, decoder: &Decoder) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            id: id.to_owned(),
            object,
            created: now.map_or(0, |time| time.as_secs()),
            model: decoder.name.clone(),
        }
    }
}

/// Names the reason for an answer's end. Time that is over is a length that is reached.
fn finish_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length | FinishReason::Deadline | FinishReason::Cancelled => "length",
    }
}

/// Answers what no route is for, in the words of the caller's protocol.
async fn unknown(request: Request) -> Response {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let grpc = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    match grpc {
        true => tonic::Status::unimplemented("").into_http(),
        false => ApiError::unknown_path(request.uri().path()).into_response(),
    }
}

/// Names an answer in a header, as OpenAI does.
fn with_name(mut response: Response, id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// Writes a JSON answer.
fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let headers = [(header::CONTENT_TYPE, "application/json")];
            (StatusCode::OK, headers, bytes).into_response()
        }
        Err(error) => ApiError::internal(error).into_response(),
    }
}
