//! The process of `liquid-operator serve`: what runs in every replica, what only where the Lease is held, and
//! how it ends.
//!
//! Every replica answers reviews ([`crate::webhook::run`]). The one that holds the Lease also reconciles, keeps the
//! certificates and watches for pods without a sidecar. On SIGTERM the replica releases the Lease at once, so that another one takes over,
//! and answers reviews until the Service no longer routes to it. A replica that sees the cluster's data set back ends like this
//! too, and with an error.

use std::future::Future;
use std::sync::Arc;

use kube::{Client, Config};
use liquid_process::admin::Admin;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::controller::{self, Context, Demand, MissedPods};
use crate::leader::{self, Election, SetBack, Timings};
use crate::names::FIELD_MANAGER;
use crate::objects::Platform;
use crate::telemetry::{Metrics, start_log};
use crate::watchdog::{Watchdog, WatchdogSettings};
use crate::webhook;
use crate::webhook::run::RunningWebhook;

/// An error that keeps the operator from running.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps the operator from starting.
pub fn start(settings: &Settings) -> Result<(), Error> {
    start_log(settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(settings));
    runtime.shutdown_background();
    served
}

/// Clients of the API server.
struct Clients {
    /// It tries again what fails for a moment.
    default: Client,
    /// It does not.
    without_retries: Client,
}

impl Clients {
    fn new(mut config: Config) -> Result<Self, Error> {
        let default = Client::try_from(config.clone())?;
        config.default_retry = false;
        Ok(Self {
            default,
            without_retries: Client::try_from(config)?,
        })
    }
}

async fn serve(settings: &Settings) -> Result<(), Error> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let identity = leader::make_identity(&std::env::var("HOSTNAME").unwrap_or_else(|_| FIELD_MANAGER.into()));
    let clients = Clients::new(Config::infer().await?)?;
    // The listener for probes outlives the rest: a replica that drains still says that it lives.
    let (stop, last) = (CancellationToken::new(), CancellationToken::new());

    let counted = Arc::new(webhook::metrics::WebhookMetrics::default());
    let metrics = Arc::new(Metrics::with(|registry| counted.register(registry)));
    let address = settings.admin_address();
    let listener = TcpListener::bind(address).await;
    let listener =
        listener.map_err(|error| format!("admin listener {address}: {error}; choose a free address"))?;
    let demand = Arc::new(Demand::default());
    let asked = Arc::clone(&demand);
    let client = clients.default.clone();
    let hook = webhook::run::start(client, settings, &identity, counted, asked, stop.clone()).await?;
    let hook = Arc::new(hook);
    let admin = tokio::spawn(serve_admin(listener, &metrics, &hook, &stop, last.clone()));
    let mut leading = tokio::spawn(lead(clients, settings, identity, &metrics, &hook, demand, &stop));
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(%address, webhook = %settings.webhook_address(), version, "serving");

    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = &mut leading => Some(ended),
    };
    tracing::info!("stopping");
    stop.cancel();
    let ended = match ended {
        Some(ended) => ended,
        None => leading.await,
    };
    hook.wait().await;
    last.cancel();
    admin.await??;
    ended??;
    Ok(())
}

/// Serves probes and metrics until `last` is cancelled.
fn serve_admin(
    listener: TcpListener,
    metrics: &Arc<Metrics>,
    hook: &Arc<RunningWebhook>,
    stop: &CancellationToken,
    last: CancellationToken,
) -> impl Future<Output = std::io::Result<()>> + Send + use<> {
    let (metrics, hook, stop) = (Arc::clone(metrics), Arc::clone(hook), stop.clone());
    let ready = move || check_readiness(stop.is_cancelled(), hook.is_ready());
    let metrics = move || metrics.render();
    Admin { ready, metrics }.serve(listener, last)
}

/// Returns why this replica takes no reviews; `stopping` after SIGTERM, `known` once reviews can be answered.
fn check_readiness(stopping: bool, known: bool) -> Result<(), String> {
    match (stopping, known) {
        (true, _) => Err("draining".into()),
        (false, false) => Err("waiting for: certificate and proxies".into()),
        (false, true) => Ok(()),
    }
}

/// Stands for election until `stop`, or until the cluster's data were set back; while it leads, reconciles, keeps the
/// certificates and watches for pods without a sidecar.
fn lead(
    clients: Clients,
    settings: &Settings,
    identity: String,
    metrics: &Arc<Metrics>,
    hook: &Arc<RunningWebhook>,
    demand: Arc<Demand>,
    stop: &CancellationToken,
) -> impl Future<Output = Result<(), SetBack>> + Send + use<> {
    let election = Election {
        client: clients.default.clone(),
        namespace: settings.namespace.clone(),
        lease: settings.lease_name.clone(),
        identity: identity.clone(),
        timings: Timings::default(),
    };
    let platform = Platform::from(settings);
    let watch_settings = WatchdogSettings::from(settings);
    let (hook, stop) = (Arc::clone(hook), stop.clone());
    let (metrics, shown) = (Arc::clone(metrics), Arc::clone(metrics));
    let (leading, mut leads) = watch::channel(false);
    async move {
        let term = |term: CancellationToken| {
            let missed = Arc::new(MissedPods::default());
            let watchdog = Watchdog::new(
                clients.without_retries.clone(),
                hook.cluster().clone(),
                watch_settings.clone(),
                hook.recorder().clone(),
                Arc::clone(&metrics),
                Arc::clone(&missed),
            );
            let context = Context::new(
                clients.default.clone(),
                platform.clone(),
                &identity,
                Arc::clone(&metrics),
                missed,
            );
            let keeper = hook.make_keeper();
            let demand = Arc::clone(&demand);
            async move {
                tokio::join!(
                    keeper.run(term.clone()),
                    watchdog.run(term.clone()),
                    controller::run(context, demand, term)
                );
            }
        };
        let show = async move {
            // Ends with the sender, which the election drops.
            while leads.changed().await.is_ok() {
                shown.set_leader(*leads.borrow_and_update());
            }
        };
        tokio::join!(leader::run(election, stop, leading, term), show).0
    }
}

#[cfg(test)]
mod tests {
    use super::check_readiness;

    #[test]
    fn a_replica_that_is_not_ready_says_why() {
        let waiting = "waiting for: certificate and proxies".to_owned();
        assert_eq!(check_readiness(false, false), Err(waiting));
        assert_eq!(check_readiness(false, true), Ok(()));
        for known in [false, true] {
            assert_eq!(check_readiness(true, known), Err("draining".into()));
        }
    }
}
