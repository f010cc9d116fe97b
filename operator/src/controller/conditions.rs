//! The conditions that follow from what was seen: pure.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::diagnose::{Finding, condition};
use crate::api::LiquidMemoryProxy;
use crate::api::extraction::Tier;
use crate::api::reasons::{ConditionReason as Reason, ConditionType};

/// What was seen of a proxy's workers.
pub(super) struct Seen<'a> {
    pub(super) proxy: &'a LiquidMemoryProxy,
    /// As the API server gave it back; none if it was not reached.
    pub(super) deployment: Option<&'a Deployment>,
    pub(super) finding: Option<&'a Finding>,
    /// Secrets of `spec.synthesis` that are not there.
    pub(super) missing_secrets: &'a [String],
    /// Why the objects are not as asked for.
    pub(super) failure: Option<(Reason, String)>,
}

/// A condition's status, reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    status: &'static str,
    reason: Reason,
    message: String,
}

impl Verdict {
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

/// How many workers there are.
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
    pub(super) fn of(wanted: i32, deployment: Option<&Deployment>) -> Self {
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

/// The conditions of a proxy. One that keeps its status keeps its time.
pub(super) fn conditions(seen: &Seen<'_>, old: &[Condition], now: Time) -> Vec<Condition> {
    let counts = Counts::of(seen.proxy.spec.workers.replicas, seen.deployment);
    let accepted = accepted(seen);
    let workers = workers(seen, counts);
    let model = model(seen, counts);
    let degraded = degraded(seen, counts, &workers);
    let ready = ready(&accepted, &workers, &model, counts);
    let all = [
        (ConditionType::Ready, ready),
        (ConditionType::Accepted, accepted),
        (ConditionType::WorkersReady, workers),
        (ConditionType::ModelLoaded, model),
        (ConditionType::Degraded, degraded),
    ];
    let generation = seen.proxy.metadata.generation;
    all.into_iter()
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
        .collect()
}

fn accepted(seen: &Seen<'_>) -> Verdict {
    match &seen.failure {
        // Whether it is valid was decided before; that the API server is away says nothing about it.
        Some((reason, message)) if *reason != Reason::ApiUnavailable => Verdict::no(*reason, message),
        _ => Verdict::yes(Reason::AsExpected, "every object is as the resource asks for"),
    }
}

fn workers(seen: &Seen<'_>, counts: Counts) -> Verdict {
    let so_far = format!("{} of {} workers are ready", counts.ready, counts.wanted);
    if counts.wanted == 0 {
        return Verdict::no(
            Reason::ScaledToZero,
            "spec.workers.replicas is 0; set it to 1 or more",
        );
    }
    if counts.all_ready() {
        return Verdict::yes(Reason::AsExpected, so_far);
    }
    if let Some(finding) = seen.finding {
        return Verdict::no(finding.reason, format!("{so_far}: {}", finding.message));
    }
    let stuck = seen
        .deployment
        .and_then(|deployment| condition(deployment, "Progressing"));
    if stuck.is_some_and(|progress| progress.status == "False") {
        return Verdict::no(
            Reason::NotEnough,
            format!("{so_far}, and no more became so in time"),
        );
    }
    let known = seen
        .proxy
        .status
        .as_ref()
        .is_some_and(|status| status.ready_replicas > 0);
    if !counts.observed || counts.updated < counts.wanted || counts.present > counts.wanted {
        let reason = if known {
            Reason::RollingOut
        } else {
            Reason::Starting
        };
        return Verdict::no(
            reason,
            format!("{so_far}, {} have the newest configuration", counts.updated),
        );
    }
    Verdict::no(Reason::Starting, so_far)
}

fn model(seen: &Seen<'_>, counts: Counts) -> Verdict {
    if seen.proxy.spec.extraction.tier == Tier::Lexical {
        return Verdict::yes(Reason::NotNeeded, "the tier Lexical needs no model");
    }
    if let Some(finding) = seen.finding.filter(|finding| finding.model) {
        return Verdict::no(Reason::LoadFailed, &finding.message);
    }
    if counts.ready > 0 {
        // A worker is ready only after it has checked its model's sums and run it once.
        return Verdict::yes(Reason::Loaded, "read and checked by every ready worker");
    }
    if counts.present == 0 {
        return Verdict::no(Reason::NoWorkers, "there is no worker that could load it");
    }
    Verdict::no(Reason::Loading, "no worker has read its model yet")
}

fn degraded(seen: &Seen<'_>, counts: Counts, workers: &Verdict) -> Verdict {
    if let Some((reason, message)) = &seen.failure {
        return Verdict::yes(*reason, message);
    }
    if let [first, ..] = seen.missing_secrets {
        let message =
            format!("spec.synthesis names the Secret {first}, which is not there; new pods wait for it");
        return Verdict::yes(Reason::SecretNotFound, message);
    }
    let passing = [
        Reason::AsExpected,
        Reason::ScaledToZero,
        Reason::Starting,
        Reason::RollingOut,
    ];
    if counts.wanted > 0 && !passing.contains(&workers.reason) {
        return Verdict::yes(workers.reason, &workers.message);
    }
    Verdict::no(Reason::AsExpected, "nothing is wrong")
}

/// Calls are served: accepted, and at least one worker with its model is ready.
fn ready(accepted: &Verdict, workers: &Verdict, model: &Verdict, counts: Counts) -> Verdict {
    if accepted.is("False") {
        return accepted.clone();
    }
    if counts.ready == 0 || counts.wanted == 0 {
        let cause = if workers.is("False") { workers } else { model };
        return Verdict::no(cause.reason, &cause.message);
    }
    let message = format!("{} of {} workers are ready", counts.ready, counts.wanted);
    Verdict::yes(Reason::AsExpected, message)
}
