//! What the handler has to know of the cluster: a small trait, so that tests need none.

use std::future::Future;

use k8s_openapi::api::core::v1::ObjectReference;

use crate::inject::{Keys, Proxy};

/// The cluster as the handler sees it.
pub trait Source: Send + Sync + 'static {
    /// The proxies of a namespace, from a watched cache.
    fn proxies(&self, namespace: &str) -> Vec<Proxy>;

    /// The same, asked of the API server; nothing if it does not answer.
    fn proxies_now(&self, namespace: &str) -> impl Future<Output = Option<Vec<Proxy>>> + Send;

    /// What a ConfigMap holds.
    fn config_map(&self, namespace: &str, name: &str) -> impl Future<Output = Keys> + Send;

    /// How an Event names a proxy.
    fn reference(&self, namespace: &str, proxy: &str) -> ObjectReference;
}
