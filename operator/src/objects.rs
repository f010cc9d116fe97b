//! What a proxy needs in its namespace. Pure: the resource and the platform's settings in, objects out.
//!
//! A new version of the operator may render the same resource otherwise. It must not restart workers for that, so
//! [`Objects::keeping`] takes the workers' pod template and configuration from the cluster as long as what they were
//! made from is the same.

use std::net::IpAddr;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::api::LiquidMemoryProxy;
use crate::config::{PullPolicy, Settings};

mod deployment;
mod inputs;
mod keep;
mod meta;
mod network;
mod pod;
mod service;
mod sidecar_config;
mod worker_config;

#[cfg(test)]
mod tests;

pub use inputs::{Inputs, short_sum};
pub use meta::{labels, selector};
pub use sidecar_config::sidecar_toml;
pub use worker_config::worker_toml;

/// Why a resource has no objects.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It has no name, namespace or uid: it does not come from an API server.
    #[error("the resource has no metadata.{0}; it must come from an API server")]
    Metadata(&'static str),
    /// The configuration cannot be written.
    #[error("the configuration of {0} cannot be written as TOML: {1}")]
    Toml(&'static str, toml::ser::Error),
    /// An object cannot be written as JSON.
    #[error("an object cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What the installation decides for every proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The operator's namespace.
    pub namespace: String,
    /// Image of workers.
    pub worker_image: String,
    /// When kubelets pull it.
    pub pull_policy: PullPolicy,
    /// Secrets to pull it with.
    pub pull_secrets: Vec<String>,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// What workers and sidecars listen on: every address, of the family that pods have here.
    pub any_address: IpAddr,
}

impl From<&Settings> for Platform {
    fn from(settings: &Settings) -> Self {
        Self {
            namespace: settings.namespace.clone(),
            worker_image: settings.worker_image.clone(),
            pull_policy: settings.image_pull_policy,
            pull_secrets: settings.image_pull_secrets.clone(),
            cluster_domain: settings.cluster_domain.clone(),
            any_address: settings.any_address(),
        }
    }
}

/// Everything that belongs to one proxy, but for its Secrets, which are written with its certificates.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// The workers' account; it may do nothing.
    pub service_account: ServiceAccount,
    /// `worker.toml`.
    pub worker_config: ConfigMap,
    /// `sidecar.toml`.
    pub sidecar_config: ConfigMap,
    /// The workers' addresses.
    pub service: Service,
    /// Keeps nodes that are drained from stopping all workers at a time.
    pub budget: PodDisruptionBudget,
    /// Who may reach the workers; none if the resource does not want it.
    pub network: Option<NetworkPolicy>,
    /// The workers.
    pub deployment: Deployment,
    /// The resource names the workers' image itself.
    pub own_worker_image: bool,
}

impl Objects {
    /// What this resource asks for.
    ///
    /// # Errors
    /// [`BuildError`] for a resource that does not come from an API server.
    pub fn build(proxy: &LiquidMemoryProxy, platform: &Platform) -> Result<Self, BuildError> {
        let of = meta::Of::new(proxy)?;
        let inputs = Inputs::of(proxy)?;
        Ok(Self {
            service_account: service::account(&of),
            worker_config: keep::worker_config(&of, worker_toml(proxy, &of, platform)?, &inputs),
            sidecar_config: meta::config_map(
                &of,
                crate::names::sidecar_config(of.name),
                "sidecar.toml",
                sidecar_toml(proxy, &of, platform)?,
            ),
            service: service::service(&of),
            budget: service::budget(&of),
            network: proxy
                .spec
                .network
                .policy
                .then(|| network::policy(proxy, &of, platform)),
            deployment: deployment::deployment(proxy, &of, platform, &inputs)?,
            own_worker_image: proxy.spec.workers.image.is_some(),
        })
    }

    /// The same with the workers' pod template and configuration from the cluster, if they were made from the same
    /// inputs and are as they were made.
    #[must_use]
    pub fn keeping(mut self, live: Option<&Deployment>, config: Option<&ConfigMap>) -> Self {
        if let (Some(live), Some(config)) = (live, config) {
            keep::keep(&mut self, live, config);
        }
        self
    }
}
