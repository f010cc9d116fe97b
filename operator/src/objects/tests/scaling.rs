//! Workers whose number follows the load.

use serde_json::{Value, json};

use super::{build, file, platform, proxy};
use crate::objects::{Inputs, Objects};

fn scaled(least: i32) -> Value {
    json!({ "workers": { "replicas": 7, "autoscaling": { "minReplicas": least, "maxReplicas": 4, "holdSeconds": 30 } } })
}

fn replicas(objects: &Objects) -> Option<i32> {
    objects.deployment.spec.as_ref().unwrap().replicas
}

#[test]
fn the_first_worker_shows_that_the_model_can_be_read() {
    assert_eq!(
        [0, 1, 3].map(|least| replicas(&build(scaled(least)))),
        [Some(1), Some(1), Some(3)]
    );
}

#[test]
fn the_number_in_the_cluster_stays_within_the_bounds() {
    let kept = |spec: &Value, live: i32| {
        let mut there = build(spec.clone()).deployment;
        there.spec.as_mut().unwrap().replicas = Some(live);
        replicas(&build(spec.clone()).keep_replicas(&proxy(spec.clone()), Some(&there)))
    };
    assert_eq!(
        [0, 2, 9].map(|live| kept(&scaled(0), live)),
        [Some(0), Some(2), Some(4)]
    );
    assert_eq!(kept(&scaled(1), 0), Some(1));
    assert_eq!(kept(&json!({ "workers": { "replicas": 3 } }), 5), Some(3));
}

#[test]
fn another_number_replaces_no_worker() {
    let sum = |spec: Value| Inputs::from_proxy(&proxy(spec), &platform()).unwrap().sum;
    assert_eq!(sum(scaled(0)), sum(json!({})));
    let template = |spec: Value| build(spec).deployment.spec.unwrap().template;
    assert_eq!(template(scaled(0)), template(json!({})));
}

#[test]
fn sidecars_ask_for_a_worker_where_there_may_be_none() {
    let objects = Objects::build(&proxy(scaled(0)), &platform()).unwrap();
    let text = file(&objects.sidecar_config);
    let wake = "[extract.wake]\nurl = \"https://liquid-operator.liquid-memory.svc.cluster.local/wake\"\nhold_ms = 30000\n";
    assert!(text.contains(wake), "{text}");
    assert!(!file(&build(scaled(1)).sidecar_config).contains("wake"));
}
