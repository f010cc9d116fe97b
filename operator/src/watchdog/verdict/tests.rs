#![allow(clippy::unwrap_used, reason = "tests")]

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::super::candidates::{Candidate, Controller};
use super::{Surroundings, Verdict, describe, judge_pod};
use crate::api::LiquidMemoryProxy;
use crate::config::tests::settings;
use crate::inject::Proxy;
use crate::names::INJECT_LABEL;
use crate::webhook::cluster::to_injection;

/// A proxy as the watch shows it.
fn proxy(name: &str, created: &str) -> Proxy {
    let proxy: LiquidMemoryProxy = serde_json::from_value(json!({
        "apiVersion": "liquidmemory.dev/v1alpha1", "kind": "LiquidMemoryProxy",
        "metadata": { "name": name, "namespace": "shop", "creationTimestamp": created }, "spec": {},
    }))
    .unwrap();
    to_injection(&proxy).unwrap()
}

fn around() -> Surroundings {
    Surroundings {
        labels: [(INJECT_LABEL.to_owned(), "enabled".to_owned())].into(),
        proxies: vec![
            proxy("other", "2026-11-30T12:00:01Z"),
            proxy("docs", "2026-11-30T12:00:00Z"),
        ],
    }
}

fn candidate(replaces_pods: bool) -> Candidate {
    Candidate {
        uid: "1".into(),
        namespace: "shop".into(),
        name: "web-1".into(),
        label: None,
        controller: Some(Controller {
            uid: "2".into(),
            kind: "ReplicaSet".into(),
            name: "web".into(),
            replaces_pods,
        }),
    }
}

/// Judges a pod with this metadata and container.
fn judge(metadata: Value, container: Value) -> Verdict {
    let defaults = settings(&[]).sidecar_defaults();
    let pod: DynamicObject =
        serde_json::from_value(json!({ "metadata": metadata, "spec": { "containers": [container] } }))
            .unwrap();
    judge_pod(candidate(true), &pod, &around(), None, &defaults)
}

#[test]
fn a_missed_pod_is_the_one_of_the_proxy_that_would_serve_it() {
    let plain = judge(json!({}), json!({ "name": "main" }));
    assert_eq!((plain.is_missed(), plain.proxy.as_deref()), (true, Some("docs")));
    let named = json!({ "annotations": { "liquidmemory.dev/proxy": "other" } });
    assert_eq!(
        judge(named, json!({ "name": "main" })).proxy.as_deref(),
        Some("other")
    );
    let out = json!({ "labels": { "liquidmemory.dev/inject": "disabled" } });
    assert!(!judge(out, json!({ "name": "main" })).is_missed());
}

#[test]
fn a_pod_that_would_be_refused_is_said_with_the_remedy_and_of_its_proxy() {
    let taken = json!({ "name": "main", "ports": [{ "containerPort": 8787 }] });
    let verdict = judge(json!({}), taken);
    assert_eq!(
        (verdict.is_missed(), verdict.proxy.as_deref()),
        (true, Some("docs"))
    );
    let note = describe(&verdict);
    assert!(
        note.contains("Created again it would be refused: spec.containers[main] has containerPort 8787"),
        "{note}"
    );
}

#[test]
fn a_pod_is_said_to_be_restarted_by_its_controller_or_created_again_by_hand() {
    let mut verdict = judge(json!({}), json!({ "name": "main" }));
    let note = describe(&verdict);
    assert!(
        note.ends_with("Restart what owns it, ReplicaSet web, so that it is created again"),
        "{note}"
    );
    verdict.candidate = candidate(false);
    let note = describe(&verdict);
    assert!(note.ends_with("Delete it and create it again"), "{note}");
}
