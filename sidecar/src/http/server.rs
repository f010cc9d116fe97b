//! Accepts connections, with TLS or without, or with that of the hosts that are intercepted, and serves `handle` on them,
//! until it is stopped.
//!
//! A connection stays on one thread, with the upstream connections that its calls use: a call then never
//! waits for another thread to wake up, which at this size of work costs more than the work. What is heavy in
//! a call runs on the blocking pool (`compress`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::{HeaderValue, StatusCode, Version, header};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use liquid_contract::InterceptedHost;
use liquid_process::tls::TlsKeeper;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{App, handle};
use crate::config::Limits;
use crate::intercept::{Arrival, ConnectionEnd, Interception};
use crate::pages::access::Connection;

/// Wait after an accept that failed for lack of file descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The transport's own limit, for which it has room on its stack.
const HEADERS_IN_PLACE: usize = 100;

/// One thread that serves connections.
#[derive(Debug, Clone)]
pub struct Shard {
    /// The thread's runtime.
    pub runtime: Handle,
    /// Everything its calls need; its connections are used on no other thread.
    pub app: Arc<App>,
}

/// Where connections come in.
pub struct Entrance {
    /// The bound address.
    pub listener: TcpListener,
    /// How they are encrypted.
    pub encryption: Encryption,
}

/// How connections are encrypted.
#[derive(Clone)]
pub enum Encryption {
    /// Not at all: plain HTTP.
    None,
    /// By TLS with this certificate.
    Tls(Arc<TlsKeeper>),
    /// By TLS to the hosts that are intercepted.
    Intercepted(Arc<Interception>),
}

impl From<Option<Arc<TlsKeeper>>> for Encryption {
    fn from(tls: Option<Arc<TlsKeeper>>) -> Self {
        tls.map_or(Self::None, Self::Tls)
    }
}

impl From<TcpListener> for Entrance {
    fn from(listener: TcpListener) -> Self {
        Self {
            listener,
            encryption: Encryption::None,
        }
    }
}

/// Serves until `stop`, and for `limits.notice_ms` more, in which each answer closes its connection; then takes no more
/// connections and gives the running calls `limits.drain_ms` to end. Returns true if all of them ended. Connections go to
/// the shards in turn; without a shard nothing is served.
pub async fn serve(entrance: impl Into<Entrance>, shards: Vec<Shard>, stop: CancellationToken) -> bool {
    let Some(Shard { app, .. }) = shards.first().cloned() else {
        return true;
    };
    let Entrance { listener, encryption } = entrance.into();
    let connections = GracefulShutdown::new();
    let server = Server {
        builder: builder(&app.limits),
        encryption,
        leaving: stop.clone(),
        closing: CancellationToken::new(),
    };
    let mut turns = shards.iter().cycle();
    let notice = async {
        stop.cancelled().await;
        tokio::time::sleep(Duration::from_millis(app.limits.notice_ms)).await;
    };
    let mut notice = std::pin::pin!(notice);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut notice => break,
        };
        let moved = accepted.and_then(|(stream, _)| stream.into_std());
        match (moved, turns.next()) {
            (Ok(stream), Some(shard)) => {
                let (server, app) = (server.clone(), Arc::clone(&shard.app));
                let connection = server.serve_connection(stream, app, connections.watcher());
                shard.runtime.spawn(connection);
            }
            (Err(error), _) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
            (Ok(_), None) => {}
        }
    }
    drop(listener);
    server.closing.cancel();
    let time = Duration::from_millis(app.limits.drain_ms);
    let closed = tokio::time::timeout(time, async {
        connections.shutdown().await;
        // Tunnels have left their connection's server; they hold their slots until they end.
        app.drained(time).await
    });
    closed.await.unwrap_or(false)
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_timeout_ms))
        .max_buf_size(limits.max_header_bytes);
    if limits.max_headers != HEADERS_IN_PLACE {
        // Any other number makes the transport allocate room for them with each call.
        builder.http1().max_headers(limits.max_headers);
    }
    let max_header_list = u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(max_header_list)
        .adaptive_window(true);
    builder
}

/// What the connections of a listener have in common.
#[derive(Clone)]
struct Server {
    builder: auto::Builder<TokioExecutor>,
    encryption: Encryption,
    /// From now on each answer closes its connection.
    leaving: CancellationToken,
    /// From now on no connection is begun.
    closing: CancellationToken,
}

impl Server {
    async fn serve_connection(self, stream: std::net::TcpStream, app: Arc<App>, watcher: Watcher) {
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "a connection could not be served"),
        };
        // Without it small events of a stream wait for the client's acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        // The first bytes show the protocol, and nothing else bounds the wait for them.
        let time = Duration::from_millis(app.limits.header_timeout_ms);
        tokio::select! {
            readable = tokio::time::timeout(time, stream.readable()) => match readable {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            },
            () = self.closing.cancelled() => return,
        }
        match self.encryption.clone() {
            Encryption::None => {
                let origin = Origin::of(&stream, &app);
                self.serve_calls(stream, origin, app, watcher).await;
            }
            Encryption::Tls(keeper) => self.serve_encrypted(&keeper, stream, app, watcher).await,
            Encryption::Intercepted(interception) => {
                self.serve_intercepted(&interception, stream, app, watcher).await;
            }
        }
    }

    async fn serve_encrypted(self, keeper: &TlsKeeper, stream: TcpStream, app: Arc<App>, watcher: Watcher) {
        let origin = Origin::of(&stream, &app);
        let time = Duration::from_millis(app.limits.header_timeout_ms);
        let error = match keeper.accept(stream, time).await {
            Ok(stream) => return self.serve_calls(stream, origin, app, watcher).await,
            Err(error) => error,
        };
        let failure = error.failure;
        app.metrics.clients.count_refusal(failure.name());
        if failure.is_refusal() {
            tracing::warn!(reason = failure.name(), %error, "refused a connection");
        } else {
            tracing::debug!(reason = failure.name(), %error, "a TLS handshake failed");
        }
    }

    async fn serve_intercepted(
        self,
        interception: &Interception,
        stream: TcpStream,
        app: Arc<App>,
        watcher: Watcher,
    ) {
        let time = Duration::from_millis(app.limits.header_timeout_ms);
        let metrics = Arc::clone(&app.metrics);
        let Arrival { stream, host } = match interception.accept(stream, time, &app.slots).await {
            Ok(arrival) => arrival,
            Err(end) => return metrics.interception.count(end),
        };
        let called = Arc::new(AtomicBool::new(false));
        let intercepted = Intercepted {
            host,
            called: Arc::clone(&called),
        };
        let origin = Origin {
            ends: None,
            intercepted: Some(intercepted),
        };
        self.serve_calls(stream, origin, app, watcher).await;
        if called.load(Ordering::Relaxed) {
            return metrics.interception.count(ConnectionEnd::Served);
        }
        metrics.interception.count(ConnectionEnd::Unused);
        tracing::warn!(
            host = host.name(),
            "a connection ended after its handshake without a call: so ends Node's where it does not trust the certificate"
        );
    }

    async fn serve_calls(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        origin: Origin,
        app: Arc<App>,
        watcher: Watcher,
    ) {
        let leaving = self.leaving;
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            let (app, leaving) = (Arc::clone(&app), leaving.clone());
            origin.describe(&mut request);
            async move {
                let version = request.version();
                let mut response = handle(app, request.map(Body::new)).await;
                // HTTP/2 says it by a frame, when the connections are shut down.
                let closes =
                    version < Version::HTTP_2 && response.status() != StatusCode::SWITCHING_PROTOCOLS;
                if closes && leaving.is_cancelled() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let connection = self
            .builder
            .serve_connection_with_upgrades(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(error, "a connection ended with an error");
        }
    }
}

/// What a connection says about its calls.
struct Origin {
    ends: Option<Connection>,
    intercepted: Option<Intercepted>,
}

/// What an intercepted connection says about its calls.
struct Intercepted {
    host: InterceptedHost,
    /// Whether it has brought a call.
    called: Arc<AtomicBool>,
}

impl Origin {
    fn of(stream: &TcpStream, app: &App) -> Self {
        Self {
            // Nothing but the pages asks for the two ends.
            ends: app.recent.is_some().then(|| ends(stream)).flatten(),
            intercepted: None,
        }
    }

    fn describe<B>(&self, request: &mut hyper::Request<B>) {
        if let Some(ends) = self.ends {
            request.extensions_mut().insert(ends);
        }
        if let Some(Intercepted { host, called }) = &self.intercepted {
            called.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(*host);
        }
    }
}

/// Returns the addresses of a connection, unless it is closed already.
fn ends(stream: &TcpStream) -> Option<Connection> {
    Some(Connection {
        peer: stream.peer_addr().ok()?,
        local: stream.local_addr().ok()?,
    })
}
