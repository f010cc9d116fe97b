//! Events on a proxy: what has changed since its last status, in words that a person understands.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder};

use super::apply::{Effect, ObjectEffect};
use crate::api::reasons::{ConditionReason, ConditionType, EventReason};
use crate::api::{LiquidMemoryProxy, Status};
use crate::events::{self, shorten};

/// Longest note of an Event, in bytes; the API server takes 1024.
const NOTE: usize = 1_000;

/// An Event on a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProxyEvent {
    pub(super) warning: bool,
    pub(super) reason: EventReason,
    pub(super) note: String,
}

impl ProxyEvent {
    pub(super) fn normal(reason: EventReason, note: impl Into<String>) -> Self {
        Self {
            warning: false,
            reason,
            note: note.into(),
        }
    }

    pub(super) fn warning(reason: EventReason, note: impl Into<String>) -> Self {
        Self {
            warning: true,
            reason,
            note: note.into(),
        }
    }
}

/// Describes what the applies of one reconciliation have done.
pub(super) fn describe_effects(effects: &[ObjectEffect]) -> Vec<ProxyEvent> {
    let names = |wanted: Effect| {
        let chosen = effects.iter().filter(|object| object.effect == wanted);
        let names: Vec<String> = chosen
            .map(|object| format!("{} {}", object.kind, object.name))
            .collect();
        names.join(", ")
    };
    let mut events = Vec::new();
    let created = names(Effect::Created);
    if !created.is_empty() {
        events.push(ProxyEvent::normal(
            EventReason::WorkersCreated,
            format!("made {created}"),
        ));
    }
    let repaired = names(Effect::Repaired);
    if !repaired.is_empty() {
        let note =
            format!("{repaired} had been changed by somebody else and is as the resource asks for again");
        events.push(ProxyEvent::warning(EventReason::DriftRepaired, note));
    }
    events
}

/// Describes what differs between two statuses.
pub(super) fn describe_changes(old: Option<&Status>, new: &Status) -> Vec<ProxyEvent> {
    let mut events = Vec::new();
    let revisions = |status: &Status| {
        status
            .configuration
            .as_ref()
            .map(|all| (all.sidecars.revision.clone(), all.workers.revision.clone()))
    };
    if let (Some((sidecars, workers)), Some((now_sidecars, now_workers))) =
        (old.and_then(revisions), revisions(new))
    {
        if sidecars != now_sidecars {
            let note = "sidecars read their changed configuration within two minutes; nothing restarts";
            events.push(ProxyEvent::normal(EventReason::ConfigurationChanged, note));
        }
        if workers != now_workers {
            let note = "workers are replaced one after the other, because they read what has changed at their \
                        start only";
            events.push(ProxyEvent::normal(EventReason::RolloutStarted, note));
        }
    }
    events.extend(describe_model(old, new));
    events.extend(describe_workers(old, new));
    events.extend(describe_gateway(old, new));
    events
}

/// Returns a condition of a status, unless the one before it had the same status and reason.
fn find_change<'a>(name: ConditionType, old: Option<&Status>, new: &'a Status) -> Option<&'a Condition> {
    let now = new.condition(name)?;
    let before = old.and_then(|old| old.condition(name));
    let same = before.is_some_and(|before| before.status == now.status && before.reason == now.reason);
    (!same).then_some(now)
}

fn describe_model(old: Option<&Status>, new: &Status) -> Option<ProxyEvent> {
    let now = find_change(ConditionType::ModelLoaded, old, new)?;
    let is = |reason: ConditionReason| now.reason == reason.as_str();
    if is(ConditionReason::Loaded) {
        return Some(ProxyEvent::normal(EventReason::ModelLoaded, &now.message));
    }
    is(ConditionReason::LoadFailed).then(|| ProxyEvent::warning(EventReason::ModelLoadFailed, &now.message))
}

fn describe_workers(old: Option<&Status>, new: &Status) -> Option<ProxyEvent> {
    let change = find_change(ConditionType::WorkersReady, old, new)?;
    describe_readiness(change, EventReason::WorkersReady, EventReason::WorkersNotReady)
}

fn describe_gateway(old: Option<&Status>, new: &Status) -> Option<ProxyEvent> {
    let change = find_change(ConditionType::GatewayReady, old, new)?;
    describe_readiness(change, EventReason::GatewayReady, EventReason::GatewayNotReady)
}

fn describe_readiness(change: &Condition, ready: EventReason, not_ready: EventReason) -> Option<ProxyEvent> {
    let Condition {
        status,
        reason,
        message,
        ..
    } = change;
    if status == "True" {
        return Some(ProxyEvent::normal(ready, message));
    }
    let passing = [
        ConditionReason::Starting,
        ConditionReason::RollingOut,
        ConditionReason::ScaledToZero,
        // It is there a moment later; the condition says so meanwhile.
        ConditionReason::CertificateMissing,
    ];
    if passing.iter().any(|passing| passing.as_str() == *reason) {
        return None;
    }
    Some(ProxyEvent::warning(not_ready, format!("{reason}: {message}")))
}

/// Sends Events. One that cannot be sent is logged; it changes nothing.
pub(super) async fn publish(recorder: &Recorder, regarding: &ObjectReference, events: Vec<ProxyEvent>) {
    for ProxyEvent {
        warning,
        reason,
        mut note,
    } in events
    {
        shorten(&mut note, NOTE);
        let event = Event {
            type_: if warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: reason.as_str().into(),
            note: Some(note),
            action: "Reconcile".into(),
            secondary: None,
        };
        events::publish(recorder, regarding, event).await;
    }
}

/// Builds the reference by which Events name a proxy.
pub(super) fn build_reference(meta: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some(LiquidMemoryProxy::api_version(&()).into()),
        kind: Some(LiquidMemoryProxy::kind(&()).into()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        ..ObjectReference::default()
    }
}
