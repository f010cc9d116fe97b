//! What the handler has to know of the cluster, as a small trait, so that tests need no cluster.

use std::future::Future;

use k8s_openapi::api::core::v1::ObjectReference;

use crate::inject::{ConfigMapData, Proxy};

/// The cluster as the handler sees it.
pub trait Source: Send + Sync + 'static {
    /// Lists the proxies of a namespace, from a watched cache.
    fn proxies(&self, namespace: &str) -> Vec<Proxy>;

    /// Lists the proxies of a namespace, asked of the API server; none if it does not answer.
    fn proxies_now(&self, namespace: &str) -> impl Future<Output = Option<Vec<Proxy>>> + Send;

    /// Reads a ConfigMap.
    fn config_map(&self, namespace: &str, name: &str) -> impl Future<Output = ConfigMapData> + Send;

    /// Builds the reference by which Events name a proxy.
    fn reference(&self, namespace: &str, proxy: &str) -> ObjectReference;
}
