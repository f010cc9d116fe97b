//! What the watches have shown of proxies, their objects and their pods: read where the API server would have to be asked.
//!
//! It may be a moment behind. A change wakes its proxy once it is here; what a watch has missed is here after its next list,
//! and found when the proxy is looked at again, half a minute later.
//!
//! Kept is what decisions need: of most objects the metadata, of none `managedFields`, the largest part of a small one.

use std::fmt::Debug;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodTemplateSpec, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{PartialObjectMeta, SelectorExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::store::{Writer, WriterDropped};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use liquid_contract::files::WORKER_CONFIG;
use serde::de::DeserializeOwned;

use super::context::ProxyKey;
use crate::api::GuardedProxy;
use crate::objects::{Component, pod_selector};

#[cfg(test)]
mod tests;

/// Labels of the objects of workers and gateways, and of their pods. Published authorities, which are large, have no
/// component.
const OURS: &str = "app.kubernetes.io/managed-by=liquid-operator,app.kubernetes.io/component";

/// Objects as the watches have shown them.
pub(super) struct Cache {
    pub(super) deployments: Store<Deployment>,
    pub(super) config_maps: Store<ConfigMap>,
    pub(super) services: Store<PartialObjectMeta<Service>>,
    pub(super) accounts: Store<PartialObjectMeta<ServiceAccount>>,
    pub(super) policies: Store<PartialObjectMeta<NetworkPolicy>>,
    pub(super) budgets: Store<PartialObjectMeta<PodDisruptionBudget>>,
    pub(super) autoscalers: Store<PartialObjectMeta<HorizontalPodAutoscaler>>,
    pods: Store<Pod>,
}

/// The ends at which a cache is written.
#[derive(Default)]
pub(super) struct Writers {
    proxies: Writer<GuardedProxy>,
    deployments: Writer<Deployment>,
    config_maps: Writer<ConfigMap>,
    services: Writer<PartialObjectMeta<Service>>,
    accounts: Writer<PartialObjectMeta<ServiceAccount>>,
    policies: Writer<PartialObjectMeta<NetworkPolicy>>,
    budgets: Writer<PartialObjectMeta<PodDisruptionBudget>>,
    autoscalers: Writer<PartialObjectMeta<HorizontalPodAutoscaler>>,
    pods: Writer<Pod>,
}

impl Writers {
    /// Returns the cache that is written here.
    pub(super) fn open(&self) -> Cache {
        Cache {
            deployments: self.deployments.as_reader(),
            config_maps: self.config_maps.as_reader(),
            services: self.services.as_reader(),
            accounts: self.accounts.as_reader(),
            policies: self.policies.as_reader(),
            budgets: self.budgets.as_reader(),
            autoscalers: self.autoscalers.as_reader(),
            pods: self.pods.as_reader(),
        }
    }

    /// Creates the controller whose watches write the cache and trigger reconciliations: an object is in the cache before its
    /// proxy is reconciled for it.
    pub(super) fn watch(self, client: &Client) -> Controller<GuardedProxy> {
        let proxies = self.proxies.as_reader();
        let (all, ours) = (
            watcher::Config::default(),
            watcher::Config::default().labels(OURS),
        );
        Controller::for_stream(follow(client, &all, self.proxies, |_| {}), proxies)
            .owns_stream(follow(client, &ours, self.deployments, trim_deployment))
            .owns_stream(follow(client, &ours, self.config_maps, trim_config_map))
            .owns_stream(follow(client, &ours, self.services, trim_metadata))
            .owns_stream(follow(client, &ours, self.accounts, trim_metadata))
            .owns_stream(follow(client, &ours, self.policies, trim_metadata))
            .owns_stream(follow(client, &ours, self.budgets, trim_metadata))
            .owns_stream(follow(client, &ours, self.autoscalers, trim_metadata))
            .watches_stream(follow(client, &ours, self.pods, trim_pod), find_proxy_of_pod)
    }
}

/// Watches the objects of a kind in all namespaces, and keeps them trimmed. An error is logged and not passed on: the
/// controller would pause all watches for it.
fn follow<K>(
    client: &Client,
    which: &watcher::Config,
    writer: Writer<K>,
    trim: fn(&mut K),
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let events = watcher(Api::<K>::all(client.clone()), which.clone()).default_backoff();
    let trimmed = events.modify(move |object| {
        object.meta_mut().managed_fields = None;
        trim(object);
    });
    trimmed
        .reflect(writer)
        .touched_objects()
        .filter_map(async |touched| {
            let error = match touched {
                Ok(object) => return Some(Ok(object)),
                Err(error) => error,
            };
            tracing::warn!(%error, kind = %K::kind(&()), "a watch was interrupted and goes on");
            None
        })
}

/// Leaves out the pods' template: what was applied is in an annotation.
fn trim_deployment(deployment: &mut Deployment) {
    if let Some(spec) = &mut deployment.spec {
        spec.template = PodTemplateSpec::default();
    }
}

/// Leaves out all texts but the workers' configuration.
fn trim_config_map(config: &mut ConfigMap) {
    if let Some(data) = &mut config.data {
        data.retain(|file, _| file == WORKER_CONFIG);
    }
}

fn trim_metadata<K>(object: &mut PartialObjectMeta<K>) {
    object.metadata.annotations = None;
    object.metadata.labels = None;
}

fn trim_pod(pod: &mut Pod) {
    pod.metadata.annotations = None;
    pod.spec = None;
}

/// Maps a pod of workers or gateway to its proxy. The pod belongs to a ReplicaSet; its label names the proxy.
fn find_proxy_of_pod(pod: Pod) -> Option<ObjectRef<GuardedProxy>> {
    let name = pod.labels().get("app.kubernetes.io/instance")?;
    Some(ObjectRef::new(name).within(&pod.namespace()?))
}

impl Cache {
    /// Waits until everything is known. Fails where the watches have ended.
    pub(super) async fn wait_until_known(&self) -> Result<(), WriterDropped> {
        self.deployments.wait_until_ready().await?;
        self.config_maps.wait_until_ready().await?;
        self.services.wait_until_ready().await?;
        self.accounts.wait_until_ready().await?;
        self.policies.wait_until_ready().await?;
        self.budgets.wait_until_ready().await?;
        self.autoscalers.wait_until_ready().await?;
        self.pods.wait_until_ready().await
    }

    /// Lists the pods of a proxy's component.
    pub(super) fn list_pods(&self, proxy: &ProxyKey, component: Component) -> Vec<Pod> {
        let selector = pod_selector(&proxy.name, component);
        let own = self.pods.state_filter(|pod| {
            pod.metadata.namespace.as_ref() == Some(&proxy.namespace) && selector.matches(pod.labels())
        });
        own.into_iter().map(Arc::unwrap_or_clone).collect()
    }
}

/// Returns an object of a namespace as a watch has shown it.
pub(super) fn find<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name).within(namespace))
}
