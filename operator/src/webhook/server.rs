//! The TLS server: accepts connections, bounds handshakes and bodies, and drains.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use axum::{Extension, Router};
use http::StatusCode;
use http::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::handler::Handler;
use super::metrics::WebhookMetrics;
use super::source::Source;
use super::tls::{self, WebhookTls};
use super::{INJECT_PATH, review, wake};
use crate::controller::Demand;

/// Largest body, in bytes: a pod and what surrounds it; etcd takes 1.5 MiB, the API server 3 MiB.
const BODY_BYTES: usize = 8 << 20;
/// Longest handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Longest wait for the head of a request, also of the next one on a kept connection. An API server closes a connection
/// that it has not used for 90 s; a server that closes first may do so while a review is on its way, which fails then.
const HEADER: Duration = Duration::from_secs(120);
/// Most connections at a time; API servers keep a few each.
const CONNECTIONS: usize = 512;

/// When and how serving ends. The pod's grace period has to be longer than both times together.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Begins the end.
    pub stop: CancellationToken,
    /// How long connections are accepted after `stop`: the Service routes to this replica until every node has heard that
    /// it ends.
    pub notice: Duration,
    /// How long running reviews may take after that.
    pub drain: Duration,
}

impl Ending {
    /// Returns the times of a cluster: nodes that are busy hear of an end seconds later.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            notice: Duration::from_secs(10),
            drain: Duration::from_secs(5),
        }
    }
}

/// Builds the routes.
pub fn build_router<S: Source>(handler: Arc<Handler<S>>, demand: Arc<Demand>) -> Router {
    Router::new()
        .route(INJECT_PATH, post(answer_review::<S>))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(handler)
        .merge(wake::build_router(demand))
}

async fn answer_review<S: Source>(State(handler): State<Arc<Handler<S>>>, body: Bytes) -> Response {
    match review::read_request(&body) {
        Ok(request) => Json(handler.review(&request).await).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// Serves until `ending`.
///
/// A connection that is closed while a review is on its way fails that review, and the API server does not send it
/// again. So from `stop` on each answer is the last of its connection and says so, and no connection is closed before
/// `notice` has passed: by then an API server that creates pods has used up those that it kept.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<WebhookTls>,
    router: Router,
    metrics: Arc<WebhookMetrics>,
    ending: Ending,
) {
    let Ending { stop, notice, drain } = ending;
    let stopped = stop.clone();
    let mark = move |response| std::future::ready(mark_last(response, stopped.is_cancelled()));
    let server = Server {
        tls,
        router: router.layer(map_response(mark)),
        metrics,
        connections: GracefulShutdown::new(),
        slots: Arc::new(Semaphore::new(CONNECTIONS)),
    };
    let ended = async {
        stop.cancelled().await;
        tokio::time::sleep(notice).await;
    };
    let mut ended = std::pin::pin!(ended);
    loop {
        let accepted = tokio::select! {
            () = &mut ended => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => server.start(stream),
            Err(error) => {
                // Out of file descriptors: waiting is all that helps.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // While there is a listener, a connection that is never accepted waits for its time to pass; now it is refused.
    drop(listener);
    if timeout(drain, server.connections.shutdown()).await.is_err() {
        tracing::warn!("some connections did not end in time and were cut off");
    }
}

/// Makes an answer the last one of its connection where `last` is true.
fn mark_last(mut response: Response, last: bool) -> Response {
    if last {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// What all connections share.
struct Server {
    tls: Arc<WebhookTls>,
    router: Router,
    metrics: Arc<WebhookMetrics>,
    connections: GracefulShutdown,
    slots: Arc<Semaphore>,
}

impl Server {
    /// Serves a connection in a task of its own, unless there are too many.
    fn start(&self, stream: TcpStream) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            tracing::warn!(limit = CONNECTIONS, "too many connections; one was refused");
            return;
        };
        let acceptor = match self.tls.acceptor() {
            Ok(acceptor) => acceptor,
            Err(error) => return tracing::warn!(%error, "TLS cannot be set up"),
        };
        let router = self.router.clone();
        let (metrics, watcher) = (Arc::clone(&self.metrics), self.connections.watcher());
        tokio::spawn(async move {
            serve_connection(stream, acceptor, router, metrics, watcher).await;
            drop(slot);
        });
    }
}

async fn serve_connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    metrics: Arc<WebhookMetrics>,
    watcher: Watcher,
) {
    // Answers are small: waiting for more to send only costs time.
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        failed => {
            metrics.count_failed_handshake();
            if let Ok(Err(error)) = failed {
                tracing::debug!(%error, "a TLS handshake failed");
            }
            return;
        }
    };
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER);
    let identities = tls::read_identities(stream.get_ref().1);
    let service = TowerToHyperService::new(router.layer(Extension(identities)));
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(serving).await {
        tracing::debug!(%error, "a connection ended");
    }
}
