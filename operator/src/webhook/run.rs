//! Starts what injection and certificates need in every replica, and makes the leader's part.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cluster::Cluster;
use super::events::{self, Outbox};
use super::handler::Handler;
use super::metrics::Metrics;
use super::server;
use super::serving::Serving;
use crate::config::{LogFormat, Settings};
use crate::inject::Platform;
use crate::names::FIELD_MANAGER;
use crate::pki::keeper::{self, Keeper};
use crate::pki::watch::{self, Current};
use crate::pki::{Profile, Times, TimesError};

/// Why it cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Lives of certificates.
    #[error(transparent)]
    Times(#[from] TimesError),
    /// The address.
    #[error("webhook listener {address}: {source}; choose a free address")]
    Listen {
        /// What was given.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The provider of TLS.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// What runs.
pub struct Running {
    client: Client,
    settings: keeper::Settings,
    recorder: Recorder,
    cluster: Cluster,
    current: Current,
    serving: Arc<Serving>,
    proxies_known: Arc<AtomicBool>,
    tasks: TaskTracker,
}

/// Starts the watches, the certificate and the listener. They end with `stop`; wait for that with
/// [`Running::ended`]. `instance` names this replica in Events.
///
/// # Errors
/// Settings that do not fit, an address that is taken.
pub async fn start(
    client: Client,
    settings: &Settings,
    instance: &str,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<Running, StartError> {
    let times = settings.times()?;
    let address = settings.webhook_address();
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })?;
    let recorder = Recorder::new(
        client.clone(),
        Reporter {
            controller: FIELD_MANAGER.into(),
            instance: Some(instance.into()),
        },
    );
    let tasks = TaskTracker::new();

    // The watches outlive the listener: reviews are answered to the end.
    let last = CancellationToken::new();
    let (current, follow) = watch::follow(client.clone(), &settings.namespace, last.clone());
    tasks.spawn(follow);
    let (cluster, follow) = Cluster::follow(client.clone(), last.clone());
    tasks.spawn(follow);
    let serving = serving(settings, times, Arc::clone(&metrics));
    let (keep, authorities, end) = (Arc::clone(&serving), current.clone(), last.clone());
    tasks.spawn(async move { keep.run(authorities, end).await });
    let proxies_known = Arc::<AtomicBool>::default();
    let (wait, known, end) = (cluster.clone(), Arc::clone(&proxies_known), last.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = end.cancelled() => {}
            () = wait.ready() => known.store(true, Ordering::Release),
        }
    });

    let (outbox, notices) = Outbox::new(Arc::clone(&metrics));
    tasks.spawn(events::publish(recorder.clone(), notices));
    let own = settings.namespace.clone();
    let handler = Handler::new(
        cluster.clone(),
        platform(settings),
        own,
        outbox,
        Arc::clone(&metrics),
    );
    let router = server::router(Arc::new(handler));
    let tls = server::tls(Arc::clone(&serving))?;
    tasks.spawn(async move {
        server::serve(listener, tls, router, metrics, stop).await;
        last.cancel();
    });
    tasks.close();

    Ok(Running {
        client,
        settings: keeper::Settings {
            namespace: settings.namespace.clone(),
            webhook: settings.webhook_name.clone(),
            cluster_domain: settings.cluster_domain.clone(),
            times,
        },
        recorder,
        cluster,
        current,
        serving,
        proxies_known,
        tasks,
    })
}

impl Running {
    /// Whether reviews can be answered: there is a certificate, and the proxies are known.
    pub fn is_ready(&self) -> bool {
        self.proxies_known.load(Ordering::Acquire) && self.serving.is_ready()
    }

    /// The leader's part: certificates and their rotation. Run it for a term.
    pub fn keeper(&self) -> Keeper {
        Keeper::new(
            self.client.clone(),
            self.settings.clone(),
            self.cluster.holders(),
            self.cluster.changed(),
            self.current.clone(),
            self.recorder.clone(),
        )
    }

    /// Waits until everything has ended.
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }
}

fn serving(settings: &Settings, times: Times, metrics: Arc<Metrics>) -> Arc<Serving> {
    let Settings {
        webhook_service,
        namespace,
        cluster_domain,
        ..
    } = settings;
    Serving::new(
        Profile::webhook(webhook_service, namespace, cluster_domain),
        times,
        metrics,
    )
}

fn platform(settings: &Settings) -> Platform {
    Platform {
        image: settings.sidecar_image.clone(),
        pull_policy: settings.image_pull_policy.as_str(),
        pull_secrets: settings
            .image_pull_secrets
            .iter()
            .filter(|name| !name.is_empty())
            .cloned()
            .collect(),
        any_address: settings.any_address(),
        log_format: match settings.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        },
    }
}
