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
use super::metrics::WebhookMetrics;
use super::server::{self, Ending};
use super::serving::ServingCertificate;
use super::tls::WebhookTls;
use crate::config::Settings;
use crate::controller::Demand;
use crate::names::FIELD_MANAGER;
use crate::pki::keeper::{Keeper, KeeperSettings};
use crate::pki::watch::{self, CurrentAuthorities};
use crate::pki::{Profile, Times, TimesError};

/// Why the webhook cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The lives of certificates do not fit each other.
    #[error(transparent)]
    Times(#[from] TimesError),
    /// The address cannot be listened on.
    #[error("webhook listener {address}: {source}; choose a free address")]
    Listen {
        /// The address of the settings.
        address: SocketAddr,
        /// The error of the listener.
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// The running webhook, and what the leader's part is made from.
pub struct RunningWebhook {
    client: Client,
    settings: KeeperSettings,
    recorder: Recorder,
    cluster: Cluster,
    current: CurrentAuthorities,
    serving: Arc<ServingCertificate>,
    proxies_known: Arc<AtomicBool>,
    tasks: TaskTracker,
}

/// Starts the watches, the certificate and the listener. They end with `stop`; wait for that with
/// [`RunningWebhook::wait`]. `instance` names this replica in Events; `demand` takes what sidecars without workers ask for.
///
/// # Errors
/// Settings that do not fit, an address that is taken.
pub async fn start(
    client: Client,
    settings: &Settings,
    instance: &str,
    metrics: Arc<WebhookMetrics>,
    demand: Arc<Demand>,
    stop: CancellationToken,
) -> Result<RunningWebhook, StartError> {
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
    // The watches outlive the listener: reviews are answered until the last connection has ended.
    let last = CancellationToken::new();
    let serving = build_certificate(settings, times, Arc::clone(&metrics));
    let keeper = KeeperSettings {
        namespace: settings.namespace.clone(),
        webhook: settings.webhook_name.clone(),
        cluster_domain: settings.cluster_domain.clone(),
        times,
    };
    let running = start_watches(client, keeper, recorder, serving, &last);

    let (outbox, notices) = Outbox::new(Arc::clone(&metrics));
    let recorder = running.recorder.clone();
    running.tasks.spawn(events::publish(recorder, notices));
    let handler = Handler::new(
        running.cluster.clone(),
        settings.sidecar_defaults(),
        settings.namespace.clone(),
        outbox,
        Arc::clone(&metrics),
    );
    let router = server::build_router(Arc::new(handler), demand);
    let tls = WebhookTls::new(Arc::clone(&running.serving), running.current.clone())?;
    running.tasks.spawn(async move {
        server::serve(listener, tls, router, metrics, Ending::new(stop)).await;
        last.cancel();
    });
    running.tasks.close();
    Ok(running)
}

/// Starts what follows the cluster until `last` is cancelled: authorities, proxies, and the webhook's certificate.
fn start_watches(
    client: Client,
    settings: KeeperSettings,
    recorder: Recorder,
    serving: Arc<ServingCertificate>,
    last: &CancellationToken,
) -> RunningWebhook {
    let tasks = TaskTracker::new();
    let (current, follow) = watch::follow(client.clone(), &settings.namespace, last.clone());
    tasks.spawn(follow);
    let (cluster, follow) = Cluster::follow(client.clone(), last.clone());
    tasks.spawn(follow);
    let (keep, authorities, end) = (Arc::clone(&serving), current.clone(), last.clone());
    tasks.spawn(async move { keep.run(authorities, end).await });
    let proxies_known = Arc::<AtomicBool>::default();
    let (wait, known, end) = (cluster.clone(), Arc::clone(&proxies_known), last.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = end.cancelled() => {}
            () = wait.wait_until_known() => known.store(true, Ordering::Release),
        }
    });
    RunningWebhook {
        client,
        settings,
        recorder,
        cluster,
        current,
        serving,
        proxies_known,
        tasks,
    }
}

impl RunningWebhook {
    /// Returns true if reviews can be answered: there is a certificate, and the proxies are known.
    pub fn is_ready(&self) -> bool {
        self.proxies_known.load(Ordering::Acquire) && self.serving.is_ready()
    }

    /// Makes the leader's part: certificates and their rotation. It is run for a term.
    pub fn make_keeper(&self) -> Keeper {
        Keeper::new(
            self.client.clone(),
            self.settings.clone(),
            self.cluster.lister(),
            self.cluster.notifier(),
            self.current.clone(),
            self.recorder.clone(),
        )
    }

    /// Returns what the webhook knows of the cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Returns what writes Events in the name of this replica.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Waits until everything has ended.
    pub async fn wait(&self) {
        self.tasks.wait().await;
    }
}

fn build_certificate(
    settings: &Settings,
    times: Times,
    metrics: Arc<WebhookMetrics>,
) -> Arc<ServingCertificate> {
    let Settings {
        webhook_service,
        namespace,
        cluster_domain,
        ..
    } = settings;
    ServingCertificate::new(
        Profile::webhook(webhook_service, namespace, cluster_domain),
        times,
        metrics,
    )
}
