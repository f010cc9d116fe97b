//! What the leader does about certificates: keeps the Secret with the authorities, the Secrets of every proxy
//! and the webhook's bundle as they should be, and takes the steps of a rotation.
//!
//! # Expected flow
//! A round reads the authorities, brings everything that depends on them into line, and takes at most one
//! step of the rotation. Rounds run when something changes, and by the wall clock.
//!
//! # Guarantees
//! The Secret with the authorities is only written over the version that was read. A leader that has lost its
//! Lease without noticing can at worst issue a certificate once more; it cannot take a step twice.

mod events;
mod secrets;
mod turns;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::events::Recorder;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, ResourceExt};
use liquid_process::lock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::rotation::{self, Step};
use super::watch::CurrentAuthorities;
use super::{Authorities, PkiError, Purpose, Times, bundle};
use crate::names::FIELD_MANAGER;
use turns::Turns;

/// Pause after a round that failed.
const AFTER_ERROR: Duration = Duration::from_secs(5);
/// Number of proxies that are kept at a time.
const AT_A_TIME: usize = 8;

/// A proxy whose workers, sidecars and gateway need certificates.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Namespace of the proxy.
    pub namespace: String,
    /// Name of the proxy.
    pub name: String,
    /// Which further ones it needs.
    pub needs: Needs,
    /// Reference by which its Secrets are deleted with it.
    pub owner: OwnerReference,
}

/// Which certificates a proxy needs beside those of workers and sidecars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Needs {
    /// That of its gateway.
    pub gateway: CertificateNeed,
    /// That for the hosts whose TLS its sidecars end.
    pub interception: CertificateNeed,
}

/// Whether a proxy needs a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertificateNeed {
    /// It does not; what it is for does not exist, or has one from elsewhere.
    NotNeeded,
    /// It does.
    Needed,
    /// One that is there is kept: the resource cannot be read, or pods of before use it.
    AsBefore,
}

/// Settings of the keeper.
#[derive(Clone, Debug)]
pub struct KeeperSettings {
    /// The operator's namespace.
    pub namespace: String,
    /// Name of the MutatingWebhookConfiguration.
    pub webhook: String,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// Lives of certificates.
    pub times: Times,
}

/// Why a round was not completed.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A request to the API server failed.
    #[error("{what}: {source}")]
    Api {
        /// What was done.
        what: &'static str,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// A certificate could not be made or read.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// An object of the name exists and does not belong to the proxy.
    #[error(
        "{kind} {namespace}/{name} exists and belongs to somebody else: rename it, or rename the \
         LiquidMemoryProxy"
    )]
    NotOurs {
        /// Kind of the object.
        kind: &'static str,
        /// Namespace of the object.
        namespace: String,
        /// Name of the object.
        name: String,
    },
}

fn api_error(what: &'static str) -> impl FnOnce(kube::Error) -> KeeperError {
    move |source| KeeperError::Api {
        what,
        source: Box::new(source),
    }
}

/// A function that lists the proxies of the moment.
pub type Holders = Arc<dyn Fn() -> Vec<Holder> + Send + Sync>;

/// Authorities, and the version of their Secret.
struct Loaded {
    authorities: Authorities,
    version: Option<String>,
}

/// Keeps the certificates while this replica leads.
pub struct Keeper {
    client: Client,
    settings: KeeperSettings,
    holders: Holders,
    /// Notified when a proxy is created, or needs other certificates.
    wake: Arc<Notify>,
    authorities: CurrentAuthorities,
    recorder: Recorder,
    /// The authorities that were read or written last; they restore their Secret if it is deleted.
    last: Mutex<BTreeMap<Purpose, Authorities>>,
    /// Which proxies' certificates were read when.
    turns: Mutex<BTreeMap<Purpose, Turns>>,
    /// The bundle that was written last; if it is wrong again, another writer has changed it.
    bundled: Mutex<Option<String>>,
}

impl Keeper {
    /// Creates a keeper. `wake` is notified when a proxy is created or needs other certificates; `authorities` follows the Secret.
    pub fn new(
        client: Client,
        settings: KeeperSettings,
        holders: Holders,
        wake: Arc<Notify>,
        authorities: CurrentAuthorities,
        recorder: Recorder,
    ) -> Self {
        Self {
            client,
            settings,
            holders,
            wake,
            authorities,
            recorder,
            last: Mutex::default(),
            turns: Mutex::default(),
            bundled: Mutex::new(None),
        }
    }

    /// Runs rounds until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.run_rounds() => {}
            () = self.watch_webhook() => {}
        }
    }

    async fn run_rounds(&self) {
        let mut authorities = self.authorities.clone();
        loop {
            let pause = match self.take_round(Timestamp::now()).await {
                Ok(Step::Keep) => self.settings.times.check_interval(),
                // The next phase begins at once.
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(%error, "certificates could not be updated; trying again");
                    AFTER_ERROR.min(self.settings.times.check_interval())
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
                changed = authorities.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Takes one round. Returns the step of a rotation that was taken.
    ///
    /// # Errors
    /// A Secret with authorities cannot be read or written. Failures of single proxies are logged; they
    /// only keep a rotation from going on.
    pub async fn take_round(&self, now: Timestamp) -> Result<Step, KeeperError> {
        match self.take_round_of(Purpose::Internal, now).await? {
            Step::Keep => self.take_round_of(Purpose::Interception, now).await,
            step => Ok(step),
        }
    }

    async fn take_round_of(&self, purpose: Purpose, now: Timestamp) -> Result<Step, KeeperError> {
        let Some(loaded) = self.load(purpose, now).await? else {
            return Ok(Step::Keep);
        };
        let Loaded { authorities, version } = loaded;
        let complete = self.distribute(&authorities, now).await;
        let times = &purpose.times(self.settings.times);
        let step = rotation::step(&authorities.state()?, times, complete, now);
        if step == Step::Keep {
            return Ok(step);
        }
        let after = authorities.after(step, times, now)?;
        let secret = after.to_secret(&self.settings.namespace, version);
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        self.authority_secrets()
            .replace(purpose.secret(), &params, &secret)
            .await
            .map_err(api_error("writing the certificate authorities"))?;
        tracing::info!(
            ?step,
            secret = purpose.secret(),
            "the certificate authorities have changed"
        );
        self.report_step(purpose, step).await;
        self.remember(after);
        Ok(step)
    }

    fn authority_secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.settings.namespace)
    }

    fn remember(&self, authorities: Authorities) {
        lock(&self.last).insert(authorities.purpose, authorities);
    }

    /// Reads the authorities; makes them where there are none. None where nobody needs them.
    async fn load(&self, purpose: Purpose, now: Timestamp) -> Result<Option<Loaded>, KeeperError> {
        let secrets = self.authority_secrets();
        let found = secrets.get_opt(purpose.secret()).await;
        let found = found.map_err(api_error("reading the certificate authorities"))?;
        if let Some(secret) = found {
            let authorities = Authorities::read(&secret)?;
            self.remember(authorities.clone());
            let version = secret.resource_version();
            return Ok(Some(Loaded { authorities, version }));
        }
        let last = lock(&self.last).get(&purpose).cloned();
        if last.is_none() && !self.needs(purpose) {
            return Ok(None);
        }
        let authorities = match last {
            Some(last) => last,
            None => Authorities::generate_for(purpose, now, &purpose.times(self.settings.times))?,
        };
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        let secret = secrets
            .create(&params, &authorities.to_secret(&self.settings.namespace, None))
            .await
            .map_err(api_error("creating the certificate authorities"))?;
        tracing::info!(secret = purpose.secret(), "created");
        self.remember(authorities.clone());
        let version = secret.resource_version();
        Ok(Some(Loaded { authorities, version }))
    }

    /// Returns whether an authority for a purpose has to be made.
    fn needs(&self, purpose: Purpose) -> bool {
        let needed = |holder: &Holder| holder.needs.interception == CertificateNeed::Needed;
        match purpose {
            Purpose::Internal => true,
            Purpose::Interception => (self.holders)().iter().any(needed),
        }
    }

    /// Updates the certificates and bundles of these authorities that may have to be ([`Turns`]). Returns true if all are as they
    /// should be.
    async fn distribute(&self, authorities: &Authorities, now: Timestamp) -> bool {
        let purpose = authorities.purpose;
        let (all, bundle) = ((self.holders)(), authorities.bundle());
        let times = &self.settings.times;
        let selected = lock(&self.turns)
            .entry(purpose)
            .or_default()
            .select(all, bundle, times, now);
        let results = selected.into_iter().map(|holder| async move {
            let done = match purpose {
                Purpose::Internal => self.keep_proxy(&holder, authorities, now).await,
                Purpose::Interception => self.keep_interception(&holder, authorities, now).await,
            };
            match &done {
                Ok(()) => lock(&self.turns).entry(purpose).or_default().note(&holder, now),
                Err(error) => {
                    tracing::warn!(%error, namespace = holder.namespace, proxy = holder.name, "certificates");
                }
            }
            done.is_ok()
        });
        let results: Vec<bool> = futures::stream::iter(results)
            .buffer_unordered(AT_A_TIME)
            .collect()
            .await;
        let complete = results.into_iter().all(|done| done);
        if purpose == Purpose::Interception {
            return complete;
        }
        let webhook = self.keep_webhook(authorities).await;
        if let Err(error) = &webhook {
            tracing::warn!(%error, "webhook configuration");
        }
        webhook.is_ok() && complete
    }

    /// Corrects the webhook's bundle. There is nothing to do where injection is not installed.
    async fn keep_webhook(&self, authorities: &Authorities) -> Result<(), KeeperError> {
        let name = &self.settings.webhook;
        let webhooks: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let found = webhooks.get_opt(name).await;
        let found = found.map_err(api_error("reading the webhook configuration"))?;
        let wanted = authorities.bundle();
        let patch = found.and_then(|found| bundle::build_repair(&found, &wanted));
        let Some(patch) = patch else {
            return Ok(());
        };
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        webhooks
            .patch(name, &params, &Patch::Strategic(patch))
            .await
            .map_err(api_error("writing the webhook configuration"))?;
        tracing::info!(
            webhook = name,
            "the bundle of certificate authorities was corrected"
        );
        let before = lock(&self.bundled).replace(wanted.clone());
        if before == Some(wanted) {
            self.report_repair().await;
        }
        Ok(())
    }

    /// Wakes the rounds when the webhook configuration changes. Never ends by itself.
    async fn watch_webhook(&self) {
        let webhooks: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.settings.webhook));
        let events = watcher(webhooks, only).default_backoff();
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(_) => self.wake.notify_one(),
                Err(error) => {
                    tracing::warn!(%error, "the watch of the webhook configuration broke and starts again")
                }
            }
        }
    }
}
