//! What all objects have in common: names, labels, the owner.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;

use super::BuildError;
use crate::api::LiquidMemoryProxy;
use crate::names;

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
    pub(super) fn build_meta(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.into()),
            labels: Some(labels(self.name)),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }
}

/// Labels of every object of a proxy, its workers' pods included.
pub fn labels(proxy: &str) -> BTreeMap<String, String> {
    let mut labels = selector(proxy);
    labels.insert("app.kubernetes.io/managed-by".into(), names::FIELD_MANAGER.into());
    labels
}

/// Labels by which the workers' pods are found.
pub fn selector(proxy: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "liquid-memory"),
        ("app.kubernetes.io/component", "worker"),
        ("app.kubernetes.io/instance", proxy),
    ]
    .into_iter()
    .map(|(name, value)| (name.into(), value.into()))
    .collect()
}

/// Selector of the workers' pods.
pub(super) fn label_selector(proxy: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(selector(proxy)),
        ..LabelSelector::default()
    }
}

/// Builds a ConfigMap with one file.
pub(super) fn build_config_map(owner: &ProxyRef<'_>, name: String, file: &str, text: String) -> ConfigMap {
    ConfigMap {
        metadata: owner.build_meta(name),
        data: Some([(file.into(), text)].into()),
        ..ConfigMap::default()
    }
}
