//! What reconciliations share: the client, the installation's settings, and what is remembered between them.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};

use super::apply::{LastApply, ObjectKey};
use super::cache::{Cache, Writers};
use super::figures::FigureReader;
use super::missed_pods::MissedPods;
use super::shared_map::SharedMap;
use crate::names::FIELD_MANAGER;
use crate::objects::Platform;
use crate::telemetry::Metrics;

/// Namespace and name of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ProxyKey {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ProxyKey {
    /// Reads the key from an object's metadata, if it has a namespace and a name.
    pub(super) fn from_meta(meta: &ObjectMeta) -> Option<Self> {
        Some(Self {
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
        })
    }
}

/// How often in a row another writer's changes of a proxy's objects were undone.
#[derive(Clone, Copy, Debug)]
pub(super) struct RepairHistory {
    pub(super) repairs: u32,
    /// When the last of them was undone.
    pub(super) last: Instant,
}

/// The last reading of a proxy's workers.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadingRound {
    pub(super) when: Instant,
    /// Number of the round; it decides which pods are read.
    pub(super) round: usize,
}

/// What one of a proxy's workers that was not ready said at the last reading that had an answer.
#[derive(Clone, Debug)]
pub(super) struct ProgressReading {
    pub(super) when: Instant,
    pub(super) text: String,
}

/// Everything that reconciliations share during one term as leader.
pub struct Context {
    pub(super) client: Client,
    pub(super) platform: Platform,
    pub(super) recorder: Recorder,
    pub(super) reader: FigureReader,
    pub(super) metrics: Arc<Metrics>,
    /// What the watches have shown; nothing before they run.
    pub(super) cache: Cache,
    /// The last apply of each object.
    pub(super) applied: SharedMap<ObjectKey, LastApply>,
    /// Failures in a row.
    pub(super) failures: SharedMap<ProxyKey, u32>,
    /// The uid of each proxy.
    pub(super) uids: SharedMap<ProxyKey, String>,
    pub(super) repairs: SharedMap<ProxyKey, RepairHistory>,
    /// Generations of resources that cannot be read, and were reported.
    pub(super) malformed: SharedMap<ProxyKey, i64>,
    pub(super) rounds: SharedMap<ProxyKey, ReadingRound>,
    pub(super) progress: SharedMap<ProxyKey, ProgressReading>,
    /// Opted-in pods without a sidecar.
    pub(super) missed: Arc<MissedPods>,
}

impl Context {
    /// Creates the context of one term as leader. `instance` names this replica in Events; `missed` is what the watchdog
    /// finds.
    pub fn new(
        client: Client,
        platform: Platform,
        instance: &str,
        metrics: Arc<Metrics>,
        missed: Arc<MissedPods>,
    ) -> Self {
        let reporter = Reporter {
            controller: FIELD_MANAGER.into(),
            instance: Some(instance.into()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            platform,
            reader: FigureReader::new(),
            metrics,
            cache: Writers::default().open(),
            applied: SharedMap::new(),
            failures: SharedMap::new(),
            uids: SharedMap::new(),
            repairs: SharedMap::new(),
            malformed: SharedMap::new(),
            rounds: SharedMap::new(),
            progress: SharedMap::new(),
            missed,
        }
    }

    /// Drops everything remembered about a deleted proxy.
    pub(super) fn forget_proxy(&self, key: &ProxyKey) {
        self.failures.remove(key);
        self.repairs.remove(key);
        self.malformed.remove(key);
        self.rounds.remove(key);
        self.progress.remove(key);
        self.metrics.set_cost_saved(&key.namespace, &key.name, None);
        let owner = self.uids.remove(key);
        self.applied
            .remove_where(|key| Some(&key.owner) == owner.as_ref());
    }
}

impl Drop for Context {
    /// The next leader shows what it reads.
    fn drop(&mut self) {
        self.metrics.forget_costs();
    }
}
