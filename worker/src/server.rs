//! The worker's process: gRPC and HTTP on one listener, admin listener, readiness and drain around the runtime.
//!
//! In this order: bind, load, warm up, serve; on a signal: stop being ready, wait for balancers, refuse,
//! finish, end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use liquid_process::admin::Admin;
use liquid_process::tls::TlsKeeper;
use liquid_proto::worker::v1::SERVICE_NAME;
use liquid_proto::worker::v1::worker_server::WorkerServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::{Connected, Router, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::config::{Config, Drain, Tls};
use crate::openai::Gateway;
use crate::requests::{ActiveRequests, Phase};
use crate::runtime::{JobError, LoadPhase, LoadProgress, Runtime, StartError};

mod convert;
mod handshake;
mod metrics;
mod receive;
mod service;
mod status;

pub use liquid_process::tls::TlsError;

use metrics::Metrics;
use service::Service;

/// The section of the configuration that names the TLS files.
const TLS: &str = "tls";

/// Bytes of the largest gRPC message beyond a chunk, the question, the asks and the texts: the rest of the header.
const HEADER_ROOM: usize = 64 * 1024;

/// Bytes of a text in a header, and of an ask beside its words.
const ITEM_ROOM: u32 = 32;

/// Time between two pings to an idle client, and the time that it has to answer: a pod that vanished says
/// nothing.
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
        /// Name of the setting.
        field: &'static str,
        /// Value of the setting.
        address: SocketAddr,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The files for TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A model cannot be loaded.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The warm-up failed.
    #[error("warm-up: {0}")]
    WarmUp(#[source] JobError),
    /// The transport failed.
    #[error("grpc: {}", join_causes(.0))]
    Transport(#[from] tonic::transport::Error),
    /// A task of the server panicked.
    #[error("internal error: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Joins the texts of an error and its causes: tonic's own text only says that there was an error.
fn join_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Checks whether the files of `[tls]` can be used now.
///
/// # Errors
/// [`TlsError`].
pub async fn check_tls(tls: &Tls) -> Result<(), TlsError> {
    TlsKeeper::open(TLS, tls).await.map(drop)
}

/// A worker whose addresses are bound and which does not serve yet.
pub struct BoundServer {
    config: Config,
    grpc: TcpListener,
    admin: TcpListener,
    progress: LoadProgress,
}

impl BoundServer {
    /// Binds both addresses; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub async fn bind(config: Config) -> Result<Self, ServeError> {
        let grpc = bind_listener("grpc.listen", config.grpc.listen).await?;
        let admin = bind_listener("admin.listen", config.admin.listen).await?;
        Ok(Self {
            config,
            grpc,
            admin,
            progress: LoadProgress::default(),
        })
    }

    /// Returns the addresses of the service and of the admin listener.
    ///
    /// # Errors
    /// What the system says.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.grpc.local_addr()?, self.admin.local_addr()?))
    }

    /// Loads the models, serves until `stop` is ready, then drains. The admin listener answers from the start.
    ///
    /// # Errors
    /// [`ServeError`]. ActiveRequests that do not end within `drain.timeout_ms` are cut off, which is no error.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let (config, progress) = (self.config.clone(), self.progress.clone());
        let load = tokio::task::spawn_blocking(move || Runtime::start_with(&config, &progress));
        self.serve_with(async { Ok(load.await??) }, stop).await
    }

    /// Serves with a runtime that comes from elsewhere.
    ///
    /// # Errors
    /// [`ServeError`], the one of `load` included.
    pub async fn serve_with(
        self,
        load: impl Future<Output = Result<Runtime, ServeError>>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let phase = Arc::new(watch::channel(Phase::Starting).0);
        let metrics = Arc::new(Metrics::new(self.progress.clone()));
        let admin = tokio::spawn(serve_admin(self.admin, Arc::clone(&metrics), phase.subscribe()));
        let served = async {
            let files = async { Ok(TlsKeeper::wait(TLS, &self.config.tls).await?) };
            let load = async {
                let runtime = load.await?;
                self.progress.enter(LoadPhase::WarmUp);
                Ok::<Runtime, ServeError>(runtime)
            };
            let (runtime, tls) = tokio::try_join!(load, files)?;
            metrics.observe(&runtime);
            Lifecycle::new(&self.config, runtime, phase, metrics)
                .run(self.grpc, tls, stop)
                .await
        };
        let served = served.await;
        admin.abort();
        served
    }
}

/// Serves `/livez`, `/readyz` and `/metrics`, until the task is aborted.
async fn serve_admin(listener: TcpListener, metrics: Arc<Metrics>, phase: watch::Receiver<Phase>) {
    let rendered = Arc::clone(&metrics);
    let admin = Admin {
        ready: move || match *phase.borrow() {
            Phase::Ready => Ok(()),
            Phase::Starting => Err(metrics.load_progress()),
            Phase::Notice | Phase::Draining => Err("draining".to_owned()),
        },
        metrics: move || rendered.render(),
    };
    if let Err(error) = admin.serve(listener, CancellationToken::new()).await {
        tracing::error!(%error, "the admin listener has ended");
    }
}

async fn bind_listener(field: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Bind {
            field,
            address,
            source,
        })
}

/// The course of a worker's life, from the warm-up to the end of the drain.
struct Lifecycle<'a> {
    config: &'a Config,
    runtime: Runtime,
    phase: Arc<watch::Sender<Phase>>,
    metrics: Arc<Metrics>,
    health: HealthReporter,
    requests: ActiveRequests,
}

type Transport = JoinHandle<Result<(), tonic::transport::Error>>;

impl<'a> Lifecycle<'a> {
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
            requests: ActiveRequests::default(),
        }
    }

    /// Makes the routes of gRPC and of HTTP; what is neither's is answered in the words of HTTP.
    fn router(&self) -> Router {
        let limits = &self.config.limits;
        let service = Service::new(
            self.config,
            self.runtime.clone(),
            Arc::clone(&self.metrics),
            self.phase.subscribe(),
            self.requests.clone(),
        );
        // The question repeats the asks.
        let items = u64::from(ITEM_ROOM) * (u64::from(limits.max_asks) + u64::from(limits.max_texts));
        let largest = limits.max_chunk_bytes + 2 * limits.max_question_bytes + items;
        let worker = WorkerServer::new(service).max_decoding_message_size(largest as usize + HEADER_ROOM);
        let health = HealthServer::new(HealthService::from_health_reporter(self.health.clone()));
        let gateway = Gateway::new(
            &self.runtime,
            self.metrics.answers(),
            self.phase.subscribe(),
            self.requests.clone(),
        );
        let grpc = Routes::new(health).add_service(worker).into_axum_router();
        Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_routes(gateway.routes(grpc).into())
    }

    /// Publishes the phase to requests, probes and health checks.
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
        tls: Option<TlsKeeper>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        self.announce(Phase::Starting).await;
        let Some(keeper) = tls.map(Arc::new) else {
            return self
                .serve(TcpIncoming::from(listener).with_nodelay(Some(true)), stop)
                .await;
        };
        let metrics = Arc::clone(&self.metrics);
        let count = move |worked| metrics.count_reload(worked);
        let watcher = tokio::spawn(Arc::clone(&keeper).keep_current(count));
        let connections = handshake::accept_encrypted(listener, keeper, Arc::clone(&self.metrics));
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
        self.metrics.loaded();
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

    /// Drains: stops being ready, leaves balancers time to see it, refuses new requests, leaves those under
    /// way time to end.
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
            tracing::warn!(
                cut_off,
                "the time of the drain is over; the last requests are cut off"
            );
            self.requests.cut_off.cancel();
        }
    }
}
