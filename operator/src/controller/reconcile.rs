//! One reconciliation: objects applied, workers observed, status and Events written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use serde_json::json;

use super::apply::{Applier, Effect, ObjectEffect, OwnedObject};
use super::backoff::compute_backoff;
use super::conditions::{Observation, ObservedGateway};
use super::context::{Context, ProxyKey, RepairHistory};
use super::diagnose::{PodContext, diagnose, find_refusal};
use super::error::Error;
use super::events::{self, ProxyEvent};
use super::observe::{ClusterState, Observer};
use super::refusal::names_limit;
use super::status::{StatusInputs, build_status, compute_cost};
use super::{cache, clock, figures, gateway, write};
use crate::api::reasons::{ConditionReason, ConditionType, EventReason};
use crate::api::{LiquidMemoryProxy, Status};
use crate::names::workers;
use crate::objects::{BuildError, Component, Objects};

/// How long after a malformed resource was reported it is looked at again, in case its next change was missed.
const MALFORMED: Duration = Duration::from_secs(600);
/// How long without a repair it takes until the next one counts as the first again.
const CALM: Duration = Duration::from_secs(600);

/// One reconciliation of a proxy as the API server returned it.
struct Reconciliation<'a> {
    proxy: &'a LiquidMemoryProxy,
    key: ProxyKey,
    context: &'a Context,
}

/// The objects as they are wanted.
struct Built {
    objects: Objects,
    /// The workers' Deployment as it is.
    live: Option<Deployment>,
    /// Whether the workers' Deployment and ConfigMap are as they are wanted.
    settled: bool,
}

/// What the applies have led to. One that fails does not keep the others from being tried.
pub(super) struct ApplyOutcome {
    objects: Objects,
    deployment: Option<Deployment>,
    /// The gateway's Deployment.
    gateway: Option<Deployment>,
    effects: Vec<ObjectEffect>,
    failure: Option<Error>,
}

impl ApplyOutcome {
    /// Applies an object, unless it is as it is wanted.
    pub(super) async fn apply<K: OwnedObject>(&mut self, applier: &Applier<'_>, wanted: &K) {
        if !applier.is_applied(wanted) {
            self.record(applier.apply(wanted).await);
        }
    }

    /// Records the effect of an apply; returns the object as it is now.
    pub(super) fn record<K: OwnedObject>(&mut self, applied: Result<(K, Effect), Error>) -> Option<K> {
        match applied {
            Ok((now, effect)) => {
                self.effects.push(ObjectEffect {
                    kind: K::KIND,
                    name: now.meta().name.clone().unwrap_or_default(),
                    effect,
                });
                Some(now)
            }
            Err(error) => {
                // The first says most: later ones may follow from it.
                self.failure.get_or_insert(error);
                None
            }
        }
    }

    /// Records the failure of a removal.
    pub(super) fn note(&mut self, removed: Result<(), Error>) {
        if let Err(error) = removed {
            self.failure.get_or_insert(error);
        }
    }
}

/// Reconciles a proxy that can be read.
pub(super) async fn reconcile_proxy(proxy: &LiquidMemoryProxy, context: &Context) -> Result<Action, Error> {
    let Some(key) = ProxyKey::from_meta(&proxy.metadata) else {
        return Err(BuildError::Metadata("name").into());
    };
    if proxy.metadata.deletion_timestamp.is_some() {
        // Nothing outside the cluster has to be undone, so there is no finalizer: owner references take all
        // away.
        context.forget_proxy(&key);
        return Ok(Action::await_change());
    }
    let uid = proxy.metadata.uid.clone().unwrap_or_default();
    context.uids.set(key.clone(), uid);
    let reconciliation = Reconciliation { proxy, key, context };
    if let Some(wait) = reconciliation.truce_left() {
        return Ok(Action::requeue(wait));
    }
    let outcome = reconciliation.apply().await?;
    reconciliation.count_repair(&outcome);
    let status = reconciliation.decide_status(&outcome).await?;
    let mut events = events::describe_effects(&outcome.effects);
    events.extend(
        outcome
            .failure
            .as_ref()
            .and_then(|error| reconciliation.describe_failure(error)),
    );
    events.extend(events::describe_changes(proxy.status.as_ref(), &status));
    reconciliation.write_status(&status).await?;
    reconciliation.show_cost(&status);
    let reference = events::build_reference(&proxy.metadata);
    events::publish(&context.recorder, &reference, events).await;
    match outcome.failure {
        Some(error) => Err(error),
        None if is_loading(&status) => Ok(Action::requeue(figures::PROGRESS_EVERY)),
        None => Ok(Action::requeue(figures::EVERY)),
    }
}

/// Returns whether no worker has read its model yet, so that what they say changes by the second.
fn is_loading(status: &Status) -> bool {
    let model = status.condition(ConditionType::ModelLoaded);
    model.is_some_and(|model| model.reason == ConditionReason::Loading.as_str())
}

impl Reconciliation<'_> {
    async fn apply(&self) -> Result<ApplyOutcome, Error> {
        let applier = Applier {
            client: &self.context.client,
            namespace: &self.key.namespace,
            owner: self.proxy.metadata.uid.as_deref().unwrap_or_default(),
            memory: &self.context.applied,
            cache: &self.context.cache,
        };
        let name = workers(&self.key.name);
        let Built {
            objects,
            live,
            settled,
        } = self.build(&applier, &name).await?;
        let mut outcome = ApplyOutcome {
            objects: objects.clone(),
            deployment: live,
            gateway: None,
            effects: Vec::new(),
            failure: None,
        };
        outcome.apply(&applier, &objects.service_account).await;
        outcome.apply(&applier, &objects.sidecar_config).await;
        outcome.apply(&applier, &objects.service).await;
        outcome.apply(&applier, &objects.budget).await;
        match &objects.network {
            Some(network) => outcome.apply(&applier, network).await,
            None => outcome.note(applier.remove_watched::<NetworkPolicy>(&name).await),
        }
        if !settled {
            outcome.apply(&applier, &objects.worker_config).await;
            if let Some(deployment) = outcome.record(applier.apply(&objects.deployment).await) {
                outcome.deployment = Some(deployment);
            }
        }
        match &objects.gateway {
            Some(wanted) => {
                outcome.gateway = gateway::apply(&applier, wanted, &self.key.name, &mut outcome).await?;
            }
            None if self.has_had_gateway() => {
                outcome.note(gateway::remove(&applier, &self.key.name).await);
            }
            None => {}
        }
        Ok(outcome)
    }

    /// Builds the objects as they are wanted, from what the workers' Deployment and ConfigMap are now.
    async fn build(&self, applier: &Applier<'_>, name: &str) -> Result<Built, Error> {
        let build = |live: Option<&Deployment>, config: Option<&ConfigMap>| -> Result<Objects, Error> {
            let objects = Objects::build(self.proxy, &self.context.platform)?.keep_live(live, config);
            Ok(objects.keep_replicas(self.proxy, live))
        };
        let (cache, namespace) = (&self.context.cache, &self.key.namespace);
        let live = cache::find(&cache.deployments, namespace, name);
        let config = cache::find(&cache.config_maps, namespace, name);
        let objects = build(live.as_deref(), config.as_deref())?;
        if applier.is_applied(&objects.deployment) && applier.is_applied(&objects.worker_config) {
            return Ok(Built {
                objects,
                live: live.map(Arc::unwrap_or_clone),
                settled: true,
            });
        }
        // The watches may be a moment behind; what is written must not be.
        let live = applier.get::<Deployment>(name).await?;
        let config = applier.get::<ConfigMap>(name).await?;
        Ok(Built {
            objects: build(live.as_ref(), config.as_ref())?,
            live,
            settled: false,
        })
    }

    /// Returns whether there is a gateway of before, by the last status.
    fn has_had_gateway(&self) -> bool {
        let status = self.proxy.status.as_ref();
        status.is_some_and(|status| status.gateway.is_some())
    }

    /// Returns how long another writer may have its way: one that changes an object after every repair, such as
    /// another controller, must not keep the operator busy. A change of the resource itself is never held up.
    fn truce_left(&self) -> Option<Duration> {
        let history = self.context.repairs.get(&self.key)?;
        let status = self.proxy.status.as_ref();
        let observed = status.and_then(|status| status.observed_generation);
        if observed != self.proxy.metadata.generation {
            return None;
        }
        compute_backoff(history.repairs)
            .checked_sub(history.last.elapsed())
            .filter(|wait| !wait.is_zero())
    }

    fn count_repair(&self, outcome: &ApplyOutcome) {
        let mut effects = outcome.effects.iter();
        if !effects.any(|object| object.effect == Effect::Repaired) {
            return;
        }
        let before = self.context.repairs.get(&self.key);
        let before = before.filter(|history| history.last.elapsed() < CALM);
        let history = RepairHistory {
            repairs: before.map_or(1, |history| history.repairs.saturating_add(1)),
            last: Instant::now(),
        };
        self.context.repairs.set(self.key.clone(), history);
    }

    /// Observes the cluster and decides the status.
    async fn decide_status(&self, outcome: &ApplyOutcome) -> Result<Status, Error> {
        let observer = Observer {
            proxy: self.proxy,
            key: &self.key,
            context: self.context,
        };
        let ClusterState {
            pods,
            certificate,
            gateway,
            missing_secrets,
            usage,
            progress,
        } = observer.observe().await?;
        let gpu = self.proxy.spec.workers.gpu.as_ref();
        let deployment = outcome.deployment.as_ref();
        let mut refusals = [deployment, outcome.gateway.as_ref()].into_iter().flatten();
        let limits = match refusals.any(|one| find_refusal(one).is_some_and(names_limit)) {
            true => observer.list_limit_ranges().await,
            false => Vec::new(),
        };
        let around = PodContext {
            component: Component::Worker,
            certificate,
            gpu: gpu.map(|gpu| gpu.resource_name.as_str()),
            limits: &limits,
        };
        let finding = deployment.and_then(|deployment| diagnose(deployment, &pods, around));
        let around_gateway = PodContext {
            component: Component::Gateway,
            certificate: gateway.certificate,
            gpu: None,
            limits: &limits,
        };
        let gateway = outcome.gateway.as_ref().map(|deployment| ObservedGateway {
            deployment,
            finding: diagnose(deployment, &gateway.pods, around_gateway),
        });
        let missed = self.context.missed.get(&self.key);
        let observation = Observation {
            proxy: self.proxy,
            deployment,
            finding: finding.as_ref(),
            gateway: gateway.as_ref(),
            progress: progress.as_deref(),
            missing_secrets: &missing_secrets,
            missed: missed.as_ref(),
            failure: outcome
                .failure
                .as_ref()
                .map(|error| (error.reason(), error.to_string())),
        };
        let inputs = StatusInputs {
            objects: &outcome.objects,
            platform: &self.context.platform,
            usage,
            gateway_remains: outcome.failure.is_some() && self.has_had_gateway(),
        };
        Ok(build_status(&observation, inputs, clock::now()))
    }

    /// Describes a failure once for each kind of it; the condition says it all the time.
    fn describe_failure(&self, error: &Error) -> Option<ProxyEvent> {
        let reason = error.reason();
        let status = self.proxy.status.as_ref();
        let degraded = status.and_then(|status| status.condition(ConditionType::Degraded));
        if degraded.is_some_and(|degraded| degraded.reason == reason.as_str()) {
            return None;
        }
        Some(ProxyEvent::warning(
            EventReason::ReconcileFailed,
            format!("{reason}: {error}"),
        ))
    }

    /// Shows in the metrics what was saved in money.
    fn show_cost(&self, status: &Status) {
        let ProxyKey { namespace, name } = &self.key;
        let cost = status
            .usage
            .as_ref()
            .and_then(|usage| compute_cost(self.proxy, usage));
        self.context.metrics.set_cost_saved(namespace, name, cost);
    }

    async fn write_status(&self, status: &Status) -> Result<(), Error> {
        if self.proxy.status.as_ref() == Some(status) {
            return Ok(());
        }
        write::write_status(self.context, &self.key, json!(status)).await
    }
}

/// Reports in status and Event that the stored resource cannot be read. Its objects are left as they are.
pub(super) async fn report_malformed(invalid: &InvalidObject, context: &Context) -> Result<Action, Error> {
    let Some(key) = ProxyKey::from_meta(&invalid.metadata) else {
        return Ok(Action::await_change());
    };
    let generation = invalid.metadata.generation;
    let reported = context.malformed.get(&key);
    if reported == generation && reported.is_some() {
        return Ok(Action::requeue(MALFORMED));
    }
    let message = format!(
        "{}; correct the field, or install the CRDs and the operator of one version",
        invalid.error
    );
    let condition = |name: ConditionType, status: &str| {
        json!({
            "type": name.as_str(), "status": status, "reason": ConditionReason::Malformed.as_str(),
            "message": message, "observedGeneration": generation, "lastTransitionTime": clock::now(),
        })
    };
    let conditions = [
        condition(ConditionType::Ready, "False"),
        condition(ConditionType::Accepted, "False"),
        condition(ConditionType::Degraded, "True"),
    ];
    write::write_status(context, &key, json!({ "conditions": conditions })).await?;
    let events = vec![ProxyEvent::warning(EventReason::Malformed, message.clone())];
    let reference = events::build_reference(&invalid.metadata);
    events::publish(&context.recorder, &reference, events).await;
    if let Some(generation) = generation {
        context.malformed.set(key, generation);
    }
    Ok(Action::requeue(MALFORMED))
}
