//! The watchdog: finds opted-in pods that have no sidecar, says so, and if it is told to has them created again.
//!
//! A pod can lack the sidecar although it is opted in: it was created before its namespace opted in, or while no operator
//! answered and `failurePolicy` was `Ignore`. The webhook never sees such a pod again.
//!
//! # Expected flow
//! The leader watches the metadata of pods and namespaces. A pod without the annotation that injection sets, in a namespace
//! that opts in and has a proxy, is read once, and the decision of [`crate::inject`] says what its absence means
//! ([`absence`]). What is found becomes Events on the pods, the condition `PodsInjected` of their proxy, and a metric. With
//! `evict` the pods of controllers that replace them are evicted, one after the other (`mender`).
//!
//! # Guarantees
//! - A pod that is not opted in, is left alone by injection, or would be refused, is never evicted; nor is one that nothing
//!   replaces. The Eviction API decides last, so that disruption budgets hold.
//! - What is kept is small: pods with the sidecar are forgotten at once.

pub mod absence;
mod candidates;
mod mender;
mod mending;
pub mod selection;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Namespace, ObjectReference, Pod};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::api::reasons::EventReason;
use crate::config::Settings;
use crate::controller::{MissedPod, MissedPods};
use crate::events::{self, NOTE_BYTES, shorten};
use crate::inject::SidecarDefaults;
use crate::telemetry::Metrics;
use crate::webhook::cluster::Cluster;
use candidates::{Candidate, Candidates, PodMetadata};
use mender::Mender;
use verdict::{Basis, Surroundings, Verdict, build_reference, describe, judge_pod};

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(10);
/// Time between two rounds as long as pods are left that were not read.
const BACKLOG: Duration = Duration::from_secs(1);
/// Longest time for a round.
const LONGEST: Duration = Duration::from_secs(60);
/// How long the webhook's configuration counts as read.
const WEBHOOK_EVERY: Duration = Duration::from_secs(60);
/// Number of pods that are read in a round.
const PODS: usize = 64;
/// Number of pods that are read at a time.
const AT_A_TIME: usize = 8;
/// Number of Events that are written in a round.
const EVENTS: usize = 20;

type NamespaceMetadata = PartialObjectMeta<Namespace>;

/// What the installation decides about the watchdog.
#[derive(Clone, Debug)]
pub struct WatchdogSettings {
    /// Name of the MutatingWebhookConfiguration.
    pub webhook: String,
    /// What the installation decides for every sidecar.
    pub defaults: SidecarDefaults,
    /// Whether pods are evicted.
    pub evict: bool,
}

impl From<&Settings> for WatchdogSettings {
    fn from(settings: &Settings) -> Self {
        Self {
            webhook: settings.webhook_name.clone(),
            defaults: settings.sidecar_defaults(),
            evict: settings.evict_pods,
        }
    }
}

/// The watchdog of one term as leader.
pub struct Watchdog {
    client: Client,
    cluster: Cluster,
    settings: WatchdogSettings,
    recorder: Recorder,
    metrics: Arc<Metrics>,
    missed: Arc<MissedPods>,
    webhook: Option<ReadWebhook>,
    /// What the verdicts about a namespace's pods are made from.
    bases: HashMap<String, Basis>,
    /// Verdicts by the pod's uid.
    verdicts: HashMap<String, Verdict>,
    /// Pods that have an Event, by uid.
    told: HashSet<String>,
    mender: Mender,
}

/// The webhook's configuration as it was read last.
#[derive(Clone)]
struct ReadWebhook {
    when: Instant,
    /// None where there is none.
    found: Option<Arc<MutatingWebhookConfiguration>>,
}

impl Watchdog {
    /// Creates the watchdog of a term. What it finds goes to `missed` and `metrics`. The client must not try again by itself:
    /// a disruption budget is answered with 429, and a round that fails is followed by another.
    pub fn new(
        client: Client,
        cluster: Cluster,
        settings: WatchdogSettings,
        recorder: Recorder,
        metrics: Arc<Metrics>,
        missed: Arc<MissedPods>,
    ) -> Self {
        Self {
            client,
            cluster,
            settings,
            recorder,
            metrics,
            missed,
            webhook: None,
            bases: HashMap::new(),
            verdicts: HashMap::new(),
            told: HashSet::new(),
            mender: Mender::default(),
        }
    }

    /// Watches until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let (namespaces, writer) = reflector::store();
        let all = Api::<NamespaceMetadata>::all(self.client.clone());
        let follow = async {
            let events = watcher(all, watcher::Config::default()).modify(|namespace| {
                namespace.metadata.annotations = None;
                namespace.metadata.managed_fields = None;
            });
            let events = reflector::reflector(writer, events.default_backoff());
            events.for_each(|_| std::future::ready(())).await;
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow => {}
            () = self.watch_pods(&namespaces) => {}
        }
    }

    async fn watch_pods(&mut self, namespaces: &Store<NamespaceMetadata>) {
        // The API server leaves out pods that have ended: one that ends goes, as the watch shows it.
        let running = watcher::Config::default().fields("status.phase!=Succeeded,status.phase!=Failed");
        let pods = watcher(Api::<PodMetadata>::all(self.client.clone()), running).default_backoff();
        let mut pods = std::pin::pin!(pods);
        let mut candidates = Candidates::default();
        let mut next = Instant::now();
        if namespaces.wait_until_ready().await.is_err() {
            return;
        }
        loop {
            tokio::select! {
                event = pods.next() => match event {
                    Some(Ok(event)) => candidates.apply(event),
                    Some(Err(error)) => tracing::warn!(%error, "the watch of the pods broke and starts again"),
                    None => return,
                },
                () = sleep_until(next), if candidates.is_known() => {
                    let look = self.look(&mut candidates, namespaces);
                    let pause = match timeout(LONGEST, look).await {
                        Ok(Ok(Backlog(true))) => BACKLOG,
                        Ok(Ok(Backlog(false))) => EVERY,
                        Ok(Err(error)) => {
                            tracing::warn!(%error, "pods without a sidecar could not be looked for");
                            EVERY
                        }
                        Err(_) => {
                            tracing::warn!("the API server did not answer while pods without a sidecar were looked for");
                            EVERY
                        }
                    };
                    next = Instant::now() + pause;
                }
            }
        }
    }

    /// Looks at the pods that may lack the sidecar, and says what is found.
    async fn look(
        &mut self,
        candidates: &mut Candidates,
        namespaces: &Store<NamespaceMetadata>,
    ) -> Result<Backlog, kube::Error> {
        let around = collect_namespaces(candidates, namespaces, &self.cluster);
        let suspects: Vec<&Candidate> = candidates
            .iter()
            .filter(|pod| around.get(&pod.namespace).is_some_and(|it| it.may_miss(pod)))
            .collect();
        let webhook = match suspects.is_empty() {
            true => None,
            false => self.read_webhook().await?,
        };
        self.drop_stale(&suspects, &around, webhook.as_deref());
        let mut unread = suspects;
        unread.retain(|pod| !self.verdicts.contains_key(&pod.uid));
        let backlog = unread.len() > PODS;
        let reads = unread.into_iter().take(PODS).filter_map(|pod| {
            let around = around.get(&pod.namespace)?;
            Some(self.judge(pod.clone(), around, webhook.as_deref()))
        });
        let reads = futures::stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(AT_A_TIME);
        let judged: Vec<Option<Verdict>> = reads.collect().await;
        for verdict in judged.into_iter().flatten() {
            self.verdicts.insert(verdict.candidate.uid.clone(), verdict);
        }
        if !backlog {
            self.publish();
        }
        self.tell().await;
        if self.settings.evict {
            self.mend(candidates, webhook.is_some()).await?;
        }
        Ok(Backlog(backlog))
    }

    async fn read_webhook(&mut self) -> Result<Option<Arc<MutatingWebhookConfiguration>>, kube::Error> {
        if let Some(read) = self
            .webhook
            .as_ref()
            .filter(|read| read.when.elapsed() < WEBHOOK_EVERY)
        {
            return Ok(read.found.clone());
        }
        let webhooks = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
        let found = webhooks.get_opt(&self.settings.webhook).await?.map(Arc::new);
        self.webhook = Some(ReadWebhook {
            when: Instant::now(),
            found: found.clone(),
        });
        Ok(found)
    }

    /// Drops the verdicts about pods that are gone or no longer suspect, and those whose basis has changed.
    fn drop_stale(
        &mut self,
        suspects: &[&Candidate],
        around: &BTreeMap<String, Surroundings>,
        webhook: Option<&MutatingWebhookConfiguration>,
    ) {
        let version = webhook.and_then(|webhook| webhook.metadata.resource_version.clone());
        let bases: HashMap<String, Basis> = around
            .iter()
            .map(|(name, around)| (name.clone(), around.to_basis(version.clone())))
            .collect();
        let present: HashMap<&str, &Candidate> =
            suspects.iter().map(|pod| (pod.uid.as_str(), *pod)).collect();
        self.verdicts.retain(|uid, verdict| {
            let namespace = &verdict.candidate.namespace;
            present.get(uid.as_str()) == Some(&&verdict.candidate)
                && bases.get(namespace) == self.bases.get(namespace)
        });
        self.told.retain(|uid| present.contains_key(uid.as_str()));
        self.bases = bases;
    }

    /// Reads a pod and judges it; none if it is gone, or cannot be read now.
    async fn judge(
        &self,
        candidate: Candidate,
        around: &Surroundings,
        webhook: Option<&MutatingWebhookConfiguration>,
    ) -> Option<Verdict> {
        let pods = Api::<DynamicObject>::namespaced_with(
            self.client.clone(),
            &candidate.namespace,
            &ApiResource::erase::<Pod>(&()),
        );
        let found = match find_by_name(&pods, &candidate.name).await {
            Ok(found) => found?,
            Err(error) => {
                let Candidate { namespace, name, .. } = &candidate;
                tracing::warn!(%error, namespace, pod = name, "a pod could not be read");
                return None;
            }
        };
        let same = found.metadata.uid.as_ref() == Some(&candidate.uid);
        same.then(|| judge_pod(candidate, &found, around, webhook, &self.settings.defaults))
    }

    /// Says how many pods of each namespace and proxy are missed.
    fn publish(&self) {
        let mut namespaces = BTreeMap::new();
        let mut pods = Vec::new();
        for Verdict { candidate, proxy, .. } in self.verdicts.values().filter(|verdict| verdict.is_missed()) {
            *namespaces.entry(candidate.namespace.clone()).or_default() += 1;
            pods.extend(proxy.clone().map(|proxy| MissedPod {
                namespace: candidate.namespace.clone(),
                proxy,
                pod: candidate.name.clone(),
            }));
        }
        self.metrics.set_pods_without_sidecar(&namespaces);
        self.missed.replace(pods);
    }

    /// Writes an Event about each missed pod that has none yet.
    async fn tell(&mut self) {
        let untold = self.verdicts.values().filter(|verdict| verdict.is_missed());
        let untold: Vec<Verdict> = untold
            .filter(|verdict| !self.told.contains(&verdict.candidate.uid))
            .take(EVENTS)
            .cloned()
            .collect();
        for verdict in untold {
            let note = describe(&verdict);
            let pod = build_reference(&verdict.candidate);
            self.send(EventReason::PodNotInjected, note, &pod).await;
            self.told.insert(verdict.candidate.uid);
        }
    }

    /// Sends an Event. One that cannot be sent is logged; it changes nothing.
    async fn send(&self, reason: EventReason, mut note: String, regarding: &ObjectReference) {
        shorten(&mut note, NOTE_BYTES);
        let event = Event {
            type_: match reason {
                EventReason::PodEvicted => EventType::Normal,
                _ => EventType::Warning,
            },
            reason: reason.as_str().into(),
            note: Some(note),
            action: "Inspect".into(),
            secondary: None,
        };
        events::publish(&self.recorder, regarding, event).await;
    }
}

impl Drop for Watchdog {
    /// The next leader shows what it finds.
    fn drop(&mut self) {
        self.metrics.set_pods_without_sidecar(&BTreeMap::new());
    }
}

/// Whether pods are left that were not read.
struct Backlog(bool);

/// Reads a pod, if it is there, by a list: the operator may list pods and not get one.
async fn find_by_name<K>(pods: &Api<K>, name: &str) -> Result<Option<K>, kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let named = ListParams::default().fields(&format!("metadata.name={name}"));
    Ok(pods.list(&named).await?.items.into_iter().next())
}

/// Collects what is known of the namespaces that have candidates and a proxy.
fn collect_namespaces(
    candidates: &Candidates,
    namespaces: &Store<NamespaceMetadata>,
    cluster: &Cluster,
) -> BTreeMap<String, Surroundings> {
    let mut proxies = cluster.proxies_by_namespace();
    let names: HashSet<&String> = candidates.iter().map(|pod| &pod.namespace).collect();
    let known = names.into_iter().filter_map(|name| {
        let proxies = proxies.remove(name)?;
        let namespace = namespaces.get(&ObjectRef::new(name))?;
        let labels = namespace.labels().clone();
        Some((name.clone(), Surroundings { labels, proxies }))
    });
    known.collect()
}
