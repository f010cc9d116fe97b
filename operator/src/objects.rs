//! What a proxy needs in its namespace. Pure: the resource and the platform's settings in, objects out.
//!
//! A new version of the operator may render the same resource otherwise. It must not restart workers for
//! that, so [`Objects::keep_live`] takes the workers' pod template and configuration from the cluster as long
//! as what they were made from is the same.

use std::net::IpAddr;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, LocalObjectReference, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use liquid_contract::files;
use liquid_signing::PublicKey;

use crate::api::{LiquidMemoryProxy, PodUser, PullPolicy};
use crate::config::Settings;

mod deployment;
mod gateway;
mod inputs;
mod keep;
mod meta;
mod models;
mod network;
mod pod;
mod service;
mod sidecar_config;
mod worker_config;

#[cfg(test)]
mod tests;

pub use gateway::{GatewayObjects, gateway_url};
pub use inputs::{Inputs, short_sum};
pub use meta::{Component, labels, pod_selector, selector};
use sidecar_config::{SidecarRole, render_sidecar_toml};
use worker_config::render_worker_toml;

/// Why a resource has no objects.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The resource has no name, namespace or uid: it does not come from an API server.
    #[error("the resource has no metadata.{0}; it must come from an API server")]
    Metadata(&'static str),
    /// A configuration cannot be written as TOML.
    #[error("the configuration of {0} cannot be written as TOML: {1}")]
    Toml(&'static str, #[source] toml::ser::Error),
    /// An object cannot be written as JSON.
    #[error("an object cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What the installation decides for the objects of every proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The operator's namespace.
    pub namespace: String,
    /// Image of the sidecar, which the gateway runs.
    pub sidecar_image: String,
    /// Image of the workers.
    pub worker_image: String,
    /// When kubelets pull the image.
    pub pull_policy: PullPolicy,
    /// Secrets to pull the image with.
    pub pull_secrets: Vec<String>,
    /// As which user workers run, unless the resource says so.
    pub pod_user: PodUser,
    /// The key that has to have signed every model, if one has to.
    pub model_public_key: Option<PublicKey>,
    /// Host name of the operator's own Service, where sidecars ask for workers.
    pub operator_host: String,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// Address on which workers and sidecars listen: every address, of the family that pods have here.
    pub any_address: IpAddr,
}

impl From<&Settings> for Platform {
    fn from(settings: &Settings) -> Self {
        Self {
            namespace: settings.namespace.clone(),
            sidecar_image: settings.sidecar_image.clone(),
            worker_image: settings.worker_image.clone(),
            pull_policy: settings.image_pull_policy,
            pull_secrets: settings.image_pull_secrets.clone(),
            pod_user: settings.pod_user,
            model_public_key: settings.model_public_key,
            operator_host: format!(
                "{}.{}.svc.{}",
                settings.webhook_service, settings.namespace, settings.cluster_domain
            ),
            cluster_domain: settings.cluster_domain.clone(),
            any_address: settings.any_address(),
        }
    }
}

impl Platform {
    /// Lists the pull secrets as a pod has them; none if there are none.
    fn list_pull_secrets(&self) -> Option<Vec<LocalObjectReference>> {
        let all = self.pull_secrets.iter();
        let all: Vec<_> = all
            .map(|name| LocalObjectReference { name: name.clone() })
            .collect();
        (!all.is_empty()).then_some(all)
    }
}

/// Everything that belongs to one proxy, but for its Secrets, which are written with its certificates.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// Account of the workers; it has no rights.
    pub service_account: ServiceAccount,
    /// ConfigMap with `worker.toml`.
    pub worker_config: ConfigMap,
    /// ConfigMap with `sidecar.toml`.
    pub sidecar_config: ConfigMap,
    /// Headless Service of the workers.
    pub service: Service,
    /// Disruption budget: drains of nodes stop one worker at a time.
    pub budget: PodDisruptionBudget,
    /// NetworkPolicy of the workers; none if the resource does not want one.
    pub network: Option<NetworkPolicy>,
    /// Deployment of the workers.
    pub deployment: Deployment,
    /// The gateway, if the resource has one.
    pub gateway: Option<GatewayObjects>,
    /// Whether the resource names the workers' image itself.
    pub own_worker_image: bool,
}

impl Objects {
    /// Builds everything that the resource asks for.
    ///
    /// # Errors
    /// [`BuildError`] for a resource that does not come from an API server.
    pub fn build(proxy: &LiquidMemoryProxy, platform: &Platform) -> Result<Self, BuildError> {
        let owner = meta::ProxyRef::new(proxy)?;
        let inputs = Inputs::from_proxy(proxy, platform)?;
        Ok(Self {
            service_account: service::build_account(&owner, Component::Worker),
            worker_config: keep::build_worker_config(
                &owner,
                render_worker_toml(proxy, &owner, platform)?,
                &inputs,
            ),
            sidecar_config: meta::build_config_map(
                owner.build_meta(crate::names::sidecar_config(owner.name), Component::Worker),
                files::SIDECAR_CONFIG,
                render_sidecar_toml(proxy, &owner, platform, SidecarRole::Injected)?.text,
            ),
            service: service::build_service(&owner),
            budget: service::build_disruption_budget(&owner, Component::Worker),
            network: proxy
                .spec
                .network
                .policy
                .then(|| network::build_policy(proxy, &owner, platform)),
            deployment: deployment::build_deployment(proxy, &owner, platform, &inputs)?,
            gateway: GatewayObjects::build(proxy, &owner, platform)?,
            own_worker_image: proxy.spec.workers.image.is_some(),
        })
    }

    /// Takes the number of workers from the cluster, where it follows the load.
    #[must_use]
    pub fn keep_replicas(mut self, proxy: &LiquidMemoryProxy, live: Option<&Deployment>) -> Self {
        if let Some(scaling) = &proxy.spec.workers.autoscaling {
            let bounds = scaling.min_replicas..=scaling.max_replicas;
            deployment::keep_replicas(&mut self.deployment, live, bounds);
        }
        self
    }

    /// Takes the workers' pod template and configuration from the cluster, if they were made from the same
    /// inputs and nobody has edited them.
    #[must_use]
    pub fn keep_live(mut self, live: Option<&Deployment>, config: Option<&ConfigMap>) -> Self {
        if let (Some(live), Some(config)) = (live, config) {
            keep::keep_live(&mut self, live, config);
        }
        self
    }
}
