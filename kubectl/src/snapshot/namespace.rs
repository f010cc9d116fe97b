//! A namespace as `check` and `explain` look at it.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::core::SelectorExt;
use liquid_operator::api::LiquidMemoryProxy;
use liquid_operator::api::gateway::Gateway;
use liquid_operator::api::model::ClaimModel;
use liquid_operator::inject::{ConfigMapData, ConfigMaps};
use liquid_operator::names;
use liquid_operator::objects::{Component, pod_selector};

use super::Depth;
use super::reader::{Reader, Sought};

/// What was read of a namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamespaceState {
    /// Name of the namespace.
    pub(crate) name: String,
    /// Its labels; none if it may not be read.
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// Its proxies.
    pub(crate) proxies: Vec<LiquidMemoryProxy>,
    /// Its pods; none if they may not be listed.
    pub(crate) pods: Option<Vec<Pod>>,
    /// Its Deployments.
    pub(crate) deployments: Option<Vec<Deployment>>,
    /// Its network policies.
    pub(crate) policies: Option<Vec<NetworkPolicy>>,
    /// Its limit ranges.
    pub(crate) limits: Vec<LimitRange>,
    /// Claims that its proxies name.
    pub(crate) claims: BTreeMap<String, Sought<PersistentVolumeClaim>>,
    /// Secrets that its proxies name, and those with certificates.
    pub(crate) secrets: BTreeMap<String, Sought<Secret>>,
    /// ConfigMaps that `envFrom` of its pods names.
    pub(crate) config_maps: ConfigMaps,
}

impl NamespaceState {
    /// Begins a namespace that will be read.
    pub(crate) fn named(name: &str, labels: Option<BTreeMap<String, String>>) -> Self {
        Self {
            name: name.into(),
            labels,
            ..Self::default()
        }
    }

    /// Returns whether one of its proxies offers interception of TLS.
    pub(crate) fn intercepts(&self) -> bool {
        self.proxies.iter().any(intercepts)
    }

    /// Iterates over the pods of a proxy's workers.
    pub(crate) fn workers<'a>(&'a self, proxy: &str) -> impl Iterator<Item = &'a Pod> {
        self.component(proxy, Component::Worker)
    }

    /// Iterates over the pods of a proxy's gateway.
    pub(crate) fn gateways<'a>(&'a self, proxy: &str) -> impl Iterator<Item = &'a Pod> {
        self.component(proxy, Component::Gateway)
    }

    /// Returns the proxy of whose gateway a pod is one.
    pub(crate) fn gateway_of(&self, pod: &Pod) -> Option<&LiquidMemoryProxy> {
        let mut proxies = self.proxies.iter();
        proxies.find(|proxy| pod_selector(&proxy.name_any(), Component::Gateway).matches(pod.labels()))
    }

    fn component<'a>(&'a self, proxy: &str, component: Component) -> impl Iterator<Item = &'a Pod> {
        let selector = pod_selector(proxy, component);
        let pods = self.pods.iter().flatten();
        pods.filter(move |pod| selector.matches(pod.labels()))
    }

    /// Returns a Deployment by its name.
    pub(crate) fn deployment(&self, name: &str) -> Option<&Deployment> {
        let mut deployments = self.deployments.iter().flatten();
        deployments.find(|deployment| deployment.metadata.name.as_deref() == Some(name))
    }

    /// Returns a proxy by its name.
    pub(crate) fn proxy(&self, name: &str) -> Option<&LiquidMemoryProxy> {
        let mut proxies = self.proxies.iter();
        proxies.find(|proxy| proxy.metadata.name.as_deref() == Some(name))
    }
}

/// Lists the claims that hold a proxy's models.
pub(crate) fn list_claims(proxy: &LiquidMemoryProxy) -> impl Iterator<Item = &ClaimModel> {
    let decoder = proxy.spec.decoder.as_ref();
    let claims = [
        proxy.spec.model.source.persistent_volume_claim.as_ref(),
        decoder.and_then(|decoder| decoder.source.persistent_volume_claim.as_ref()),
    ];
    claims.into_iter().flatten()
}

/// Who shows a certificate that the operator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    Worker,
    Sidecar,
    /// Sidecars, for intercepted hosts.
    Interception,
    Gateway,
}

impl Holder {
    /// Returns the stable name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Sidecar => "sidecar",
            Self::Interception => "interception",
            Self::Gateway => "gateway",
        }
    }

    /// Says which certificate it is.
    pub(crate) fn certificate(self) -> &'static str {
        match self {
            Self::Worker => "the workers' certificate",
            Self::Sidecar => "the sidecars' certificate",
            Self::Interception => "the certificate for intercepted hosts",
            Self::Gateway => "the gateway's certificate",
        }
    }
}

/// Lists the Secrets in which the operator keeps a proxy's certificates, by their names. One for the gateway that the proxy
/// names is not among them.
pub(crate) fn list_certificates(proxy: &LiquidMemoryProxy) -> Vec<(Holder, String)> {
    let name = proxy.name_any();
    let mut all = vec![
        (Holder::Worker, names::worker_tls(&name)),
        (Holder::Sidecar, names::sidecar_tls(&name)),
    ];
    if intercepts(proxy) {
        all.push((Holder::Interception, names::interception_tls(&name)));
    }
    let gateway = proxy.spec.gateway.as_ref();
    if gateway.is_some_and(Gateway::has_own_certificate) {
        all.push((Holder::Gateway, names::gateway_tls(&name)));
    }
    all
}

/// Reads the rest of a namespace.
pub(super) async fn read(reader: &Reader, mut state: NamespaceState, depth: Depth) -> NamespaceState {
    let name = state.name.clone();
    let own = Some(name.as_str());
    state.pods = reader.list(reader.api(own), None).await;
    if depth == Depth::Workloads {
        return state;
    }
    let (deployments, policies, limits) = tokio::join!(
        reader.list(reader.api(own), None),
        reader.list(reader.api(own), None),
        reader.list(reader.api(own), None),
    );
    state.deployments = deployments;
    state.policies = policies;
    state.limits = limits.unwrap_or_default();
    state.claims = read_claims(reader, &state).await;
    state.secrets = read_secrets(reader, &state).await;
    state.config_maps = read_config_maps(reader, &state).await;
    state
}

/// Returns whether a proxy offers interception of TLS.
fn intercepts(proxy: &LiquidMemoryProxy) -> bool {
    proxy.spec.injection.tls_interception.is_some()
}

async fn read_claims(
    reader: &Reader,
    state: &NamespaceState,
) -> BTreeMap<String, Sought<PersistentVolumeClaim>> {
    let claims = state.proxies.iter().flat_map(list_claims);
    let names: BTreeSet<&str> = claims.map(|claim| claim.claim_name.as_str()).collect();
    let reads = names.into_iter().map(|name| async {
        let claim = reader.get(reader.api(Some(&state.name)), name).await;
        (name.to_owned(), claim)
    });
    join_all(reads).await.into_iter().collect()
}

async fn read_secrets(reader: &Reader, state: &NamespaceState) -> BTreeMap<String, Sought<Secret>> {
    let mut wanted = BTreeSet::new();
    for proxy in &state.proxies {
        wanted.extend(list_certificates(proxy).into_iter().map(|(_, secret)| secret));
        let keys = proxy
            .spec
            .synthesis
            .iter()
            .flat_map(|synthesis| synthesis.list_secrets());
        wanted.extend(keys.map(|key| key.name.clone()));
    }
    let reads = wanted.into_iter().map(|name| async {
        let secret = reader.get(reader.api(Some(&state.name)), &name).await;
        (name, secret)
    });
    join_all(reads).await.into_iter().collect()
}

/// Reads the ConfigMaps that may hold a base URL. One that is missing counts as unknown, as it does at injection.
async fn read_config_maps(reader: &Reader, state: &NamespaceState) -> ConfigMaps {
    let pods = state.pods.iter().flatten().filter_map(|pod| pod.spec.as_ref());
    let containers = pods.flat_map(|spec| {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
    });
    let sources = containers.flat_map(|container| container.env_from.iter().flatten());
    let names: BTreeSet<&str> = sources
        .filter_map(|source| Some(source.config_map_ref.as_ref()?.name.as_str()))
        .collect();
    let reads = names.into_iter().map(|name| async {
        let found: Sought<ConfigMap> = reader.get(reader.api(Some(&state.name)), name).await;
        let data = match found {
            Sought::Found(found) => ConfigMapData::Known(found.data.unwrap_or_default()),
            Sought::Absent | Sought::Unknown => ConfigMapData::Unknown,
        };
        (name.to_owned(), data)
    });
    join_all(reads).await.into_iter().collect()
}
