//! What is there: pods, Secrets and the workers' figures of one proxy, read from the cluster.

use std::time::Instant;

use k8s_openapi::api::core::v1::{LimitRange, Pod, Secret};
use kube::Api;
use kube::api::ListParams;

use super::context::{Context, ProgressReading, ProxyKey, ReadingRound};
use super::diagnose::is_ready;
use super::error::Error;
use super::{clock, figures, usage};
use crate::api::LiquidMemoryProxy;
use crate::api::status::Usage;
use crate::names::{gateway_tls, worker_tls};
use crate::objects::Component;

/// What was read of a proxy's namespace.
pub(super) struct ClusterState {
    /// The pods of its workers.
    pub(super) pods: Vec<Pod>,
    /// Whether the Secret with the workers' certificate exists, or none of them waits for it.
    pub(super) certificate: bool,
    /// What is there of its gateway.
    pub(super) gateway: GatewayState,
    /// Secrets that the resource names and that do not exist.
    pub(super) missing_secrets: Vec<MissingSecret>,
    /// The workers' figures, if it was time to read them.
    pub(super) usage: Option<Usage>,
    /// What a worker that is not ready yet says that it does.
    pub(super) progress: Option<String>,
}

/// What was read of a proxy's gateway; nothing where there is none.
#[derive(Default)]
pub(super) struct GatewayState {
    /// Its pods.
    pub(super) pods: Vec<Pod>,
    /// Whether the Secret with the certificate that the operator makes exists, or no pod waits for it.
    pub(super) certificate: bool,
}

/// A Secret that the resource names and that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MissingSecret {
    /// The field that names it.
    pub(super) field: &'static str,
    pub(super) name: String,
}

/// Reads what there is of a proxy.
pub(super) struct Observer<'a> {
    pub(super) proxy: &'a LiquidMemoryProxy,
    pub(super) key: &'a ProxyKey,
    pub(super) context: &'a Context,
}

impl Observer<'_> {
    /// Reads everything that the status is made from.
    ///
    /// # Errors
    /// The API server refuses or does not answer. A worker that does not answer is no error.
    pub(super) async fn observe(&self) -> Result<ClusterState, Error> {
        let pods = self.list_pods(Component::Worker);
        let gateway = self.observe_gateway().await?;
        let certificate = self.has_certificate(&pods, &worker_tls(&self.key.name)).await?;
        let missing_secrets = self.list_missing_secrets().await?;
        let usage = self.read_usage(&pods).await;
        let progress = self.read_progress(&pods).await;
        Ok(ClusterState {
            pods,
            certificate,
            gateway,
            missing_secrets,
            usage,
            progress,
        })
    }

    async fn observe_gateway(&self) -> Result<GatewayState, Error> {
        let Some(gateway) = &self.proxy.spec.gateway else {
            return Ok(GatewayState::default());
        };
        let own = gateway.has_own_certificate();
        let pods = self.list_pods(Component::Gateway);
        Ok(GatewayState {
            certificate: !own || self.has_certificate(&pods, &gateway_tls(&self.key.name)).await?,
            pods,
        })
    }

    fn list_pods(&self, component: Component) -> Vec<Pod> {
        self.context.cache.list_pods(self.key, component)
    }

    /// Returns whether the Secret with a certificate exists, or none of the pods that mount it waits for anything.
    async fn has_certificate(&self, pods: &[Pod], secret: &str) -> Result<bool, Error> {
        let waits = pods.iter().any(|pod| !is_ready(pod));
        Ok(!waits || self.secret_exists(secret).await?)
    }

    /// Lists the LimitRanges of the namespace, which a refused pod's message does not name. None where the operator may
    /// not: the message says enough without them.
    pub(super) async fn list_limit_ranges(&self) -> Vec<LimitRange> {
        let limits = Api::<LimitRange>::namespaced(self.context.client.clone(), &self.key.namespace);
        match limits.list(&ListParams::default()).await {
            Ok(list) => list.items,
            Err(error) => {
                tracing::warn!(%error, namespace = self.key.namespace, "the LimitRanges could not be listed");
                Vec::new()
            }
        }
    }

    async fn secret_exists(&self, name: &str) -> Result<bool, Error> {
        let secrets = Api::<Secret>::namespaced(self.context.client.clone(), &self.key.namespace);
        let found = secrets.get_metadata_opt(name).await;
        let found = found.map_err(|error| Error::api("read", "Secret", name, error))?;
        Ok(found.is_some())
    }

    async fn list_missing_secrets(&self) -> Result<Vec<MissingSecret>, Error> {
        let (synthesis, gateway) = (self.proxy.spec.synthesis.iter(), self.proxy.spec.gateway.iter());
        let keys = synthesis.flat_map(|synthesis| synthesis.list_secrets());
        let named = keys.map(|key| ("spec.synthesis", key.name.as_str()));
        let mut missing = Vec::new();
        for (field, name) in named.chain(gateway.flat_map(|gateway| gateway.list_secrets())) {
            if !self.secret_exists(name).await? {
                let name = name.to_owned();
                missing.push(MissingSecret { field, name });
            }
        }
        Ok(missing)
    }

    /// Reads what a worker that is not ready yet says that it does; what was read a moment ago stays, since each change of
    /// the status leads to another reconciliation.
    async fn read_progress(&self, pods: &[Pod]) -> Option<String> {
        let last = self.context.progress.get(self.key);
        let fresh = last.filter(|last| last.when.elapsed() < figures::PROGRESS_EVERY);
        if let Some(last) = fresh {
            return Some(last.text);
        }
        let text = self.context.reader.read_progress(pods).await?;
        let reading = ProgressReading {
            when: Instant::now(),
            text: text.clone(),
        };
        self.context.progress.set(self.key.clone(), reading);
        Some(text)
    }

    /// Reads the workers' figures, if it is time to, and adds them to those of the last status.
    async fn read_usage(&self, pods: &[Pod]) -> Option<Usage> {
        let last = self.context.rounds.get(self.key);
        if last.is_some_and(|last| last.when.elapsed() < figures::EVERY) {
            return None;
        }
        let next = ReadingRound {
            when: Instant::now(),
            round: last.map_or(0, |last| last.round.wrapping_add(1)),
        };
        self.context.rounds.set(self.key.clone(), next);
        let read = self.context.reader.read_figures(pods, next.round).await;
        let present: Vec<&str> = pods
            .iter()
            .filter_map(|pod| pod.metadata.name.as_deref())
            .collect();
        let status = self.proxy.status.as_ref();
        let old = status.and_then(|status| status.usage.as_ref());
        Some(usage::add_reading(old, &present, &read, clock::now()))
    }
}
