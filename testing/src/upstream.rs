//! The mock upstream's server: receives, records, picks the surface that answers, and hands the answer with
//! its faults to [`deliver`].

mod chat;
mod deliver;
mod messages;
mod misc;
mod prompt;
mod responses;
#[cfg(test)]
mod tests;
mod websocket;

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use bytes::Bytes;
use liquid_process::lock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{Faults, Recorded, fault};
use deliver::Reply;

/// Larger bodies are refused: a test that sends more wants a real server.
const MAX_BODY_BYTES: usize = 1 << 30;

/// A running mock upstream; it ends when this value is dropped.
#[derive(Debug)]
pub struct MockUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// A fixed answer that a test prescribes with [`MockUpstream::answer`].
#[derive(Debug, Clone)]
pub struct Canned {
    /// HTTP status code.
    pub status: u16,
    /// Headers in order; nothing is added but the framing.
    pub headers: Vec<(String, String)>,
    /// Body, sent piece by piece.
    pub body: Vec<Bytes>,
}

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<Vec<Recorded>>,
    canned: Mutex<VecDeque<Canned>>,
    scripted: Mutex<VecDeque<Faults>>,
    /// Number of requests of each name that have failed by a `STATUS-TIMES` fault.
    failed: Mutex<HashMap<String, u32>>,
    sequence: AtomicU64,
    abandoned: AtomicU64,
}

impl MockUpstream {
    /// Starts on a free loopback port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> std::io::Result<Self> {
        Self::bind((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts on the given address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let routes = routes(&shared);
        let listener = listener.tap_io(|stream| {
            // Without this the kernel joins the small writes that `chunk` and `split` ask for.
            let _ = stream.set_nodelay(true);
        });
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self {
            address,
            shared,
            server,
        })
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns `http://127.0.0.1:PORT`, the base URL that Anthropic clients want.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns `http://127.0.0.1:PORT/v1`, the base URL that OpenAI clients want.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns its routes, for a server of another kind that answers as it does: a worker with a language model.
    pub(crate) fn routes(&self) -> Router {
        routes(&self.shared)
    }

    /// Returns every request so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.shared.requests).clone()
    }

    /// Returns the latest request.
    #[must_use]
    pub fn last(&self) -> Option<Recorded> {
        lock(&self.shared.requests).last().cloned()
    }

    /// Forgets requests, scripted faults, prescribed answers and counters.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Applies faults to the next request that has none of its own; several calls queue up.
    pub fn script(&self, faults: Faults) {
        lock(&self.shared.scripted).push_back(faults);
    }

    /// Prescribes the answer to the next request; several calls queue up. Faults apply to it too.
    pub fn answer(&self, canned: Canned) {
        lock(&self.shared.canned).push_back(canned);
    }

    /// Returns how many answers the client left before their end.
    #[must_use]
    pub fn abandoned(&self) -> u64 {
        self.shared.abandoned.load(Ordering::Relaxed)
    }

    /// Serves until `end` resolves.
    pub async fn serve_until(mut self, end: impl Future<Output = ()>) {
        tokio::select! {
            () = end => {}
            _ = &mut self.server => {}
        }
    }
}

impl Drop for MockUpstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn reset(&self) {
        lock(&self.requests).clear();
        lock(&self.canned).clear();
        lock(&self.scripted).clear();
        lock(&self.failed).clear();
        self.sequence.store(0, Ordering::Relaxed);
        self.abandoned.store(0, Ordering::Relaxed);
    }

    /// Counts a failure of `name` and says whether this request is still to fail.
    fn still_fails(&self, name: &str, times: Option<u32>) -> bool {
        let Some(times) = times else { return true };
        let mut failed = lock(&self.failed);
        let count = failed.entry(name.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count <= times
    }
}

fn routes(shared: &Arc<Shared>) -> Router {
    Router::new().fallback(receive).with_state(Arc::clone(shared))
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    if websocket::is_upgrade(&request) {
        return websocket::echo(&shared, request);
    }
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    if head.uri.path().starts_with("/mock/") {
        return control(&shared, &head.method, head.uri.path(), &body);
    }
    let request = Recorded::new(&head, body);
    lock(&shared.requests).push(request.clone());
    answer(&shared, request).await
}

async fn answer(shared: &Arc<Shared>, request: Recorded) -> Response {
    let body = request.json();
    let model = body
        .get("model")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let asked = match request.header(fault::HEADER) {
        Some(text) => text.parse(),
        None => Faults::of_model(&model),
    };
    let faults = match asked {
        Ok(faults) if faults == Faults::default() => lock(&shared.scripted).pop_front().unwrap_or_default(),
        Ok(faults) => faults,
        Err(unknown) => return misc::error(&request, 400, &unknown.to_string(), None).into_response(),
    };
    if faults.hang {
        std::future::pending::<()>().await;
    }
    if let Some((status, times)) = faults.status
        && shared.still_fails(&format!("{model} {}", request.path), times)
    {
        let reply = misc::error(&request, status, "scripted by the test", faults.retry_after);
        return deliver::deliver(shared, reply, &faults).await;
    }
    let canned = lock(&shared.canned).pop_front();
    let reply = canned.map_or_else(|| surface(shared, &request, &body), Reply::from);
    deliver::deliver(shared, reply, &faults).await
}

/// Returns the surface that a path names, with and without `/v1`, under any prefix (Azure: `/openai/v1/...`).
fn surface(shared: &Shared, request: &Recorded, body: &Value) -> Reply {
    if let Some(refusal) = misc::refusal(request, body) {
        return refusal;
    }
    let number = shared.sequence.fetch_add(1, Ordering::Relaxed);
    let path = request.path.trim_end_matches('/');
    match request.method.as_str() {
        "POST" if path.ends_with("/chat/completions") => chat::answer(request, body, number),
        "POST" if path.ends_with("/responses") => responses::answer(request, body, number),
        "POST" if path.ends_with("/messages/count_tokens") => messages::count(body),
        "POST" if path.ends_with("/messages") => messages::answer(request, body, number),
        _ => misc::answer(request, body),
    }
}

/// Answers the test's own requests, under `/mock/`.
fn control(shared: &Shared, method: &Method, path: &str, body: &[u8]) -> Response {
    match (method.as_str(), path.trim_start_matches("/mock/")) {
        ("GET", "requests") => {
            let requests = lock(&shared.requests);
            let all = requests.iter().enumerate();
            Json(
                all.map(|(index, request)| request.to_json(index))
                    .collect::<Vec<_>>(),
            )
            .into_response()
        }
        ("DELETE", "requests") => {
            shared.reset();
            StatusCode::NO_CONTENT.into_response()
        }
        ("POST", "faults") => match String::from_utf8_lossy(body).trim().parse() {
            Ok(faults) => {
                lock(&shared.scripted).push_back(faults);
                StatusCode::NO_CONTENT.into_response()
            }
            Err(unknown) => (StatusCode::BAD_REQUEST, format!("{unknown}")).into_response(),
        },
        ("GET", "stats") => {
            let abandoned = shared.abandoned.load(Ordering::Relaxed);
            Json(json!({"requests": lock(&shared.requests).len(), "abandoned": abandoned})).into_response()
        }
        ("GET", rest) => {
            let index = rest
                .strip_prefix("requests/")
                .and_then(|rest| rest.strip_suffix("/body"));
            let index = index.and_then(|index| index.parse::<usize>().ok());
            let found = index.and_then(|index| lock(&shared.requests).get(index).cloned());
            found.map_or_else(
                || StatusCode::NOT_FOUND.into_response(),
                |found| found.body.into_response(),
            )
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
