//! `liquid-operator check`: is the installation whole? `helm test` runs it inside the cluster.
//!
//! Each step is what an application would stumble over: the resource type, the leader, the webhook's bundle,
//! and a handshake with the webhook through its Service, as the API server makes it. Right after an installation or an
//! upgrade a step may hold only seconds later, so it is tried again for a while.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::{Api, Client};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::api::LiquidMemoryProxy;
use crate::config::Settings;

/// Longest time for the connection and the handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a step is tried: twice as long as a lease is held by a leader that has died.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// A part of the installation that is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There is no runtime, or no API server is known.
    #[error("cannot start: {0}")]
    Start(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The API server refuses a request, or lacks an object.
    #[error("{what}: {source}; {remedy}")]
    Api {
        /// The object that was read.
        what: &'static str,
        /// The remedy.
        remedy: &'static str,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// No replica leads.
    #[error("Lease {0}: nobody holds it; look at the operator's log")]
    NoLeader(String),
    /// The API server cannot trust the webhook.
    #[error(
        "MutatingWebhookConfiguration {name}: {entry} has no bundle of authorities; the leader writes it \
         within seconds, look at its log"
    )]
    NoBundle {
        /// Name of the configuration.
        name: String,
        /// Name of the entry without a bundle.
        entry: String,
    },
    /// The webhook cannot be reached or trusted.
    #[error("webhook {host}: {why}; look at the operator's pods and at network policies")]
    Webhook {
        /// Host name of the webhook in the cluster.
        host: String,
        /// The error of the connection or the handshake.
        why: String,
    },
}

/// Checks each part and prints a line for it.
///
/// # Errors
/// The first part that is not whole.
pub fn start(settings: &Settings) -> Result<(), CheckError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CheckError::Start(error.into()))?;
    runtime.block_on(check(settings))
}

async fn check(settings: &Settings) -> Result<(), CheckError> {
    let client = Client::try_default().await;
    let client = client.map_err(|error| CheckError::Start(error.into()))?;
    let proxies = eventually(async || count_proxies(client.clone()).await).await?;
    println!("resource type: served, {proxies} proxies");
    let leader = eventually(async || find_leader(client.clone(), settings).await).await?;
    println!("leader: {leader}");
    let host = format!("{}.{}.svc", settings.webhook_service, settings.namespace);
    eventually(async || {
        let bundle = read_bundle(client.clone(), settings).await?;
        reach_webhook(&host, &bundle).await
    })
    .await?;
    println!("webhook {host}: answers with a certificate of the bundle that the API server trusts");
    Ok(())
}

/// Tries a step until it succeeds, and at most for [`PATIENCE`]: the error is that of the last try.
async fn eventually<T>(step: impl AsyncFn() -> Result<T, CheckError>) -> Result<T, CheckError> {
    let limit = Instant::now() + PATIENCE;
    loop {
        match step().await {
            Err(_) if Instant::now() < limit => sleep(PAUSE).await,
            outcome => return outcome,
        }
    }
}

async fn count_proxies(client: Client) -> Result<usize, CheckError> {
    let proxies = Api::<LiquidMemoryProxy>::all(client)
        .list(&ListParams::default())
        .await;
    let proxies = proxies.map_err(api_error(
        "LiquidMemoryProxy",
        "install the chart liquid-memory-crds",
    ))?;
    Ok(proxies.items.len())
}

async fn find_leader(client: Client, settings: &Settings) -> Result<String, CheckError> {
    let leases = Api::<Lease>::namespaced(client, &settings.namespace);
    let lease = leases.get(&settings.lease_name).await;
    let lease = lease.map_err(api_error("the Lease", "look at the operator's log"))?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity);
    holder
        .filter(|holder| !holder.is_empty())
        .ok_or_else(|| CheckError::NoLeader(settings.lease_name.clone()))
}

fn api_error(what: &'static str, remedy: &'static str) -> impl FnOnce(kube::Error) -> CheckError {
    move |source| CheckError::Api {
        what,
        remedy,
        source: Box::new(source),
    }
}

/// Reads the authorities that the API server trusts for the webhook, as PEM.
async fn read_bundle(client: Client, settings: &Settings) -> Result<Vec<u8>, CheckError> {
    let name = settings.webhook_name.clone();
    let found = Api::<MutatingWebhookConfiguration>::all(client).get(&name).await;
    let found = found.map_err(api_error(
        "the MutatingWebhookConfiguration",
        "install the chart liquid-memory again",
    ))?;
    let mut last = Vec::new();
    for webhook in found.webhooks.into_iter().flatten() {
        let bundle = webhook
            .client_config
            .ca_bundle
            .filter(|bundle| !bundle.0.is_empty());
        let entry = webhook.name;
        let bundle = bundle.ok_or_else(|| CheckError::NoBundle {
            name: name.clone(),
            entry,
        })?;
        last = bundle.0;
    }
    Ok(last)
}

async fn reach_webhook(host: &str, bundle: &[u8]) -> Result<(), CheckError> {
    let shaken = timeout(HANDSHAKE, shake_hands(host, bundle)).await;
    let shaken = shaken.unwrap_or_else(|_| Err(format!("no answer in {} s", HANDSHAKE.as_secs())));
    shaken.map_err(|why| CheckError::Webhook {
        host: host.to_owned(),
        why,
    })
}

/// Connects to the webhook, trusting this bundle and no other.
async fn shake_hands(host: &str, bundle: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let certificate = certificate.map_err(|error| format!("the bundle cannot be read: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect((host, 443))
        .await
        .map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(config));
    connector
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    Ok(())
}
