#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod gateway;
mod pods_and_cost;

use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::backoff::compute_backoff;
use super::conditions::{Observation, build_conditions};
use super::diagnose::{Finding, PodContext, diagnose};
use super::events::{ProxyEvent, describe_changes, describe_effects};
use super::observe::MissingSecret;
use super::status::{StatusInputs, build_status};
use crate::api::reasons::{ConditionReason, EventReason};
use crate::api::{LiquidMemoryProxy, PullPolicy, Status};
use crate::controller::apply::{Effect, LastApply, ObjectEffect, classify_effect};
use crate::objects::{Component, Objects, Platform};

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn proxy(spec: Value) -> LiquidMemoryProxy {
    let object = json!({
        "apiVersion": "liquidmemory.dev/v1alpha1",
        "kind": "LiquidMemoryProxy",
        "metadata": { "name": "docs", "namespace": "legal", "uid": "0b8c", "generation": 4 },
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn deployment(status: Value) -> Deployment {
    serde_json::from_value(json!({ "metadata": { "generation": 2 }, "status": status })).unwrap()
}

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({ "metadata": { "name": "docs-workers-1" }, "status": status })).unwrap()
}

fn quiet() -> Deployment {
    deployment(json!({ "observedGeneration": 2 }))
}

const AROUND: PodContext<'_> = PodContext {
    component: Component::Worker,
    certificate: true,
    gpu: Some("nvidia.com/gpu"),
    limits: &[],
};

fn find(status: Value) -> Option<Finding> {
    find_in(status, AROUND)
}

fn find_in(status: Value, around: PodContext<'_>) -> Option<Finding> {
    diagnose(&quiet(), &[pod(status)], around)
}

fn reason(status: Value) -> &'static str {
    find(status).map_or("none", |finding| finding.reason.as_str())
}

fn unscheduled(message: &str) -> Value {
    json!({ "conditions": [
        { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message },
    ] })
}

fn waiting(reason: &str) -> Value {
    json!({ "containerStatuses": [{
        "name": "worker", "image": "a", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": { "reason": reason, "message": "the kubelet's words" } },
    }] })
}

fn ended(code: i32, reason: &str, words: &str) -> Value {
    json!({ "containerStatuses": [{
        "name": "worker", "image": "a", "imageID": "", "ready": false, "restartCount": 3,
        "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } },
        "lastState": { "terminated": { "exitCode": code, "reason": reason, "message": words } },
    }] })
}

#[test]
fn pods_say_what_stands_in_the_way() {
    assert_eq!(
        reason(unscheduled(
            "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
        )),
        "NoGpu"
    );
    assert_eq!(
        reason(unscheduled("0/2 nodes are available: 2 Insufficient cpu.")),
        "Unschedulable"
    );
    for cause in [
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
    ] {
        assert_eq!(reason(waiting(cause)), "ImageNotPulled", "{cause}");
    }
    assert_eq!(reason(waiting("CreateContainerConfigError")), "Crashing");
    assert_eq!(reason(waiting("ContainerCreating")), "none");
    assert_eq!(reason(ended(1, "Error", "a\n\nlast words\n")), "Crashing");
    assert_eq!(reason(ended(0, "Completed", "")), "none");
    assert_eq!(reason(json!({})), "none");
    let volumes = json!({ "conditions": [{ "type": "PodReadyToStartContainers", "status": "False" }] });
    assert_eq!(reason(volumes.clone()), "VolumeNotMounted");
    let around = PodContext {
        certificate: false,
        ..AROUND
    };
    let finding = diagnose(&quiet(), &[pod(volumes)], around).unwrap();
    assert_eq!(finding.reason, ConditionReason::CertificateMissing);
}

#[test]
fn a_crash_quotes_the_last_line_and_knows_the_model() {
    let finding = find(ended(
        66,
        "Error",
        "starting\nmanifest.json: sha256 is a, not b\n",
    ))
    .unwrap();
    assert!(finding.model);
    assert_eq!(
        finding.message,
        "the worker ended with 66 (Error): manifest.json: sha256 is a, not b"
    );
    let killed = find(ended(137, "OOMKilled", "")).unwrap();
    assert!(
        !killed.model && killed.message.contains("resources.limits"),
        "{killed:?}"
    );
    let long = find(ended(1, "Error", &"é".repeat(1000))).unwrap();
    assert!(long.message.len() < 400);
}

#[test]
fn the_most_telling_pod_speaks() {
    let pods = [
        pod(unscheduled("x")),
        pod(ended(1, "Error", "boom")),
        pod(waiting("ErrImagePull")),
    ];
    assert_eq!(
        diagnose(&quiet(), &pods, AROUND).unwrap().reason,
        ConditionReason::Crashing
    );
    let ready = pod(json!({ "conditions": [{ "type": "Ready", "status": "True" }] }));
    assert_eq!(diagnose(&quiet(), &[ready], AROUND), None);
    let refused = deployment(json!({ "conditions": [
        { "type": "ReplicaFailure", "status": "True", "message": "exceeded quota" },
    ] }));
    let finding = diagnose(&refused, &pods, AROUND).unwrap();
    assert_eq!(
        (finding.reason, finding.message.as_str()),
        (ConditionReason::NotCreated, "exceeded quota")
    );
}

fn observed<'a>(proxy: &'a LiquidMemoryProxy, deployment: Option<&'a Deployment>) -> Observation<'a> {
    Observation {
        proxy,
        deployment,
        finding: None,
        gateway: None,
        progress: None,
        missing_secrets: &[],
        missed: None,
        failure: None,
    }
}

/// `Ready Accepted WorkersReady ModelLoaded Degraded` as `status/reason`.
fn summary(seen: &Observation<'_>) -> String {
    let all = build_conditions(seen, &[], at(10));
    let parts: Vec<_> = all
        .iter()
        .map(|one| format!("{}/{}", one.status, one.reason))
        .collect();
    parts.join(" ")
}

fn counts(replicas: i32, ready: i32, updated: i32) -> Deployment {
    deployment(json!({
        "observedGeneration": 2, "replicas": replicas, "readyReplicas": ready, "updatedReplicas": updated,
    }))
}

#[test]
fn conditions_of_a_life() {
    let one = proxy(json!({}));
    let table = [
        (
            counts(0, 0, 0),
            "False/Starting True/AsExpected False/Starting False/NoWorkers False/AsExpected",
        ),
        (
            counts(1, 0, 1),
            "False/Starting True/AsExpected False/Starting False/Loading False/AsExpected",
        ),
        (
            counts(1, 1, 1),
            "True/AsExpected True/AsExpected True/AsExpected True/Loaded False/AsExpected",
        ),
    ];
    for (deployment, expected) in table {
        assert_eq!(summary(&observed(&one, Some(&deployment))), expected);
    }
    let mut rolling = proxy(json!({ "workers": { "replicas": 3 } }));
    rolling.status = Some(Status {
        ready_replicas: 3,
        ..Status::default()
    });
    assert_eq!(
        summary(&observed(&rolling, Some(&counts(3, 2, 1)))),
        "True/AsExpected True/AsExpected False/RollingOut True/Loaded False/AsExpected"
    );
    let none = proxy(json!({ "workers": { "replicas": 0 } }));
    assert_eq!(
        summary(&observed(&none, Some(&counts(0, 0, 0)))),
        "False/ScaledToZero True/AsExpected False/ScaledToZero False/NoWorkers False/AsExpected"
    );
    let lexical = proxy(json!({ "extraction": { "tier": "Lexical" } }));
    assert!(summary(&observed(&lexical, Some(&counts(1, 0, 1)))).contains("True/NotNeeded"));
    let source = json!({ "image": { "path": "/models/decoder" } });
    let decoder = proxy(json!({ "extraction": { "tier": "Lexical" }, "decoder": { "source": source } }));
    let loading = counts(1, 0, 1);
    let mut seen = observed(&decoder, Some(&loading));
    assert!(summary(&seen).contains("False/Loading"));
    seen.progress = Some("docs-workers-1: warming up");
    let loaded = build_conditions(&seen, &[], at(10))
        .into_iter()
        .find(|one| one.type_ == "ModelLoaded");
    assert_eq!(loaded.unwrap().message, "docs-workers-1: warming up");
}

/// What the scheduler says of workers where no node has a GPU.
fn no_gpu() -> Finding {
    Finding {
        reason: ConditionReason::NoGpu,
        message: "2 Insufficient nvidia.com/gpu".into(),
        model: false,
    }
}

#[test]
fn conditions_of_trouble() {
    let proxy = proxy(json!({}));
    let deployment = counts(1, 0, 1);
    let finding = no_gpu();
    let mut trouble = observed(&proxy, Some(&deployment));
    trouble.finding = Some(&finding);
    assert_eq!(
        summary(&trouble),
        "False/NoGpu True/AsExpected False/NoGpu False/Loading True/NoGpu"
    );
    let model = Finding {
        reason: ConditionReason::Crashing,
        model: true,
        ..finding.clone()
    };
    trouble.finding = Some(&model);
    assert!(summary(&trouble).contains("False/LoadFailed"));

    let mut refused = observed(&proxy, None);
    refused.failure = Some((ConditionReason::Refused, "quota".into()));
    assert_eq!(
        summary(&refused),
        "False/Refused False/Refused False/Starting False/NoWorkers True/Refused"
    );
    let missing = [MissingSecret {
        field: "spec.synthesis",
        name: "openai".to_owned(),
    }];
    let well = counts(1, 1, 1);
    let mut secret = observed(&proxy, Some(&well));
    secret.missing_secrets = &missing;
    assert!(summary(&secret).ends_with("True/SecretNotFound"));
    let stuck = deployment_stuck();
    assert!(summary(&observed(&proxy, Some(&stuck))).contains("False/NotEnough"));
}

fn deployment_stuck() -> Deployment {
    deployment(json!({
        "observedGeneration": 2, "replicas": 1, "updatedReplicas": 1,
        "conditions": [{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }],
    }))
}

#[test]
fn a_condition_keeps_its_time_while_its_status_stays() {
    let proxy = proxy(json!({}));
    let (starting, well) = (counts(1, 0, 1), counts(1, 1, 1));
    let first = build_conditions(&observed(&proxy, Some(&starting)), &[], at(10));
    let second = build_conditions(&observed(&proxy, Some(&well)), &first, at(20));
    let time = |all: &[Condition], name: &str| {
        let found = all.iter().find(|one| one.type_ == name).unwrap();
        found.last_transition_time.0.as_second()
    };
    assert_eq!(time(&second, "Accepted"), 10);
    assert_eq!(time(&second, "WorkersReady"), 20);
    assert!(second.iter().all(|one| one.observed_generation == Some(4)));
}

#[test]
fn waits_grow_and_end() {
    let waits: Vec<u64> = (1..=12)
        .map(|failures| compute_backoff(failures).as_secs())
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    assert_eq!(compute_backoff(u32::MAX), Duration::from_secs(300));
}

fn platform() -> Platform {
    Platform {
        namespace: "liquid-memory".into(),
        sidecar_image: "sidecar:2".into(),
        worker_image: "worker:2".into(),
        pull_policy: PullPolicy::IfNotPresent,
        pull_secrets: Vec::new(),
        pod_user: crate::api::PodUser::Fixed,
        model_public_key: None,
        operator_host: "liquid-operator.liquid-memory.svc.cluster.local".into(),
        cluster_domain: "cluster.local".into(),
        any_address: Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn status_of(proxy: &LiquidMemoryProxy, deployment: &Deployment) -> Status {
    let objects = Objects::build(proxy, &platform()).unwrap();
    let newer = Platform {
        worker_image: "worker:3".into(),
        ..platform()
    };
    let inputs = StatusInputs {
        objects: &objects,
        platform: &newer,
        usage: None,
        gateway_remains: false,
    };
    build_status(&observed(proxy, Some(deployment)), inputs, at(10))
}

#[test]
fn the_status_says_how_a_change_arrives() {
    let proxy = proxy(json!({}));
    let status = status_of(&proxy, &counts(1, 1, 1));
    assert_eq!(
        (status.workers.as_deref(), status.replicas, status.ready_replicas),
        (Some("1/1"), 1, 1)
    );
    assert!(
        status
            .selector
            .unwrap()
            .contains("app.kubernetes.io/instance=docs")
    );
    let configuration = status.configuration.unwrap();
    insta::assert_snapshot!("configuration", serde_saphyr::to_string(&configuration).unwrap());
}

#[test]
fn events_tell_changes_once() {
    let (before, after) = (
        proxy(json!({})),
        proxy(json!({ "policy": { "mode": "Off" }, "workers": { "startSeconds": 90 } })),
    );
    let old = status_of(&before, &counts(1, 0, 1));
    let new = status_of(&after, &counts(1, 1, 1));
    let reasons: Vec<_> = describe_changes(Some(&old), &new)
        .iter()
        .map(|event| event.reason)
        .collect();
    assert_eq!(
        reasons,
        [
            EventReason::ConfigurationChanged,
            EventReason::RolloutStarted,
            EventReason::ModelLoaded,
            EventReason::WorkersReady,
        ]
    );
    assert_eq!(describe_changes(Some(&new), &new), []);
    assert_eq!(describe_changes(None, &old), []);
    assert_eq!(describe_changes(None, &new)[1].reason, EventReason::WorkersReady);
}

#[test]
fn a_model_that_cannot_be_read_has_an_event_of_its_own() {
    let (proxy, deployment) = (proxy(json!({})), counts(1, 0, 1));
    let words = "decoder.folder: /etc/liquid/decoder/tokenizer.json: No such file";
    let finding = find(ended(66, "Error", words)).unwrap();
    let mut failed = observed(&proxy, Some(&deployment));
    failed.finding = Some(&finding);
    let new = Status {
        conditions: build_conditions(&failed, &[], at(10)),
        ..Status::default()
    };
    let events = describe_changes(None, &new);
    assert_eq!(events[0].reason, EventReason::ModelLoadFailed);
    assert!(events[0].warning && events[0].note.contains(words), "{events:?}");
    assert_eq!(describe_changes(Some(&new), &new), []);
}

#[test]
fn trouble_is_told_with_its_cause() {
    let proxy = proxy(json!({}));
    let deployment = counts(1, 0, 1);
    let finding = no_gpu();
    let mut trouble = observed(&proxy, Some(&deployment));
    trouble.finding = Some(&finding);
    let new = Status {
        conditions: build_conditions(&trouble, &[], at(10)),
        ..Status::default()
    };
    let note = "NoGpu: 0 of 1 workers are ready: 2 Insufficient nvidia.com/gpu";
    assert_eq!(
        describe_changes(None, &new),
        [ProxyEvent::warning(EventReason::WorkersNotReady, note)]
    );
    assert_eq!(describe_changes(Some(&new), &new), []);
}

#[test]
fn what_was_applied_is_told_where_it_matters() {
    let effect = |effect| {
        let (kind, name) = ("Deployment", "docs-workers".to_owned());
        vec![ObjectEffect { kind, name, effect }]
    };
    assert_eq!(describe_effects(&effect(Effect::Nothing)), []);
    assert_eq!(describe_effects(&effect(Effect::Changed)), []);
    assert_eq!(
        describe_effects(&effect(Effect::Created))[0].reason,
        EventReason::WorkersCreated
    );
    let repaired = describe_effects(&effect(Effect::Repaired));
    assert!(
        repaired[0].warning
            && repaired[0]
                .note
                .starts_with("Deployment docs-workers had been changed")
    );
}

#[test]
fn an_apply_knows_what_it_has_done() {
    let applied = |wanted: &str, second| LastApply {
        version: None,
        wanted: wanted.into(),
        changed: Some(at(second)),
    };
    assert_eq!(classify_effect(false, None, &applied("a", 1)), Effect::Created);
    // After a restart of the operator nothing is known of what it did before.
    assert_eq!(classify_effect(true, None, &applied("a", 1)), Effect::Nothing);
    assert_eq!(
        classify_effect(true, Some(&applied("a", 1)), &applied("a", 1)),
        Effect::Nothing
    );
    assert_eq!(
        classify_effect(true, Some(&applied("a", 1)), &applied("b", 2)),
        Effect::Changed
    );
    assert_eq!(
        classify_effect(true, Some(&applied("a", 1)), &applied("a", 2)),
        Effect::Repaired
    );
}
