//! The worker's process: gRPC service, admin listener, readiness and drain around the runtime.
//!
//! Order of a life: bind, load, warm up, serve; on a signal: not ready, notice, refuse, finish, end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use liquid_proto::worker::v1::SERVICE_NAME;
use liquid_proto::worker::v1::worker_server::WorkerServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic::transport::server::{Connected, Router, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::config::{Config, Drain, Tls};
use crate::model::LoadError;
use crate::runtime::{JobError, Runtime};

mod admin;
mod convert;
mod handshake;
mod metrics;
mod receive;
mod service;
mod status;
mod tls;

pub use tls::TlsError;

use metrics::Metrics;
use service::Service;
use tls::Keeper;

/// Largest gRPC message besides a chunk of the document: the header, with its question.
const HEADER_ROOM: usize = 64 * 1024;

/// How often an idle client is asked whether it is still there, and how long it may take to say so: a pod that
/// vanished says nothing.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for idle connections to close once the last request has ended.
const LAST_CONNECTIONS: Duration = Duration::from_millis(500);

/// Why the worker cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be bound.
    #[error("{field} = {address}: {source}; free the address or set another one")]
    Bind {
        /// The setting.
        field: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The files for TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The warm-up failed.
    #[error("warm-up: {0}")]
    WarmUp(JobError),
    /// The transport failed.
    #[error("grpc: {}", chain(.0))]
    Transport(#[from] tonic::transport::Error),
    /// A task of the server ended by a panic.
    #[error("internal error: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// tonic's own text only says that there was an error; the causes say which.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Says whether the files of `[tls]` can be used now.
///
/// # Errors
/// [`TlsError`].
pub async fn check_tls(tls: &Tls) -> Result<(), TlsError> {
    Keeper::open(tls).await.map(drop)
}

/// Where the worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Loading and warming up; requests are refused.
    Starting,
    /// Serving.
    Ready,
    /// The drain has begun: not ready any more, requests are still served.
    Notice,
    /// Requests are refused, those under way end.
    Draining,
}

/// A worker with its addresses bound.
pub struct Bound {
    config: Config,
    grpc: TcpListener,
    admin: TcpListener,
}

impl Bound {
    /// Binds both addresses; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub async fn bind(config: Config) -> Result<Self, ServeError> {
        let grpc = listen("grpc.listen", config.grpc.listen).await?;
        let admin = listen("admin.listen", config.admin.listen).await?;
        Ok(Self { config, grpc, admin })
    }

    /// The addresses of the service and of the admin listener.
    ///
    /// # Errors
    /// What the system says.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.grpc.local_addr()?, self.admin.local_addr()?))
    }

    /// Loads, serves until `stop` is ready, drains. The admin listener answers from the start.
    ///
    /// # Errors
    /// [`ServeError`]. Requests that do not end within `drain.timeout_ms` are cut off, which is no error.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let config = self.config.clone();
        let load = tokio::task::spawn_blocking(move || Runtime::start(&config));
        self.serve_with(async { Ok(load.await??) }, stop).await
    }

    /// As [`Bound::serve`], with a runtime that comes from elsewhere.
    ///
    /// # Errors
    /// [`ServeError`], the one of `load` included.
    pub async fn serve_with(
        self,
        load: impl Future<Output = Result<Runtime, ServeError>>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let phase = Arc::new(watch::channel(Phase::Starting).0);
        let metrics = Arc::new(Metrics::new());
        let admin = tokio::spawn(admin::serve(self.admin, Arc::clone(&metrics), phase.subscribe()));
        let served = async {
            let files = async { Ok(Keeper::wait(&self.config.tls).await?) };
            let (runtime, tls) = tokio::try_join!(load, files)?;
            metrics.observe(&runtime);
            Life::new(&self.config, runtime, phase, metrics)
                .run(self.grpc, tls, stop)
                .await
        };
        let served = served.await;
        admin.abort();
        served
    }
}

async fn listen(field: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Bind {
            field,
            address,
            source,
        })
}

/// What decides which phase the worker is in.
struct Life<'a> {
    config: &'a Config,
    runtime: Runtime,
    phase: Arc<watch::Sender<Phase>>,
    metrics: Arc<Metrics>,
    health: HealthReporter,
    requests: Requests,
}

/// The requests under way, and the means to cut them off.
#[derive(Clone, Default)]
struct Requests {
    under_way: TaskTracker,
    cut_off: CancellationToken,
}

type Transport = JoinHandle<Result<(), tonic::transport::Error>>;

impl<'a> Life<'a> {
    fn new(
        config: &'a Config,
        runtime: Runtime,
        phase: Arc<watch::Sender<Phase>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            config,
            runtime,
            phase,
            metrics,
            health: HealthReporter::new(),
            requests: Requests::default(),
        }
    }

    fn router(&self) -> Router {
        let limits = &self.config.limits;
        let service = Service::new(
            self.config,
            self.runtime.clone(),
            Arc::clone(&self.metrics),
            self.phase.subscribe(),
            self.requests.clone(),
        );
        let largest = limits.max_chunk_bytes + limits.max_question_bytes;
        let worker = WorkerServer::new(service).max_decoding_message_size(largest as usize + HEADER_ROOM);
        let health = HealthServer::new(HealthService::from_health_reporter(self.health.clone()));
        Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_service(health)
            .add_service(worker)
    }

    /// Tells the phase to everyone who asks: requests, probes, health checks.
    async fn announce(&self, phase: Phase) {
        self.phase.send_replace(phase);
        let status = if phase == Phase::Ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for name in ["", SERVICE_NAME] {
            self.health.set_service_status(name, status).await;
        }
    }

    async fn run(
        &self,
        listener: TcpListener,
        tls: Option<Keeper>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        self.announce(Phase::Starting).await;
        let Some(keeper) = tls.map(Arc::new) else {
            return self
                .serve(TcpIncoming::from(listener).with_nodelay(Some(true)), stop)
                .await;
        };
        let watcher = tokio::spawn(Arc::clone(&keeper).keep_current(Arc::clone(&self.metrics)));
        let connections = handshake::encrypted(listener, keeper, Arc::clone(&self.metrics));
        let served = self.serve(connections, stop).await;
        watcher.abort();
        served
    }

    async fn serve<C>(
        &self,
        connections: impl Stream<Item = std::io::Result<C>> + Send + 'static,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError>
    where
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let close = CancellationToken::new();
        let closed = close.clone().cancelled_owned();
        let router = self.router();
        let mut transport: Transport = tokio::spawn(router.serve_with_incoming_shutdown(connections, closed));
        self.runtime.warm_up().await.map_err(ServeError::WarmUp)?;
        self.announce(Phase::Ready).await;
        tracing::info!(tiers = ?self.runtime.tiers(), "ready");
        tokio::select! {
            () = stop => {}
            ended = &mut transport => return Ok(ended??),
        }
        self.drain().await;
        close.cancel();
        // What is left are connections without requests, and health watches, which have no end.
        if let Ok(ended) = tokio::time::timeout(LAST_CONNECTIONS, &mut transport).await {
            ended??;
        }
        transport.abort();
        Ok(())
    }

    /// Not ready, time for balancers to see it, no new requests, time for those under way.
    async fn drain(&self) {
        let Drain {
            notice_ms,
            timeout_ms,
        } = self.config.drain;
        self.announce(Phase::Notice).await;
        tracing::info!(notice_ms, timeout_ms, "draining");
        tokio::time::sleep(Duration::from_millis(notice_ms)).await;
        self.announce(Phase::Draining).await;
        self.requests.under_way.close();
        let ended = tokio::time::timeout(Duration::from_millis(timeout_ms), self.requests.under_way.wait());
        if ended.await.is_err() {
            let cut_off = self.requests.under_way.len();
            tracing::warn!(cut_off, "the drain time is over before the last requests were");
            self.requests.cut_off.cancel();
        }
    }
}
