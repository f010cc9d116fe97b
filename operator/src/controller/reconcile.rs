//! One reconciliation: objects applied, workers looked at, status and Events written.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use kube::{Api, Resource};
use serde_json::json;

use super::apply::{Applier, Effect, Owned};
use super::conditions::Seen;
use super::diagnose::{Around, diagnose};
use super::events::{self, Told};
use super::memory::backoff;
use super::status::{More, status};
use super::{Context, Error, figures, usage};
use crate::api::reasons::{ConditionReason, ConditionType, EventReason};
use crate::api::status::Usage;
use crate::api::{LiquidMemoryProxy, Status};
use crate::names::{FIELD_MANAGER, worker_tls, workers};
use crate::objects::{Objects, selector};

/// A malformed resource is looked at again when it changes; this is only in case that was missed.
const MALFORMED: Duration = Duration::from_secs(600);

/// After so long without a repair, the next one is the first again.
const CALM: Duration = Duration::from_secs(600);

/// A proxy as the API server gave it to us.
struct At<'a> {
    proxy: &'a LiquidMemoryProxy,
    namespace: &'a str,
    name: &'a str,
    context: &'a Context,
}

/// What the applies have led to. One that fails does not keep the others from being tried.
struct Outcome {
    objects: Objects,
    deployment: Option<Deployment>,
    effects: Vec<(&'static str, String, Effect)>,
    failure: Option<Error>,
}

impl Outcome {
    fn took<K: Owned>(&mut self, applied: Result<(K, Effect), Error>) -> Option<K> {
        match applied {
            Ok((now, effect)) => {
                self.effects
                    .push((K::KIND, now.meta().name.clone().unwrap_or_default(), effect));
                Some(now)
            }
            Err(error) => {
                // The first says most: later ones may follow from it.
                self.failure.get_or_insert(error);
                None
            }
        }
    }
}

pub(super) async fn proxy(proxy: &LiquidMemoryProxy, context: &Context) -> Result<Action, Error> {
    let (Some(namespace), Some(name)) = (&proxy.metadata.namespace, &proxy.metadata.name) else {
        return Err(crate::objects::BuildError::Metadata("name").into());
    };
    let at = At {
        proxy,
        namespace,
        name,
        context,
    };
    if proxy.metadata.deletion_timestamp.is_some() {
        // Nothing outside the cluster has to be undone, so there is no finalizer: owner references take all away.
        context.forget(namespace, name);
        return Ok(Action::await_change());
    }
    context
        .uids
        .set(at.key(), proxy.metadata.uid.clone().unwrap_or_default());
    if let Some(wait) = at.truce() {
        return Ok(Action::requeue(wait));
    }
    let outcome = at.apply().await?;
    at.count_repair(&outcome);
    let status = at.look(&outcome).await?;
    let mut told = events::of_effects(&outcome.effects);
    told.extend(outcome.failure.as_ref().and_then(|error| at.failed(error)));
    told.extend(events::of_status(proxy.status.as_ref(), &status));
    at.write(&status).await?;
    events::publish(&context.recorder, &events::reference(&proxy.metadata), told).await;
    match outcome.failure {
        Some(error) => Err(error),
        None => Ok(Action::requeue(figures::EVERY)),
    }
}

impl At<'_> {
    async fn apply(&self) -> Result<Outcome, Error> {
        let applier = Applier {
            client: &self.context.client,
            namespace: self.namespace,
            owner: self.proxy.metadata.uid.as_deref().unwrap_or_default(),
            memory: &self.context.applied,
        };
        let live = applier.get::<Deployment>(&workers(self.name)).await?;
        let config = applier.get::<ConfigMap>(&workers(self.name)).await?;
        let objects =
            Objects::build(self.proxy, &self.context.platform)?.keeping(live.as_ref(), config.as_ref());
        let mut outcome = Outcome {
            objects: objects.clone(),
            deployment: live,
            effects: Vec::new(),
            failure: None,
        };
        outcome.took(applier.apply(&objects.service_account).await);
        outcome.took(applier.apply(&objects.worker_config).await);
        outcome.took(applier.apply(&objects.sidecar_config).await);
        outcome.took(applier.apply(&objects.service).await);
        outcome.took(applier.apply(&objects.budget).await);
        match &objects.network {
            Some(network) => {
                outcome.took(applier.apply(network).await);
            }
            None => {
                if let Err(error) = applier.remove::<NetworkPolicy>(&workers(self.name)).await {
                    outcome.failure.get_or_insert(error);
                }
            }
        }
        if let Some(deployment) = outcome.took(applier.apply(&objects.deployment).await) {
            outcome.deployment = Some(deployment);
        }
        Ok(outcome)
    }

    /// How long to let others have their way: somebody who changes an object after every repair, such as another
    /// controller, must not keep us busy. A change of the resource itself is never held up.
    fn truce(&self) -> Option<Duration> {
        let (repairs, last) = self.context.repairs.get(&self.key())?;
        let observed = self
            .proxy
            .status
            .as_ref()
            .and_then(|status| status.observed_generation);
        if observed != self.proxy.metadata.generation {
            return None;
        }
        backoff(repairs)
            .checked_sub(last.elapsed())
            .filter(|wait| !wait.is_zero())
    }

    fn count_repair(&self, outcome: &Outcome) {
        if outcome
            .effects
            .iter()
            .any(|(.., effect)| *effect == Effect::Repaired)
        {
            let before = self
                .context
                .repairs
                .get(&self.key())
                .filter(|(_, last)| last.elapsed() < CALM);
            let repairs = before.map_or(1, |(repairs, _)| repairs.saturating_add(1));
            self.context.repairs.set(self.key(), (repairs, Instant::now()));
        }
    }

    fn key(&self) -> (String, String) {
        (self.namespace.to_owned(), self.name.to_owned())
    }

    /// The status, from the objects, pods, Secrets and figures.
    async fn look(&self, outcome: &Outcome) -> Result<Status, Error> {
        let pods = self.pods().await?;
        let certificate = self.secret_is_there(&worker_tls(self.name)).await?;
        let missing_secrets = self.missing_secrets().await?;
        let gpu = self
            .proxy
            .spec
            .workers
            .gpu
            .as_ref()
            .map(|gpu| gpu.resource_name.as_str());
        let deployment = outcome.deployment.as_ref();
        let finding =
            deployment.and_then(|deployment| diagnose(deployment, &pods, Around { certificate, gpu }));
        let seen = Seen {
            proxy: self.proxy,
            deployment,
            finding: finding.as_ref(),
            missing_secrets: &missing_secrets,
            failure: outcome
                .failure
                .as_ref()
                .map(|error| (error.reason(), error.to_string())),
        };
        let more = More {
            objects: &outcome.objects,
            worker_image: &self.context.platform.worker_image,
            usage: self.usage(&pods).await,
        };
        Ok(status(&seen, more, now()))
    }

    async fn pods(&self) -> Result<Vec<Pod>, Error> {
        let labels: Vec<String> = selector(self.name)
            .into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let pods = Api::<Pod>::namespaced(self.context.client.clone(), self.namespace);
        let list = pods.list(&ListParams::default().labels(&labels.join(","))).await;
        Ok(list
            .map_err(|error| Error::api("list", "Pods of", self.name, error))?
            .items)
    }

    async fn secret_is_there(&self, name: &str) -> Result<bool, Error> {
        let secrets = Api::<Secret>::namespaced(self.context.client.clone(), self.namespace);
        let found = secrets.get_metadata_opt(name).await;
        Ok(found
            .map_err(|error| Error::api("read", "Secret", name, error))?
            .is_some())
    }

    async fn missing_secrets(&self) -> Result<Vec<String>, Error> {
        let mut missing = Vec::new();
        for key in self
            .proxy
            .spec
            .synthesis
            .iter()
            .flat_map(|synthesis| synthesis.secrets())
        {
            if !self.secret_is_there(&key.name).await? {
                missing.push(key.name.clone());
            }
        }
        Ok(missing)
    }

    /// The workers' figures, if it is time to read them.
    async fn usage(&self, pods: &[Pod]) -> Option<Usage> {
        let key = self.key();
        let last = self.context.rounds.get(&key);
        if last.is_some_and(|(when, _)| when.elapsed() < figures::EVERY) {
            return None;
        }
        let round = last.map_or(0, |(_, round)| round.wrapping_add(1));
        self.context.rounds.set(key, (Instant::now(), round));
        let read = self.context.reader.read(pods, round).await;
        let present: Vec<&str> = pods
            .iter()
            .filter_map(|pod| pod.metadata.name.as_deref())
            .collect();
        let old = self
            .proxy
            .status
            .as_ref()
            .and_then(|status| status.usage.as_ref());
        Some(usage::add(old, &present, &read, now()))
    }

    /// Told once for each kind of failure; the condition says it all the time.
    fn failed(&self, error: &Error) -> Option<Told> {
        let reason = error.reason();
        let conditions = self.proxy.status.iter().flat_map(|status| &status.conditions);
        let mut degraded = conditions.filter(|condition| condition.type_ == ConditionType::Degraded.as_str());
        if degraded.any(|condition| condition.reason == reason.as_str()) {
            return None;
        }
        Some(Told::warning(
            EventReason::ReconcileFailed,
            format!("{reason}: {error}"),
        ))
    }

    async fn write(&self, status: &Status) -> Result<(), Error> {
        if self.proxy.status.as_ref() == Some(status) {
            return Ok(());
        }
        write_status(self.context, self.namespace, self.name, json!(status)).await
    }
}

/// Says in status and Event that the stored resource cannot be read. Its objects are left as they are.
pub(super) async fn malformed(invalid: &InvalidObject, context: &Context) -> Result<Action, Error> {
    let (Some(namespace), Some(name)) = (&invalid.metadata.namespace, &invalid.metadata.name) else {
        return Ok(Action::await_change());
    };
    let reason = ConditionReason::Malformed;
    let message = format!(
        "{}; correct the field, or install the CRDs and the operator of one version",
        invalid.error
    );
    let condition = |name: ConditionType, status: &str| {
        json!({
            "type": name.as_str(), "status": status, "reason": reason.as_str(), "message": message,
            "observedGeneration": invalid.metadata.generation, "lastTransitionTime": now(),
        })
    };
    let key = (namespace.clone(), name.clone());
    let seen = context.malformed.get(&key);
    if seen == invalid.metadata.generation && seen.is_some() {
        return Ok(Action::requeue(MALFORMED));
    }
    let conditions = [
        condition(ConditionType::Ready, "False"),
        condition(ConditionType::Accepted, "False"),
        condition(ConditionType::Degraded, "True"),
    ];
    write_status(context, namespace, name, json!({ "conditions": conditions })).await?;
    let told = vec![Told::warning(EventReason::Malformed, message.clone())];
    events::publish(&context.recorder, &events::reference(&invalid.metadata), told).await;
    if let Some(generation) = invalid.metadata.generation {
        context.malformed.set(key, generation);
    }
    Ok(Action::requeue(MALFORMED))
}

async fn write_status(
    context: &Context,
    namespace: &str,
    name: &str,
    status: serde_json::Value,
) -> Result<(), Error> {
    let proxies = Api::<super::Unread>::namespaced(context.client.clone(), namespace);
    let patch = json!({
        "apiVersion": LiquidMemoryProxy::api_version(&()),
        "kind": LiquidMemoryProxy::kind(&()),
        "status": status,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let written = proxies
        .patch_status(name, &parameters, &Patch::Apply(&patch))
        .await;
    match written {
        Ok(_) => Ok(()),
        // It was removed meanwhile.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(Error::api(
            "write the status of",
            "LiquidMemoryProxy",
            name,
            error,
        )),
    }
}

fn now() -> Time {
    // Conditions hold whole seconds.
    let second = Timestamp::now().as_second();
    Time(Timestamp::from_second(second).unwrap_or_default())
}
