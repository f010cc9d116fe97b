//! The conditions that follow from an observation: pure.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::diagnose::{Finding, find_condition};
use super::missed_pods::MissedCount;
use super::observe::MissingSecret;
use crate::api::LiquidMemoryProxy;
use crate::api::reasons::{ConditionReason as Reason, ConditionType};

/// What was observed of a proxy and its workers.
pub(super) struct Observation<'a> {
    pub(super) proxy: &'a LiquidMemoryProxy,
    /// The Deployment as the API server returned it; none if it did not.
    pub(super) deployment: Option<&'a Deployment>,
    pub(super) finding: Option<&'a Finding>,
    /// What a worker that is not ready yet says that it does.
    pub(super) progress: Option<&'a str>,
    /// What was observed of the gateway; none where the resource has none, or its Deployment could not be applied.
    pub(super) gateway: Option<&'a ObservedGateway<'a>>,
    /// Secrets that the resource names and that do not exist.
    pub(super) missing_secrets: &'a [MissingSecret],
    /// Opted-in pods without a sidecar; none before all pods were looked at.
    pub(super) missed: Option<&'a MissedCount>,
    /// Why the objects are not as the resource asks for.
    pub(super) failure: Option<(Reason, String)>,
}

/// What was observed of a proxy's gateway.
pub(super) struct ObservedGateway<'a> {
    /// Its Deployment as the API server returned it.
    pub(super) deployment: &'a Deployment,
    pub(super) finding: Option<Finding>,
}

impl ObservedGateway<'_> {
    /// Counts its pods. How many are wanted is what the Deployment says: an autoscaler may decide it.
    pub(super) fn count(&self) -> Counts {
        let wanted = self.deployment.spec.as_ref().and_then(|spec| spec.replicas);
        Counts::from_deployment(wanted.unwrap_or(1), Some(self.deployment))
    }
}

/// A condition's status, reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ConditionVerdict {
    status: &'static str,
    reason: Reason,
    message: String,
}

impl ConditionVerdict {
    fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status: "True",
            reason,
            message: message.into(),
        }
    }

    fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status: "False",
            reason,
            message: message.into(),
        }
    }

    fn is(&self, status: &str) -> bool {
        self.status == status
    }
}

/// Numbers of pods of a Deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) wanted: i32,
    pub(super) present: i32,
    pub(super) ready: i32,
    pub(super) updated: i32,
    /// The Deployment's controller has seen the last change.
    pub(super) observed: bool,
}

impl Counts {
    /// Counts a proxy's workers. Where their number follows the load, it is what the Deployment says.
    pub(super) fn of_workers(proxy: &LiquidMemoryProxy, deployment: Option<&Deployment>) -> Self {
        let workers = &proxy.spec.workers;
        let scaled = workers.autoscaling.as_ref().and(deployment);
        let scaled = scaled.and_then(|deployment| deployment.spec.as_ref()?.replicas);
        Self::from_deployment(scaled.unwrap_or(workers.replicas), deployment)
    }

    /// Counts pods by the status of their Deployment.
    pub(super) fn from_deployment(wanted: i32, deployment: Option<&Deployment>) -> Self {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        let count = |number: Option<i32>| number.unwrap_or_default();
        let generation = deployment.and_then(|deployment| deployment.metadata.generation);
        Self {
            wanted,
            present: status.map_or(0, |status| count(status.replicas)),
            ready: status.map_or(0, |status| count(status.ready_replicas)),
            updated: status.map_or(0, |status| count(status.updated_replicas)),
            observed: status.is_some_and(|status| status.observed_generation >= generation),
        }
    }

    pub(super) fn all_ready(self) -> bool {
        self.observed
            && self.ready >= self.wanted
            && self.updated >= self.wanted
            && self.present == self.wanted
    }
}

/// Builds the conditions of a proxy. One that keeps its status keeps its time.
pub(super) fn build_conditions(
    observation: &Observation<'_>,
    old: &[Condition],
    now: Time,
) -> Vec<Condition> {
    let counts = Counts::of_workers(observation.proxy, observation.deployment);
    let accepted = judge_accepted(observation);
    let workers = judge_workers(observation, counts);
    let model = judge_model(observation, counts);
    let gateway = judge_gateway(observation);
    let injection = observation.missed.map(judge_injection);
    let parts = [gateway.as_ref(), injection.as_ref()];
    let degraded = judge_degraded(observation, counts, &workers, &parts);
    let ready = judge_ready(&accepted, &workers, &model, counts);
    let all = [
        Some((ConditionType::Ready, ready)),
        Some((ConditionType::Accepted, accepted)),
        Some((ConditionType::WorkersReady, workers)),
        Some((ConditionType::ModelLoaded, model)),
        gateway.map(|gateway| (ConditionType::GatewayReady, gateway)),
        injection.map(|injection| (ConditionType::PodsInjected, injection)),
        Some((ConditionType::Degraded, degraded)),
    ];
    let generation = observation.proxy.metadata.generation;
    // A new leader has to look at the pods first: until then what the last one found stays.
    let unknown = old.iter().filter(|condition| {
        observation.missed.is_none() && condition.type_ == ConditionType::PodsInjected.as_str()
    });
    let unknown = unknown.cloned();
    all.into_iter()
        .flatten()
        .map(|(name, verdict)| {
            let before = old.iter().find(|condition| condition.type_ == name.as_str());
            let since = before.filter(|condition| condition.status == verdict.status);
            Condition {
                type_: name.as_str().into(),
                status: verdict.status.into(),
                reason: verdict.reason.as_str().into(),
                message: verdict.message,
                observed_generation: generation,
                last_transition_time: since
                    .map_or_else(|| now.clone(), |condition| condition.last_transition_time.clone()),
            }
        })
        .chain(unknown)
        .collect()
}

fn judge_accepted(observation: &Observation<'_>) -> ConditionVerdict {
    match &observation.failure {
        // Whether it is valid was decided before; that the API server is away says nothing about it.
        Some((reason, message)) if *reason != Reason::ApiUnavailable => {
            ConditionVerdict::no(*reason, message)
        }
        _ => ConditionVerdict::yes(Reason::AsExpected, "every object is as the resource asks for"),
    }
}

fn judge_workers(observation: &Observation<'_>, counts: Counts) -> ConditionVerdict {
    let so_far = format!("{} of {} workers are ready", counts.ready, counts.wanted);
    if counts.wanted == 0 && observation.proxy.spec.workers.hold_seconds().is_some() {
        let message = "no worker is needed now; the next call starts one and waits for it";
        return ConditionVerdict::yes(Reason::Idle, message);
    }
    if counts.wanted == 0 {
        return ConditionVerdict::no(
            Reason::ScaledToZero,
            "spec.workers.replicas is 0; set it to 1 or more",
        );
    }
    if counts.all_ready() {
        return ConditionVerdict::yes(Reason::AsExpected, so_far);
    }
    if let Some(obstacle) = judge_obstacle(observation.deployment, observation.finding, &so_far) {
        return obstacle;
    }
    if !counts.observed || counts.updated < counts.wanted || counts.present > counts.wanted {
        let status = observation.proxy.status.as_ref();
        let known = status.is_some_and(|status| status.ready_replicas > 0);
        return judge_rollout(counts, known, &so_far);
    }
    ConditionVerdict::no(Reason::Starting, so_far)
}

/// Judges what keeps pods from being ready, if it is known: what was found, or that the Deployment's time is over.
fn judge_obstacle(
    deployment: Option<&Deployment>,
    finding: Option<&Finding>,
    so_far: &str,
) -> Option<ConditionVerdict> {
    if let Some(finding) = finding {
        let message = format!("{so_far}: {}", finding.message);
        return Some(ConditionVerdict::no(finding.reason, message));
    }
    let progress = find_condition(deployment?, "Progressing")?;
    (progress.status == "False").then(|| {
        let message = format!("{so_far}, and no more became so in time");
        ConditionVerdict::no(Reason::NotEnough, message)
    })
}

/// Judges pods that come: `known` says whether there were ready ones before.
fn judge_rollout(counts: Counts, known: bool, so_far: &str) -> ConditionVerdict {
    let reason = if known {
        Reason::RollingOut
    } else {
        Reason::Starting
    };
    let message = format!("{so_far}, {} have the newest configuration", counts.updated);
    ConditionVerdict::no(reason, message)
}

fn judge_model(observation: &Observation<'_>, counts: Counts) -> ConditionVerdict {
    let spec = &observation.proxy.spec;
    if !spec.extraction.tier.needs_model() && spec.decoder.is_none() {
        return ConditionVerdict::yes(Reason::NotNeeded, "the tier Lexical needs no model");
    }
    if let Some(finding) = observation.finding.filter(|finding| finding.model) {
        return ConditionVerdict::no(Reason::LoadFailed, &finding.message);
    }
    if counts.ready > 0 {
        // A worker is ready only after it has checked its model's sums and run it once.
        return ConditionVerdict::yes(Reason::Loaded, "read and checked by every ready worker");
    }
    if counts.present == 0 {
        return ConditionVerdict::no(Reason::NoWorkers, "there is no worker that could load it");
    }
    let progress = observation.progress.unwrap_or("no worker has read its model yet");
    ConditionVerdict::no(Reason::Loading, progress)
}

/// Judges the gateway, if the resource has one.
fn judge_gateway(observation: &Observation<'_>) -> Option<ConditionVerdict> {
    let wanted = observation.proxy.spec.gateway.as_ref()?;
    let missing = observation.missing_secrets.iter();
    let mut missing = missing.filter(|missing| {
        let mut own = wanted.list_secrets().into_iter();
        own.any(|(field, _)| field == missing.field)
    });
    let Some(seen) = observation.gateway else {
        return Some(ConditionVerdict::no(
            Reason::Starting,
            "the gateway is not made yet",
        ));
    };
    let counts = seen.count();
    let so_far = format!(
        "{} of {} pods of the gateway are ready",
        counts.ready, counts.wanted
    );
    if counts.all_ready() {
        return Some(ConditionVerdict::yes(Reason::AsExpected, so_far));
    }
    if let Some(missing) = missing.next() {
        let message = format!("{so_far}: {}", describe_missing(missing));
        return Some(ConditionVerdict::no(Reason::SecretNotFound, message));
    }
    let obstacle = judge_obstacle(Some(seen.deployment), seen.finding.as_ref(), &so_far);
    Some(obstacle.unwrap_or_else(|| {
        let status = observation.proxy.status.as_ref();
        let known = status.and_then(|status| status.gateway.as_ref());
        judge_rollout(
            counts,
            known.is_some_and(|known| known.ready_replicas > 0),
            &so_far,
        )
    }))
}

/// Judges the pods of applications that this proxy should serve.
fn judge_injection(missed: &MissedCount) -> ConditionVerdict {
    if missed.count == 0 {
        return ConditionVerdict::yes(Reason::AsExpected, "every opted-in pod has the sidecar");
    }
    let (pods, have) = match missed.count {
        1 => ("pod", "has"),
        _ => ("pods", "have"),
    };
    let message = format!(
        "{} opted-in {pods} {have} no sidecar, and documents leave whole: {}",
        missed.count,
        missed.list()
    );
    ConditionVerdict::no(Reason::PodsNotInjected, message)
}

fn describe_missing(missing: &MissingSecret) -> String {
    format!(
        "{} names the Secret {}, which is not there; new pods wait for it",
        missing.field, missing.name
    )
}

fn judge_degraded(
    observation: &Observation<'_>,
    counts: Counts,
    workers: &ConditionVerdict,
    parts: &[Option<&ConditionVerdict>],
) -> ConditionVerdict {
    if let Some((reason, message)) = &observation.failure {
        return ConditionVerdict::yes(*reason, message);
    }
    if let [first, ..] = observation.missing_secrets {
        return ConditionVerdict::yes(Reason::SecretNotFound, describe_missing(first));
    }
    let passing = [
        Reason::AsExpected,
        Reason::ScaledToZero,
        Reason::Starting,
        Reason::RollingOut,
    ];
    if counts.wanted > 0 && !passing.contains(&workers.reason) {
        return ConditionVerdict::yes(workers.reason, &workers.message);
    }
    let mut parts = parts.iter().flatten();
    if let Some(part) = parts.find(|part| !passing.contains(&part.reason)) {
        return ConditionVerdict::yes(part.reason, &part.message);
    }
    ConditionVerdict::no(Reason::AsExpected, "nothing is wrong")
}

/// Calls are served if the resource is accepted and at least one worker with its model is ready.
fn judge_ready(
    accepted: &ConditionVerdict,
    workers: &ConditionVerdict,
    model: &ConditionVerdict,
    counts: Counts,
) -> ConditionVerdict {
    if accepted.is("False") {
        return accepted.clone();
    }
    if workers.reason == Reason::Idle {
        return workers.clone();
    }
    if counts.ready == 0 || counts.wanted == 0 {
        let cause = if workers.is("False") { workers } else { model };
        return ConditionVerdict::no(cause.reason, &cause.message);
    }
    let message = format!("{} of {} workers are ready", counts.ready, counts.wanted);
    ConditionVerdict::yes(Reason::AsExpected, message)
}
