//! The watchdog against an API server in memory: what it asks for, and what it writes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use kube::Client;
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use liquid_process::lock;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Watchdog, WatchdogSettings};
use crate::config::tests::settings;
use crate::controller::MissedPods;
use crate::telemetry::Metrics;
use crate::webhook::cluster::Cluster;

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A namespace `shop` that opts in, with a proxy `docs` and the pods `web-1`, without a sidecar, and `web-2`.
#[derive(Default)]
struct FakeApi {
    /// What was written: the path, and the body.
    written: Mutex<Vec<(String, Value)>>,
    changed: Notify,
}

impl FakeApi {
    fn metadata(name: &str) -> Value {
        json!({
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "owner", "controller": true},
            ],
        })
    }

    fn list(items: &[Value]) -> Answer {
        let list =
            json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items});
        reply(StatusCode::OK, &list)
    }

    fn read(path: &str, query: &str) -> Answer {
        let mut injected = Self::metadata("web-2");
        injected["annotations"] = json!({"liquidmemory.dev/injected": "docs"});
        let pods = [
            json!({"metadata": Self::metadata("web-1")}),
            json!({ "metadata": injected }),
        ];
        match path {
            _ if query.contains("watch=true") => silence(),
            "/api/v1/namespaces" => Self::list(&[json!({"metadata": {
                "name": "shop", "uid": "1", "labels": {"liquidmemory.dev/inject": "enabled"},
            }})]),
            "/api/v1/pods" => Self::list(&pods),
            "/api/v1/namespaces/shop/pods" if query.contains("web-1") => Self::list(&[json!({
                "metadata": Self::metadata("web-1"), "spec": {"containers": [{"name": "main", "image": "app:1"}]},
            })]),
            "/api/v1/namespaces/shop/pods" => Self::list(&pods),
            "/apis/liquidmemory.dev/v1alpha1/liquidmemoryproxies" => Self::list(&[json!({
                "apiVersion": "liquidmemory.dev/v1alpha1", "kind": "LiquidMemoryProxy",
                "metadata": {"name": "docs", "namespace": "shop", "uid": "2"}, "spec": {},
                "status": {"conditions": [{
                    "type": "Ready", "status": "True", "reason": "AsExpected", "message": "",
                    "lastTransitionTime": "2026-11-30T12:00:00Z",
                }]},
            })]),
            _ if path.contains("mutatingwebhookconfigurations") => reply(
                StatusCode::OK,
                &json!({
                    "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                    "metadata": {"name": "liquid-operator", "resourceVersion": "1"}, "webhooks": [{
                        "name": "a", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {},
                        "namespaceSelector": {"matchLabels": {"liquidmemory.dev/inject": "enabled"}},
                    }],
                }),
            ),
            _ => panic!("asked for {path}?{query}"),
        }
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        if parts.method == Method::GET {
            return Self::read(&path, parts.uri.query().unwrap_or_default());
        }
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let answer = if path.ends_with("/eviction") {
            json!({"apiVersion": "v1", "kind": "Status", "status": "Success"})
        } else {
            body.clone()
        };
        lock(&self.written).push((path, body));
        self.changed.notify_one();
        reply(StatusCode::CREATED, &answer)
    }

    /// Waits until so much was written, and returns the reasons of Events and the paths of all else.
    async fn until(&self, written: usize) -> Vec<String> {
        loop {
            let found: Vec<String> = lock(&self.written)
                .iter()
                .map(|(path, body)| body["reason"].as_str().unwrap_or(path).to_owned())
                .collect();
            if found.len() >= written {
                return found;
            }
            self.changed.notified().await;
        }
    }
}

fn reply(status: StatusCode, value: &Value) -> Answer {
    let body = Full::new(Bytes::from(value.to_string())).boxed();
    Response::builder().status(status).body(body).unwrap()
}

/// A watch in which nothing happens.
fn silence() -> Answer {
    let events = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
    Response::new(StreamBody::new(events).boxed())
}

/// Runs a watchdog until so much was written. Returns what that was, the metrics meanwhile, and those after it.
async fn watch(api: &Arc<FakeApi>, evict: bool, written: usize) -> (Vec<String>, [String; 2]) {
    let served = Arc::clone(api);
    let client = Client::new(
        tower::service_fn(move |request: Request<Body>| {
            let api = Arc::clone(&served);
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        }),
        "default",
    );
    let stop = CancellationToken::new();
    let (cluster, follow) = Cluster::follow(client.clone(), stop.clone());
    let following = tokio::spawn(follow);
    cluster.wait_until_known().await;
    let settings = WatchdogSettings {
        evict,
        ..WatchdogSettings::from(&settings(&[]))
    };
    let reporter = Reporter {
        controller: "test".into(),
        instance: None,
    };
    let (metrics, missed) = (Arc::new(Metrics::new()), Arc::new(MissedPods::default()));
    let recorder = Recorder::new(client.clone(), reporter);
    let watchdog = Watchdog::new(client, cluster, settings, recorder, Arc::clone(&metrics), missed);
    let watching = tokio::spawn(watchdog.run(stop.clone()));
    let seen = timeout(Duration::from_secs(30), api.until(written))
        .await
        .unwrap();
    let during = metrics.render().unwrap();
    stop.cancel();
    watching.await.unwrap();
    following.await.unwrap();
    (seen, [during, metrics.render().unwrap()])
}

#[tokio::test]
async fn a_pod_without_the_sidecar_is_said_and_left_alone() {
    let api = Arc::new(FakeApi::default());
    let (written, [during, after]) = watch(&api, false, 1).await;
    assert_eq!(written, ["PodNotInjected"]);
    let shown = "liquid_operator_pods_without_sidecar{namespace=\"shop\"} 1";
    assert!(during.contains(shown), "{during}");
    assert!(!after.contains("shop"), "the next leader shows it: {after}");
    let written = lock(&api.written);
    let (_, event) = written.first().unwrap();
    assert_eq!(event["regarding"]["name"], "web-1");
    assert_eq!(event["regarding"]["uid"], "uid-web-1");
}

#[tokio::test]
async fn with_the_setting_it_is_evicted_by_its_uid() {
    let api = Arc::new(FakeApi::default());
    let (written, [during, _]) = watch(&api, true, 3).await;
    let eviction = "/api/v1/namespaces/shop/pods/web-1/eviction";
    assert_eq!(written, ["PodNotInjected", eviction, "PodEvicted"]);
    assert!(
        during.contains("liquid_operator_evictions_total{outcome=\"evicted\"} 1"),
        "{during}"
    );
    let written = lock(&api.written);
    let (_, body) = written.iter().find(|(path, _)| path == eviction).unwrap();
    assert_eq!(body["kind"], "Eviction");
    assert_eq!(body["deleteOptions"]["preconditions"]["uid"], "uid-web-1");
}
