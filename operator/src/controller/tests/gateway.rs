//! What the status says of a gateway.

use serde_json::json;

use super::super::conditions::ObservedGateway;
use super::super::observe::MissingSecret;
use super::super::status::{StatusInputs, build_status};
use super::{AROUND, at, counts, deployment, find_in, observed, platform, proxy, status_of, summary};
use crate::api::Status;
use crate::api::reasons::{ConditionReason, ConditionType, EventReason};
use crate::api::status::GatewayStatus;
use crate::controller::diagnose::PodContext;
use crate::controller::events::describe_changes;
use crate::objects::{Component, Objects};

fn with_gateway() -> crate::api::LiquidMemoryProxy {
    proxy(json!({ "gateway": { "clients": { "tokenSecret": "clients" } } }))
}

/// `GatewayReady Degraded`.
fn judge(seen: &super::Observation<'_>) -> String {
    let all = summary(seen);
    let parts: Vec<&str> = all.split(' ').collect();
    parts[parts.len() - 2..].join(" ")
}

#[test]
fn a_gateway_has_a_condition_of_its_own() {
    let (proxy, workers) = (with_gateway(), counts(1, 1, 1));
    let mut seen = observed(&proxy, Some(&workers));
    assert_eq!(judge(&seen), "False/Starting False/AsExpected");
    let ready = deployment(json!({
        "observedGeneration": 2, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2,
    }));
    let (ready, starting) = (two(ready), two(counts(1, 0, 1)));
    let [ready, starting] = [&ready, &starting].map(|deployment| ObservedGateway {
        deployment,
        finding: None,
    });
    seen.gateway = Some(&ready);
    assert_eq!(judge(&seen), "True/AsExpected False/AsExpected");
    seen.gateway = Some(&starting);
    assert_eq!(judge(&seen), "False/Starting False/AsExpected");
    let missing = [MissingSecret {
        field: "spec.gateway.clients.tokenSecret",
        name: "clients".into(),
    }];
    seen.missing_secrets = &missing;
    assert_eq!(judge(&seen), "False/SecretNotFound True/SecretNotFound");
}

fn two(mut deployment: k8s_openapi::api::apps::v1::Deployment) -> k8s_openapi::api::apps::v1::Deployment {
    deployment.spec.get_or_insert_default().replicas = Some(2);
    deployment
}

#[test]
fn what_stands_in_the_gateways_way_is_said_of_the_gateway() {
    let around = PodContext {
        component: Component::Gateway,
        ..AROUND
    };
    let waits = json!({ "conditions": [{ "type": "PodReadyToStartContainers", "status": "False" }] });
    let finding = find_in(
        waits,
        PodContext {
            certificate: false,
            ..around
        },
    )
    .unwrap();
    assert_eq!(finding.reason, ConditionReason::CertificateMissing);
    assert!(
        finding.message.contains("the gateway's certificate"),
        "{}",
        finding.message
    );
    let ended = json!({ "containerStatuses": [{
        "name": "liquid-sidecar", "image": "", "imageID": "", "ready": false, "restartCount": 1,
        "state": { "terminated": { "exitCode": 137, "reason": "OOMKilled" } },
    }] });
    let finding = find_in(ended, around).unwrap();
    assert!(
        finding.message.contains("spec.gateway.resources.limits"),
        "{}",
        finding.message
    );
}

#[test]
fn the_status_names_the_url_until_the_gateway_is_gone() {
    let (proxy, workers) = (with_gateway(), counts(1, 1, 1));
    let wanted = GatewayStatus {
        url: "https://docs-gateway.legal.svc.cluster.local".into(),
        authority: Some("docs-gateway-ca".into()),
        pods: "0/0".into(),
        ready_replicas: 0,
    };
    let status = status_of(&proxy, &workers);
    assert_eq!(status.gateway, Some(wanted.clone()));
    assert!(status.condition(ConditionType::GatewayReady).is_some());

    let mut without = super::proxy(json!({}));
    without.status = Some(status);
    let platform = platform();
    let build = |gateway_remains| -> Status {
        let objects = Objects::build(&without, &platform).unwrap();
        let inputs = StatusInputs {
            objects: &objects,
            platform: &platform,
            usage: None,
            gateway_remains,
        };
        build_status(&observed(&without, Some(&workers)), inputs, at(20))
    };
    assert_eq!(build(true).gateway, Some(wanted));
    assert_eq!(build(false).gateway, None);
    assert!(build(false).condition(ConditionType::GatewayReady).is_none());
}

#[test]
fn a_gateway_that_becomes_ready_is_told_once() {
    let (proxy, workers) = (with_gateway(), counts(1, 1, 1));
    let old = status_of(&proxy, &workers);
    let mut new = old.clone();
    for condition in &mut new.conditions {
        if condition.type_ == ConditionType::GatewayReady.as_str() {
            condition.status = "True".into();
            condition.reason = ConditionReason::AsExpected.as_str().into();
        }
    }
    let reasons: Vec<_> = describe_changes(Some(&old), &new)
        .iter()
        .map(|event| event.reason)
        .collect();
    assert_eq!(reasons, [EventReason::GatewayReady]);
    let lost = describe_changes(Some(&new), &old);
    assert!(lost.is_empty(), "it starts again, which passes: {lost:?}");
}
