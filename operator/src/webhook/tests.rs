//! The webhook over real TLS on a loopback port, with a cluster in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::CONNECTION;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::events::{Notice, Outbox};
use super::handler::Handler;
use super::metrics::WebhookMetrics;
use super::serving::ServingCertificate;
use super::source::Source;
use super::{handler, review};
use crate::inject::{ConfigMapData, Proxy, Reason, SidecarDefaults, SidecarResources};
use crate::pki::rotation::Step;
use crate::pki::{Authorities, Profile, Times};

mod server;

const HOST: &str = "hook.system.svc";

/// A cluster in memory; the API server may know more than the cache, and ConfigMaps may never come.
#[derive(Clone, Default)]
struct Cluster {
    cached: Vec<Proxy>,
    stored: Vec<Proxy>,
    config_maps: BTreeMap<String, ConfigMapData>,
    asked: Arc<AtomicUsize>,
}

impl Source for Cluster {
    fn proxies(&self, _: &str) -> Vec<Proxy> {
        self.cached.clone()
    }

    async fn proxies_now(&self, _: &str) -> Option<Vec<Proxy>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Some(self.stored.clone())
    }

    async fn config_map(&self, _: &str, name: &str) -> ConfigMapData {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.config_maps.get(name) {
            Some(keys) => keys.clone(),
            None => std::future::pending().await,
        }
    }

    fn reference(&self, namespace: &str, proxy: &str) -> ObjectReference {
        ObjectReference {
            kind: Some("LiquidMemoryProxy".into()),
            name: Some(proxy.into()),
            namespace: Some(namespace.into()),
            ..ObjectReference::default()
        }
    }
}

fn proxy(name: &str) -> Proxy {
    Proxy {
        name: name.into(),
        image: None,
        user: None,
        created: None,
        port: 8787,
        admin_port: 9465,
        resources: SidecarResources::default(),
        keys: Vec::new(),
        tls_interception: None,
    }
}

fn new_handler(cluster: Cluster) -> (Handler<Cluster>, mpsc::Receiver<Notice>) {
    let defaults = SidecarDefaults {
        image: "sidecar:1".into(),
        pull_policy: "IfNotPresent",
        pull_secrets: Vec::new(),
        user: crate::api::PodUser::Fixed,
        any_address: Ipv4Addr::UNSPECIFIED.into(),
        log_format: "json",
    };
    let metrics = Arc::new(WebhookMetrics::default());
    let (outbox, notices) = Outbox::new(Arc::clone(&metrics));
    (
        Handler::new(cluster, defaults, "system".into(), outbox, metrics),
        notices,
    )
}

fn one_proxy() -> Cluster {
    Cluster {
        cached: vec![proxy("main")],
        ..Cluster::default()
    }
}

fn pod() -> Value {
    json!({
        "metadata": { "generateName": "app-", "ownerReferences": [
            { "apiVersion": "x/v1", "kind": "Other", "name": "o", "uid": "1" },
            { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app", "uid": "2", "controller": true },
        ] },
        "spec": { "containers": [{ "name": "app", "image": "app:1", "future": 1e2 }] },
    })
}

fn request(pod: &Value, change: &[(&str, Value)]) -> Value {
    let mut request = json!({
        "uid": "u-1", "operation": "CREATE", "namespace": "shop", "object": pod,
        "kind": { "group": "", "version": "v1", "kind": "Pod" }, "userInfo": {}, "dryRun": false,
    });
    for (key, value) in change {
        request[*key] = value.clone();
    }
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request })
}

async fn answer(handler: &Handler<Cluster>, review: &Value) -> Value {
    let request = review::read_request(review.to_string().as_bytes()).unwrap();
    serde_json::to_value(handler.review(&request).await).unwrap()["response"].clone()
}

fn drain(notices: &mut mpsc::Receiver<Notice>) -> Vec<Notice> {
    std::iter::from_fn(|| notices.try_recv().ok()).collect()
}

#[tokio::test]
async fn a_pod_is_injected_and_its_owner_told() {
    let (handler, mut notices) = new_handler(one_proxy());
    let response = answer(&handler, &request(&pod(), &[])).await;
    assert_eq!(response["uid"], "u-1");
    assert_eq!(response["allowed"], true);
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut patched = pod();
    json_patch::patch(&mut patched, &patch).unwrap();
    assert_eq!(patched["spec"]["initContainers"][0]["name"], "liquid-sidecar");
    let notices = drain(&mut notices);
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].reason, Reason::Injected);
    assert_eq!(notices[0].regarding.kind.as_deref(), Some("ReplicaSet"));
    assert_eq!(notices[0].regarding.uid.as_deref(), Some("2"));
    assert_eq!(notices[0].regarding.namespace.as_deref(), Some("shop"));
}

#[tokio::test]
async fn events_find_something_to_stand_at() {
    for (metadata, name, kind, wanted) in [
        (json!({ "name": "own" }), "", "Pod", "own"),
        (json!({}), "given", "Pod", "given"),
        (json!({ "generateName": "job-" }), "", "LiquidMemoryProxy", "main"),
        (
            json!({ "ownerReferences": [{ "kind": "Job", "name": "j" }] }),
            "x",
            "Job",
            "j",
        ),
    ] {
        let (handler, mut notices) = new_handler(one_proxy());
        let mut pod = pod();
        pod["metadata"] = metadata;
        answer(&handler, &request(&pod, &[("name", name.into())])).await;
        let regarding = drain(&mut notices).remove(0).regarding;
        assert_eq!(regarding.kind.as_deref(), Some(kind));
        assert_eq!(regarding.name.as_deref(), Some(wanted));
    }
}

#[tokio::test]
async fn a_dry_run_leaves_no_trace() {
    let (handler, mut notices) = new_handler(one_proxy());
    let response = answer(&handler, &request(&pod(), &[("dryRun", true.into())])).await;
    assert_eq!(response["patchType"], "JSONPatch");
    assert!(drain(&mut notices).is_empty());
}

#[tokio::test]
async fn what_is_not_ours_passes_untouched() {
    for change in [
        ("operation", json!("UPDATE")),
        ("subResource", json!("ephemeralcontainers")),
        ("namespace", json!("system")),
        ("namespace", json!("kube-system")),
    ] {
        let (handler, mut notices) = new_handler(one_proxy());
        let response = answer(&handler, &request(&pod(), &[change])).await;
        assert_eq!(response, json!({ "uid": "u-1", "allowed": true }));
        assert!(drain(&mut notices).is_empty());
    }
}

#[tokio::test]
async fn a_denial_says_why() {
    let (handler, mut notices) = new_handler(one_proxy());
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({ "liquidmemory.dev/port": "80" });
    let response = answer(&handler, &request(&pod, &[])).await;
    assert_eq!(response["allowed"], false);
    assert_eq!(
        response["status"],
        json!({
            "code": 403,
            "message": "metadata.annotations[liquidmemory.dev/port] = \"80\": not a port from 1024 to 65535; \
                        write for example \"8787\"",
        })
    );
    assert!(drain(&mut notices).is_empty());
}

#[tokio::test]
async fn before_a_pod_is_denied_for_want_of_a_proxy_the_api_server_is_asked() {
    let young = Cluster {
        stored: vec![proxy("young")],
        ..Cluster::default()
    };
    let asked = Arc::clone(&young.asked);
    let (handler, _notices) = new_handler(young);
    let response = answer(&handler, &request(&pod(), &[])).await;
    assert_eq!(response["allowed"], true);
    assert_eq!(asked.load(Ordering::Relaxed), 1);

    let (handler, _notices) = new_handler(Cluster::default());
    let response = answer(&handler, &request(&pod(), &[])).await;
    assert_eq!(response["allowed"], false);
}

#[tokio::test]
async fn an_ordinary_pod_asks_nothing() {
    let cluster = one_proxy();
    let asked = Arc::clone(&cluster.asked);
    let (handler, _notices) = new_handler(cluster);
    answer(&handler, &request(&pod(), &[])).await;
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_config_map_that_does_not_come_in_time_is_unknown() {
    let mut cluster = one_proxy();
    cluster
        .config_maps
        .insert("known".into(), ConfigMapData::Known(BTreeMap::new()));
    let (handler, mut notices) = new_handler(cluster);
    let mut pod = pod();
    pod["spec"]["containers"] = json!([
        { "name": "one", "envFrom": [{ "configMapRef": { "name": "known" } }] },
        { "name": "two", "envFrom": [{ "configMapRef": { "name": "slow" } }] },
        { "name": "three", "envFrom": [{ "configMapRef": { "name": "slower" } }] },
    ]);
    let begun = tokio::time::Instant::now();
    let response = answer(&handler, &request(&pod, &[])).await;
    assert!(
        begun.elapsed() <= Duration::from_millis(2100),
        "one after the other"
    );
    assert_eq!(response["warnings"].as_array().unwrap().len(), 4);
    let notices = drain(&mut notices);
    assert_eq!(
        notices[0].text,
        "sidecar of LiquidMemoryProxy main added; calls of one pass it"
    );
    assert_eq!(notices[1].reason, Reason::BaseUrlKept);
    assert!(
        notices[1].text.contains("; container three: "),
        "{}",
        notices[1].text
    );
    assert_eq!(notices.len(), 2);
}

#[tokio::test]
async fn long_texts_are_cut() {
    let mut cluster = one_proxy();
    cluster.cached = (0..300)
        .map(|number| proxy(&format!("proxy-{number}-ä")))
        .collect();
    let (handler, mut notices) = new_handler(cluster);
    let response = answer(&handler, &request(&pod(), &[])).await;
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(warning.len() <= 250 && warning.ends_with("..."), "{warning}");
    let notices = drain(&mut notices);
    assert!(notices[1].text.len() <= 1024, "{}", notices[1].text.len());
}

#[tokio::test]
async fn events_that_pile_up_are_dropped_and_counted() {
    let metrics = Arc::new(WebhookMetrics::default());
    let (outbox, _notices) = Outbox::new(Arc::clone(&metrics));
    let note = crate::inject::Note {
        reason: Reason::Injected,
        text: "x".into(),
    };
    for _ in 0..300 {
        outbox.put(&ObjectReference::default(), std::slice::from_ref(&note));
    }
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("webhook_events_dropped_total 44\n"), "{text}");
}

fn times() -> Times {
    Times {
        ca: Duration::from_secs(30 * 3600),
        leaf: Duration::from_secs(6 * 3600),
        propagation: Duration::from_secs(60),
    }
}

#[test]
fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
    let serving = ServingCertificate::new(
        Profile::webhook("hook", "system", "cluster.local"),
        times(),
        Arc::new(WebhookMetrics::default()),
    );
    let now = Timestamp::now();
    let authorities = Authorities::generate(now, &times()).unwrap();
    let fingerprint = |serving: &ServingCertificate| serving.certificate().unwrap();
    serving.renew(&authorities, now).unwrap();
    let first = fingerprint(&serving);
    serving
        .renew(&authorities, now + SignedDuration::from_hours(3))
        .unwrap();
    assert_eq!(fingerprint(&serving), first);
    serving
        .renew(&authorities, now + SignedDuration::from_hours(4))
        .unwrap();
    assert_ne!(fingerprint(&serving), first);
}

#[test]
fn a_fault_is_a_denial() {
    let outcome = handler::catch_fault(|| panic!("a fault, on purpose"));
    assert_eq!(
        outcome.decision,
        crate::inject::Decision::Deny(crate::inject::Denial::Fault)
    );
}
