//! What all objects have in common: names, labels, the owner.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use kube::core::Selector;

use super::BuildError;
use crate::api::LiquidMemoryProxy;
use crate::names;

/// What a proxy's pods do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// They find evidence.
    Worker,
    /// They take the calls of applications that are not injected.
    Gateway,
}

impl Component {
    /// Returns the value of the label `app.kubernetes.io/component`.
    fn label(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Gateway => "gateway",
        }
    }

    /// Returns the name of its Deployment, and of what goes with it.
    pub(super) fn object_name(self, proxy: &str) -> String {
        match self {
            Self::Worker => names::workers(proxy),
            Self::Gateway => names::gateway(proxy),
        }
    }
}

/// The proxy that owns objects.
pub(super) struct ProxyRef<'a> {
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    owner: OwnerReference,
}

impl<'a> ProxyRef<'a> {
    /// Reads name, namespace and uid of a proxy that comes from an API server.
    pub(super) fn new(proxy: &'a LiquidMemoryProxy) -> Result<Self, BuildError> {
        let meta = &proxy.metadata;
        Ok(Self {
            name: meta.name.as_deref().ok_or(BuildError::Metadata("name"))?,
            namespace: meta
                .namespace
                .as_deref()
                .ok_or(BuildError::Metadata("namespace"))?,
            owner: proxy
                .controller_owner_ref(&())
                .ok_or(BuildError::Metadata("uid"))?,
        })
    }

    /// Builds the metadata of an object that the proxy owns.
    pub(super) fn build_meta(&self, name: String, component: Component) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.into()),
            labels: Some(labels(self.name, component)),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }
}

/// Labels of every object of a proxy, its pods included.
pub fn labels(proxy: &str, component: Component) -> BTreeMap<String, String> {
    let mut labels = selector(proxy, component);
    labels.insert("app.kubernetes.io/managed-by".into(), names::FIELD_MANAGER.into());
    labels
}

/// Labels by which the pods of a component are found.
pub fn selector(proxy: &str, component: Component) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "liquid-memory"),
        ("app.kubernetes.io/component", component.label()),
        ("app.kubernetes.io/instance", proxy),
    ]
    .into_iter()
    .map(|(name, value)| (name.into(), value.into()))
    .collect()
}

/// Selector of the pods of a component, for lists and for pods that are there.
pub fn pod_selector(proxy: &str, component: Component) -> Selector {
    selector(proxy, component).into_iter().collect()
}

/// Selector of the pods of a component, as objects have it.
pub(super) fn label_selector(proxy: &str, component: Component) -> LabelSelector {
    LabelSelector {
        match_labels: Some(selector(proxy, component)),
        ..LabelSelector::default()
    }
}

/// Builds a ConfigMap with one file.
pub(super) fn build_config_map(metadata: ObjectMeta, file: &str, text: String) -> ConfigMap {
    ConfigMap {
        metadata,
        data: Some([(file.into(), text)].into()),
        ..ConfigMap::default()
    }
}
