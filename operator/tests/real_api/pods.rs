//! What becomes of pods.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::Shared;
use crate::stage::{Stage, pod, typed};

pub(crate) fn trials(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        shared.trial("a_pod_of_an_opted_in_namespace_is_injected", injected),
        shared.trial("the_owner_is_told", the_owner_is_told),
        shared.trial("labels_decide", labels_decide),
        shared.trial("a_dry_run_leaves_no_event", a_dry_run_leaves_no_event),
        shared.trial("denials_reach_the_user", denials_reach_the_user),
        shared.trial("config_maps_are_read", config_maps_are_read),
        shared.trial("a_young_proxy_counts_at_once", a_young_proxy_counts_at_once),
    ]
}

fn sidecar(pod: &Pod) -> Option<&Container> {
    let containers = pod
        .spec
        .as_ref()
        .unwrap()
        .init_containers
        .as_deref()
        .unwrap_or_default();
    containers
        .iter()
        .find(|container| container.name == "liquid-sidecar")
}

fn variable(pod: &Pod, name: &str) -> Option<String> {
    let app = &pod.spec.as_ref().unwrap().containers[0];
    let variables = app.env.as_deref().unwrap_or_default();
    variables
        .iter()
        .find(|variable| variable.name == name)?
        .value
        .clone()
}

async fn create(stage: &Stage, namespace: &str, pod: &Pod) -> Result<Pod, String> {
    let pods = stage.pods(namespace);
    let created = pods.create(&PostParams::default(), pod).await;
    created.map_err(|error| error.to_string())
}

async fn injected(stage: Arc<Stage>) {
    // The namespace enforces Pod Security "restricted".
    let pod = create(&stage, &stage.shop, &pod("injected")).await.unwrap();
    let sidecar = sidecar(&pod).unwrap();
    assert_eq!(sidecar.restart_policy.as_deref(), Some("Always"));
    assert_eq!(pod.annotations()["liquidmemory.dev/injected"], "main");
    assert_eq!(
        variable(&pod, "OPENAI_BASE_URL").as_deref(),
        Some("http://127.0.0.1:8787/v1")
    );
    let secrets = pod
        .spec
        .as_ref()
        .unwrap()
        .image_pull_secrets
        .as_deref()
        .unwrap_or_default();
    assert!(secrets.iter().any(|secret| secret.name == "registry-key"));

    // The application has its token and the sidecar has none.
    let token = |container: &Container| {
        let mounts = container.volume_mounts.as_deref().unwrap_or_default();
        mounts
            .iter()
            .any(|mount| mount.name.starts_with("kube-api-access"))
    };
    assert!(token(&pod.spec.as_ref().unwrap().containers[0]));
    assert!(!token(sidecar));

    let note = stage.wait_for_event(&stage.shop, "injected", "Injected").await;
    assert_eq!(
        note,
        "sidecar of LiquidMemoryProxy main added; calls of app pass it"
    );
}

async fn the_owner_is_told(stage: Arc<Stage>) {
    let template: Value = serde_json::to_value(pod("x")).unwrap();
    let set: ReplicaSet = typed(json!({
        "metadata": { "name": "owner" },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "owner" } },
            "template": { "metadata": { "labels": { "app": "owner" } }, "spec": template["spec"] },
        },
    }));
    let sets: Api<ReplicaSet> = Api::namespaced(stage.client.clone(), &stage.shop);
    sets.create(&PostParams::default(), &set).await.unwrap();
    let of_set = ListParams::default().labels("app=owner");
    stage
        .wait("two pods", async || {
            stage.pods(&stage.shop).list(&of_set).await.unwrap().items.len() == 2
        })
        .await;
    for pod in stage.pods(&stage.shop).list(&of_set).await.unwrap() {
        assert!(sidecar(&pod).is_some());
    }
    stage.wait_for_event(&stage.shop, "owner", "Injected").await;
}

async fn labels_decide(stage: Arc<Stage>) {
    let labelled = |name: &str, value: &str| {
        let mut pod = pod(name);
        pod.labels_mut()
            .insert("liquidmemory.dev/inject".into(), value.into());
        pod
    };
    let out = create(&stage, &stage.shop, &labelled("opted-out", "disabled"))
        .await
        .unwrap();
    assert!(sidecar(&out).is_none());
    let plain = create(&stage, &stage.plain, &pod("plain")).await.unwrap();
    assert!(sidecar(&plain).is_none());
    let own = create(&stage, &stage.plain, &labelled("opted-in", "enabled"))
        .await
        .unwrap();
    assert!(sidecar(&own).is_some());
}

async fn a_dry_run_leaves_no_event(stage: Arc<Stage>) {
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let answered = stage.pods(&stage.shop).create(&dry, &pod("dry")).await.unwrap();
    assert!(sidecar(&answered).is_some());
    // Events are written in order: once a later one is there, the dry run's would be too.
    create(&stage, &stage.shop, &pod("after-dry")).await.unwrap();
    stage.wait_for_event(&stage.shop, "after-dry", "Injected").await;
    assert_eq!(stage.events(&stage.shop, "dry").await, []);
}

async fn denials_reach_the_user(stage: Arc<Stage>) {
    let mut wrong = pod("wrong");
    wrong
        .annotations_mut()
        .insert("liquidmemory.dev/port".into(), "80".into());
    let error = create(&stage, &stage.shop, &wrong).await.unwrap_err();
    let wanted = "metadata.annotations[liquidmemory.dev/port] = \"80\": not a port from 1024 to 65535";
    assert!(error.contains(wanted), "{error}");
    let error = create(&stage, &stage.bare, &pod("bare")).await.unwrap_err();
    assert!(error.contains("no LiquidMemoryProxy in namespace"), "{error}");
}

async fn config_maps_are_read(stage: Arc<Stage>) {
    let map = |name: &str, key: &str| -> ConfigMap {
        typed(json!({ "metadata": { "name": name }, "data": { key: "https://own.test/v1" } }))
    };
    let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), &stage.shop);
    let params = PostParams::default();
    maps.create(&params, &map("with", "OPENAI_BASE_URL"))
        .await
        .unwrap();
    maps.create(&params, &map("without", "DEBUG")).await.unwrap();
    let from = |name: &str| {
        let mut pod = pod(&format!("from-{name}"));
        let source = typed(json!({ "configMapRef": { "name": name } }));
        pod.spec.as_mut().unwrap().containers[0].env_from = Some(vec![source]);
        pod
    };
    let kept = create(&stage, &stage.shop, &from("with")).await.unwrap();
    assert_eq!(variable(&kept, "OPENAI_BASE_URL"), None);
    let note = stage
        .wait_for_event(&stage.shop, "from-with", "BaseUrlKept")
        .await;
    assert!(note.contains("ConfigMap with"), "{note}");
    let set = create(&stage, &stage.shop, &from("without")).await.unwrap();
    assert!(variable(&set, "OPENAI_BASE_URL").is_some());
    let unknown = create(&stage, &stage.shop, &from("absent")).await.unwrap();
    assert_eq!(variable(&unknown, "OPENAI_BASE_URL"), None);
}

/// A proxy and a pod that are applied together: the watch may not have told of the proxy yet.
async fn a_young_proxy_counts_at_once(stage: Arc<Stage>) {
    use liquid_operator::api::{LiquidMemoryProxy, LiquidMemoryProxySpec};
    let proxies: Api<LiquidMemoryProxy> = Api::namespaced(stage.client.clone(), &stage.shop);
    for number in 0..10 {
        let name = format!("young-{number}");
        let proxy = LiquidMemoryProxy::new(&name, LiquidMemoryProxySpec::default());
        proxies.create(&PostParams::default(), &proxy).await.unwrap();
        let mut pod = pod(&name);
        pod.annotations_mut()
            .insert("liquidmemory.dev/proxy".into(), name.clone());
        let pod = create(&stage, &stage.shop, &pod).await.unwrap();
        assert_eq!(pod.annotations()["liquidmemory.dev/injected"], name);
        proxies.delete(&name, &Default::default()).await.unwrap();
    }
}
