//! Brings the cluster to what the resources ask for.
//!
//! [`run`] watches proxies, the objects they own and their pods; `reconcile` turns one proxy into objects
//! ([`crate::objects`]), applies them, looks at the workers and writes the status. What it decides on is pure and has
//! its tests: `diagnose`, `conditions`, `status`, `usage`, `events`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller, Error as RunError};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::api::LiquidMemoryProxy;
use crate::names::FIELD_MANAGER;
use crate::objects::Platform;
use crate::telemetry::Metrics;

mod apply;
mod conditions;
mod diagnose;
mod error;
mod events;
mod figures;
mod memory;
mod reconcile;
mod status;
mod usage;

#[cfg(test)]
mod tests;

pub use error::Error;
use memory::{Remembered, backoff};

/// A proxy, or why the stored one is none: one malformed resource must not end the watch of all.
pub type Guarded = DeserializeGuard<LiquidMemoryProxy>;

/// The same where its content does not matter.
type Unread = kube::core::PartialObjectMeta<LiquidMemoryProxy>;

/// Proxies that are reconciled at a time.
const CONCURRENCY: u16 = 8;
/// Changes that arrive within this time are answered once.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// Namespace and name of a proxy.
type Name = (String, String);

/// What a reconciliation needs.
pub struct Context {
    client: Client,
    platform: Platform,
    recorder: Recorder,
    reader: figures::Reader,
    metrics: Arc<Metrics>,
    applied: Remembered<apply::Key, apply::Applied>,
    failures: Remembered<Name, u32>,
    /// The uid of each proxy.
    uids: Remembered<Name, String>,
    /// How often in a row somebody else's change of a proxy's objects was undone, and when last.
    repairs: Remembered<Name, (u32, Instant)>,
    /// Generations of resources that cannot be read, and were said to be so.
    malformed: Remembered<Name, i64>,
    /// When a proxy's workers were last read, and in which round.
    rounds: Remembered<Name, (Instant, usize)>,
}

impl Context {
    /// For one term as leader. `instance` names this replica in Events.
    pub fn new(client: Client, platform: Platform, instance: &str, metrics: Arc<Metrics>) -> Self {
        let reporter = Reporter {
            controller: FIELD_MANAGER.into(),
            instance: Some(instance.into()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            platform,
            reader: figures::Reader::new(),
            metrics,
            applied: Remembered::new(),
            failures: Remembered::new(),
            uids: Remembered::new(),
            repairs: Remembered::new(),
            malformed: Remembered::new(),
            rounds: Remembered::new(),
        }
    }
}

impl Context {
    /// Of a proxy that is gone.
    fn forget(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        self.failures.remove(&key);
        self.repairs.remove(&key);
        self.malformed.remove(&key);
        self.rounds.remove(&key);
        let owner = self.uids.take(&key);
        self.applied.forget(|key| Some(&key.owner) == owner.as_ref());
    }
}

/// Reconciles until `stop` is cancelled and what is under way has ended.
pub async fn run(context: Context, stop: CancellationToken) {
    let client = context.client.clone();
    let ours = watcher::Config::default().labels("app.kubernetes.io/managed-by=liquid-operator");
    let controller = Controller::new(Api::<Guarded>::all(client.clone()), watcher::Config::default())
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .owns(Api::<Deployment>::all(client.clone()), ours.clone())
        .owns(Api::<ConfigMap>::all(client.clone()), ours.clone())
        .owns(Api::<Service>::all(client.clone()), ours.clone())
        .owns(Api::<ServiceAccount>::all(client.clone()), ours.clone())
        .owns(Api::<NetworkPolicy>::all(client.clone()), ours.clone())
        .owns(Api::<PodDisruptionBudget>::all(client.clone()), ours.clone())
        .watches(Api::<Pod>::all(client), ours, proxy_of_pod)
        .graceful_shutdown_on(async move { stop.cancelled().await });
    let context = Arc::new(context);
    controller
        .run(reconcile, error_policy, Arc::clone(&context))
        .for_each(|outcome| {
            match outcome {
                // A reconciliation's own error has been logged where it was counted.
                Ok(_) | Err(RunError::ReconcilerFailed(..)) => {}
                Err(RunError::ObjectNotFound(gone)) => {
                    context.forget(gone.namespace.as_deref().unwrap_or_default(), &gone.name);
                }
                Err(error) => tracing::warn!(%error, "a watch was interrupted and goes on"),
            }
            std::future::ready(())
        })
        .await;
}

/// Worker pods belong to a ReplicaSet; their label names the proxy.
fn proxy_of_pod(pod: Pod) -> Option<ObjectRef<Guarded>> {
    let name = pod.labels().get("app.kubernetes.io/instance")?;
    Some(ObjectRef::new(name).within(&pod.namespace()?))
}

fn name_of(proxy: &Guarded) -> Name {
    use kube::Resource;
    let meta = proxy.meta();
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

async fn reconcile(proxy: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let name = name_of(&proxy);
    let started = Instant::now();
    let outcome = match &proxy.0 {
        Ok(proxy) => reconcile::proxy(proxy, &context).await,
        Err(invalid) => reconcile::malformed(invalid, &context).await,
    };
    context.metrics.reconciled(outcome.is_ok(), started.elapsed());
    if outcome.is_ok() {
        context.failures.remove(&name);
    }
    outcome
}

fn error_policy(proxy: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    let name = name_of(&proxy);
    let failures = context.failures.get(&name).unwrap_or_default().saturating_add(1);
    let wait = backoff(failures);
    tracing::warn!(namespace = name.0, proxy = name.1, %error, failures, wait_s = wait.as_secs(), "not reconciled");
    context.failures.set(name, failures);
    Action::requeue(wait)
}
