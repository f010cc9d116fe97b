//! The TLS server: accepts connections, bounds handshakes and bodies, and drains.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use http::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::handler::Handler;
use super::metrics::WebhookMetrics;
use super::serving::ServingCertificate;
use super::source::Source;
use super::{INJECT_PATH, review};

/// Largest body, in bytes: a pod and what surrounds it; etcd takes 1.5 MiB, the API server 3 MiB.
const BODY_BYTES: usize = 8 << 20;
/// Longest handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Longest wait for the head of a request, also of the next one on a kept connection.
const HEADER: Duration = Duration::from_secs(60);
/// Most connections at a time; API servers keep a few each.
const CONNECTIONS: usize = 512;
/// How long new connections are accepted after `stop`, because the Service may still route to this replica.
const NOTICE: Duration = Duration::from_secs(3);
/// How long running reviews may take after that.
const DRAIN: Duration = Duration::from_secs(5);

/// Builds the routes.
pub fn build_router<S: Source>(handler: Arc<Handler<S>>) -> Router {
    Router::new()
        .route(INJECT_PATH, post(answer_review::<S>))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(handler)
}

async fn answer_review<S: Source>(State(handler): State<Arc<Handler<S>>>, body: Bytes) -> Response {
    match review::read_request(&body) {
        Ok(request) => Json(handler.review(&request).await).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// Builds the settings of TLS: HTTP/2 or 1.1, no client certificate, because API servers have none by default.
///
/// # Errors
/// The cryptographic provider lacks a version of the protocol.
pub fn build_tls_config(serving: Arc<ServingCertificate>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves until `stop`, then drains.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    metrics: Arc<WebhookMetrics>,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let ended = async {
        stop.cancelled().await;
        tokio::time::sleep(NOTICE).await;
    };
    let mut ended = std::pin::pin!(ended);
    loop {
        let accepted = tokio::select! {
            () = &mut ended => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors: waiting is all that helps.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!(limit = CONNECTIONS, "too many connections; one was refused");
            continue;
        };
        let (acceptor, router, metrics) = (acceptor.clone(), router.clone(), Arc::clone(&metrics));
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            serve_connection(stream, acceptor, router, metrics, watcher).await;
            drop(slot);
        });
    }
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections did not end in time and were cut off");
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
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(HEADER))
        .max_concurrent_streams(256);
    let service = TowerToHyperService::new(router);
    let serving = builder
        .serve_connection(TokioIo::new(stream), service)
        .into_owned();
    if let Err(error) = watcher.watch(serving).await {
        tracing::debug!(%error, "a connection ended");
    }
}
