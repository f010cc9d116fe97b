//! The cluster behind [`Source`]: a watched cache of all proxies, and the few calls that a review may make.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use kube::api::ListParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::source::Source;
use crate::api::reasons::ConditionType;
use crate::api::{self, GuardedProxy, LiquidMemoryProxy};
use crate::inject::{ConfigMapData, MountedKey, Proxy, SidecarResources};
use crate::pki::keeper::{CertificateNeed, Holder, Holders, Needs};

/// A watched cache of all proxies, and a client for what is not in it.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    proxies: Store<GuardedProxy>,
    changed: Arc<Notify>,
}

impl Cluster {
    /// Starts to watch. The returned future has to be run, and ends with `stop`.
    pub fn follow(client: Client, stop: CancellationToken) -> (Self, impl Future<Output = ()>) {
        let (proxies, writer) = reflector::store();
        let changed = Arc::new(Notify::new());
        let cluster = Self {
            client: client.clone(),
            proxies,
            changed: Arc::clone(&changed),
        };
        let events = watcher(Api::<GuardedProxy>::all(client), watcher::Config::default());
        // The largest part of a small object, and nobody's business here.
        let events = events.modify(|proxy| proxy.meta_mut().managed_fields = None);
        let run = async move {
            let events = reflector::reflector(writer, events.default_backoff());
            let mut events = std::pin::pin!(events);
            let mut known = HashMap::new();
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    event = events.next() => match event {
                        Some(Ok(event)) => if is_news(&mut known, &event) {
                            changed.notify_one();
                        },
                        Some(Err(error)) => {
                            tracing::warn!(%error, "the watch of the proxies broke and starts again");
                        }
                        None => return,
                    },
                }
            }
        };
        (cluster, run)
    }

    /// Waits until all proxies are known.
    pub async fn wait_until_known(&self) {
        // An error means that the watch has ended, and with it this process.
        let _ = self.proxies.wait_until_ready().await;
    }

    /// Lists all proxies by namespace, from the watched cache.
    pub fn proxies_by_namespace(&self) -> HashMap<String, Vec<Proxy>> {
        let mut all = HashMap::<String, Vec<Proxy>>::new();
        for proxy in self.proxies.state() {
            let found = proxy.0.as_ref().ok().and_then(to_injection);
            if let (Some(namespace), Some(found)) = (proxy.namespace(), found) {
                all.entry(namespace).or_default().push(found);
            }
        }
        all
    }

    /// Returns whether a proxy serves calls, by its status.
    pub fn is_proxy_ready(&self, namespace: &str, proxy: &str) -> bool {
        let found = self.proxies.get(&ObjectRef::new(proxy).within(namespace));
        let status = found
            .as_ref()
            .and_then(|found| found.0.as_ref().ok()?.status.as_ref());
        let ready = status.and_then(|status| status.condition(ConditionType::Ready));
        ready.is_some_and(|ready| ready.status == "True")
    }

    /// Returns what is notified when a proxy is created, or needs other certificates.
    pub fn notifier(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Returns a function that lists the proxies whose workers and sidecars need certificates. Proxies that
    /// cannot be read are among them: their workers run.
    pub fn lister(&self) -> Holders {
        let proxies = self.proxies.clone();
        Arc::new(move || {
            proxies
                .state()
                .iter()
                .filter_map(|proxy| to_holder(proxy))
                .collect()
        })
    }
}

/// Returns true if a proxy was created, or needs other certificates. Most changes are of the status, which the
/// operator writes itself.
fn is_news(known: &mut HashMap<String, Needs>, event: &Event<GuardedProxy>) -> bool {
    match event {
        Event::Apply(proxy) | Event::InitApply(proxy) => {
            let needs = read_needs(proxy);
            let before = proxy.uid().map(|uid| known.insert(uid, needs));
            before.is_some_and(|before| before != Some(needs))
        }
        Event::Delete(proxy) => {
            if let Some(uid) = proxy.uid() {
                known.remove(&uid);
            }
            false
        }
        // The store shows the proxies of a first list only now.
        Event::InitDone => true,
        Event::Init => false,
    }
}

fn to_holder(proxy: &GuardedProxy) -> Option<Holder> {
    if proxy.meta().deletion_timestamp.is_some() {
        return None;
    }
    Some(Holder {
        namespace: proxy.namespace()?,
        name: proxy.name_any(),
        needs: read_needs(proxy),
        owner: proxy.controller_owner_ref(&())?,
    })
}

fn read_needs(proxy: &GuardedProxy) -> Needs {
    let Ok(proxy) = &proxy.0 else {
        return Needs {
            gateway: CertificateNeed::AsBefore,
            interception: CertificateNeed::AsBefore,
        };
    };
    let gateway = proxy.spec.gateway.as_ref();
    let gateway = match gateway.is_some_and(api::Gateway::has_own_certificate) {
        true => CertificateNeed::Needed,
        false => CertificateNeed::NotNeeded,
    };
    let interception = match proxy.spec.injection.tls_interception {
        Some(_) => CertificateNeed::Needed,
        // Pods of before go on intercepting, and mount it when they are started again.
        None => CertificateNeed::AsBefore,
    };
    Needs {
        gateway,
        interception,
    }
}

impl Source for Cluster {
    fn proxies(&self, namespace: &str) -> Vec<Proxy> {
        let all = self.proxies.state();
        let here = all
            .iter()
            .filter(|proxy| proxy.meta().namespace.as_deref() == Some(namespace));
        here.filter_map(|proxy| proxy.0.as_ref().ok().and_then(to_injection))
            .collect()
    }

    async fn proxies_now(&self, namespace: &str) -> Option<Vec<Proxy>> {
        let proxies: Api<GuardedProxy> = Api::namespaced(self.client.clone(), namespace);
        match proxies.list(&ListParams::default()).await {
            Ok(list) => Some(
                list.iter()
                    .filter_map(|proxy| to_injection(proxy.0.as_ref().ok()?))
                    .collect(),
            ),
            Err(error) => {
                tracing::warn!(%error, namespace, "the proxies could not be listed");
                None
            }
        }
    }

    async fn config_map(&self, namespace: &str, name: &str) -> ConfigMapData {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        match config_maps.get_opt(name).await {
            Ok(Some(found)) => ConfigMapData::Known(found.data.unwrap_or_default()),
            Ok(None) => ConfigMapData::Unknown,
            Err(error) => {
                tracing::warn!(%error, namespace, name, "a ConfigMap could not be read");
                ConfigMapData::Unknown
            }
        }
    }

    fn reference(&self, namespace: &str, proxy: &str) -> ObjectReference {
        let all = self.proxies.state();
        let found = all.iter().find(|found| {
            found.meta().namespace.as_deref() == Some(namespace)
                && found.meta().name.as_deref() == Some(proxy)
        });
        ObjectReference {
            api_version: Some(LiquidMemoryProxy::api_version(&()).into()),
            kind: Some(LiquidMemoryProxy::kind(&()).into()),
            namespace: Some(namespace.into()),
            name: Some(proxy.into()),
            uid: found.and_then(|found| found.uid()),
            ..ObjectReference::default()
        }
    }
}

/// Converts a proxy to what injection needs of it. None if it is being deleted, or if a port is out of range,
/// which the rules of the definition exclude.
pub fn to_injection(proxy: &LiquidMemoryProxy) -> Option<Proxy> {
    let meta = &proxy.metadata;
    if meta.deletion_timestamp.is_some() {
        return None;
    }
    let injection = &proxy.spec.injection;
    let keys = proxy
        .spec
        .synthesis
        .iter()
        .flat_map(|synthesis| synthesis.list_secrets());
    Some(Proxy {
        name: meta.name.clone()?,
        image: injection.image.clone(),
        user: injection.user,
        created: meta.creation_timestamp.as_ref().map(|time| time.0),
        port: injection.port.try_into().ok()?,
        admin_port: injection.admin_port.try_into().ok()?,
        resources: read_resources(&injection.resources),
        keys: keys
            .map(|key| MountedKey {
                path: format!("{}/{}", key.name, key.key),
                secret: key.name.clone(),
                key: key.key.clone(),
            })
            .collect(),
        tls_interception: injection.tls_interception.as_ref().map(|found| found.pods),
    })
}

fn read_resources(resources: &api::Resources) -> SidecarResources {
    let get = |side: &std::collections::BTreeMap<String, _>, key: &str| {
        let quantity: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity> = side.get(key);
        quantity.map(|quantity| quantity.0.clone())
    };
    SidecarResources {
        cpu_request: get(&resources.requests, "cpu"),
        cpu_limit: get(&resources.limits, "cpu"),
        memory_request: get(&resources.requests, "memory"),
        memory_limit: get(&resources.limits, "memory"),
    }
}
