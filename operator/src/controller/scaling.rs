//! As many workers as the load asks for: reads the workers, decides (`decide`), and changes the number in their Deployment,
//! which a reconciliation leaves as it finds it.
//!
//! It is apart from the reconciliations because it looks every few seconds. What it costs is one read of the Deployment and
//! one request to each worker, for proxies with `spec.workers.autoscaling` alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::Store;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::context::{Context, ProxyKey};
use super::demand::Demand;
use super::error::Error;
use super::events::{self, ProxyEvent};
use crate::api::reasons::EventReason;
use crate::api::{GuardedProxy, WorkerAutoscaling};
use crate::names::{self, FIELD_MANAGER};
use crate::objects::Component;

mod decide;

use decide::{Sample, Scaler};

/// Time between two looks at the workers.
const EVERY: Duration = Duration::from_secs(5);
/// Number of proxies that are looked at at a time.
const AT_A_TIME: usize = 8;

/// Scales until `stop`.
pub(super) async fn run(
    context: Arc<Context>,
    proxies: Store<GuardedProxy>,
    demand: Arc<Demand>,
    stop: CancellationToken,
) {
    let _leads = demand.lead();
    let scaling = Scaling { context, proxies };
    tokio::select! {
        () = stop.cancelled() => {}
        () = scaling.look_again_and_again(&demand) => {}
    }
}

/// What is looked at.
struct Scaling {
    context: Arc<Context>,
    proxies: Store<GuardedProxy>,
}

/// A proxy that is scaled, and its Deployment's number of workers.
struct Scaled {
    key: ProxyKey,
    reference: ObjectReference,
    bounds: WorkerAutoscaling,
    sample: Sample,
}

impl Scaling {
    async fn look_again_and_again(&self, demand: &Demand) {
        let mut scalers = HashMap::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = demand.changed() => {}
            }
            self.look(&mut scalers, &demand.take()).await;
        }
    }

    async fn look(&self, scalers: &mut HashMap<ProxyKey, Scaler>, called: &HashSet<ProxyKey>) {
        // The reads own what they read: a future that borrows from the list is not general enough for a task.
        let readings = self
            .proxies
            .state()
            .into_iter()
            .map(|proxy| self.read(proxy, called));
        let scaled: Vec<Scaled> = futures::stream::iter(readings)
            .buffer_unordered(AT_A_TIME)
            .filter_map(std::future::ready)
            .collect()
            .await;
        scalers.retain(|key, _| scaled.iter().any(|one| one.key == *key));
        let now = Instant::now();
        for one in scaled {
            let scaler = scalers.entry(one.key.clone()).or_insert_with(|| Scaler::new(now));
            let wanted = scaler.decide(&one.bounds, one.sample, now);
            if wanted == one.sample.present {
                continue;
            }
            if let Err(error) = self.scale(&one, wanted).await {
                tracing::warn!(%error, namespace = one.key.namespace, proxy = one.key.name, "not scaled");
            }
        }
    }

    /// Reads a proxy's workers; none if it is not scaled, or its Deployment cannot be read.
    async fn read(&self, proxy: Arc<GuardedProxy>, called: &HashSet<ProxyKey>) -> Option<Scaled> {
        let proxy = proxy.0.as_ref().ok()?;
        let bounds = proxy.spec.workers.autoscaling.clone()?;
        let key = ProxyKey::from_meta(&proxy.metadata)?;
        if proxy.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let deployments = Api::<Deployment>::namespaced(self.context.client.clone(), &key.namespace);
        let deployment = match deployments.get_opt(&names::workers(&key.name)).await {
            Ok(found) => found?,
            Err(error) => {
                tracing::debug!(%error, namespace = key.namespace, proxy = key.name, "the Deployment cannot be read");
                return None;
            }
        };
        let present = deployment.spec?.replicas.unwrap_or(1);
        let loads = match present {
            0 => Vec::new(),
            _ => {
                let pods = self.context.cache.list_pods(&key, Component::Worker);
                self.context.reader.read_loads(&pods).await
            }
        };
        let sample = Sample {
            load: loads.into_iter().reduce(|sum, one| sum + one),
            present,
            called: called.contains(&key),
        };
        Some(Scaled {
            reference: events::build_reference(&proxy.metadata),
            key,
            bounds,
            sample,
        })
    }

    async fn scale(&self, scaled: &Scaled, wanted: i32) -> Result<(), Error> {
        let (key, sample) = (&scaled.key, scaled.sample);
        let deployments = Api::<Deployment>::namespaced(self.context.client.clone(), &key.namespace);
        let name = names::workers(&key.name);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let change = Patch::Merge(json!({ "spec": { "replicas": wanted } }));
        let patched = deployments.patch(&name, &params, &change).await;
        patched.map_err(|error| Error::api("scale", "Deployment", &name, error))?;
        let note = describe(sample, wanted);
        tracing::info!(namespace = key.namespace, proxy = key.name, note, "scaled");
        let event = ProxyEvent::normal(EventReason::WorkersScaled, note);
        events::publish(&self.context.recorder, &scaled.reference, vec![event]).await;
        Ok(())
    }
}

fn describe(sample: Sample, wanted: i32) -> String {
    let load = sample.load.unwrap_or_default();
    let why = if sample.called {
        "a call waits for a worker".to_owned()
    } else {
        format!(
            "{} document tokens are under way, {} requests wait for the language model, which writes {} answers",
            load.tokens, load.waiting, load.running
        )
    };
    format!("{wanted} workers instead of {}: {why}", sample.present)
}
