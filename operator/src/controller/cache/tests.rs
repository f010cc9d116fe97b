#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;

use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use kube::client::Body;
use kube::runtime::watcher::Event;
use serde_json::json;
use tower::service_fn;

use super::*;
use crate::controller::apply::Applier;
use crate::controller::error::Error;
use crate::controller::shared_map::SharedMap;

/// A ConfigMap of the proxy with the uid `owner`.
fn config(owner: &str, version: Option<&str>, text: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "metadata": {
            "name": "docs-sidecar", "namespace": "shop", "resourceVersion": version,
            "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "docs", "uid": owner}],
        },
        "data": {"sidecar.toml": text},
    }))
    .unwrap()
}

fn shown(version: &str) -> ConfigMap {
    config("docs", Some(version), "any")
}

/// A client whose API server stores what is applied in version 7, and returns an object of another owner when it is asked.
fn client() -> Client {
    let service = service_fn(|request: Request<Body>| async move {
        let found = match *request.method() {
            Method::PATCH => shown("7"),
            _ => config("other", Some("9"), "any"),
        };
        let body = Full::new(Bytes::from(serde_json::to_vec(&found).unwrap()));
        Ok::<_, Infallible>(Response::new(body))
    });
    Client::new(service, "default")
}

#[tokio::test]
async fn an_object_counts_as_applied_until_somebody_touches_it() {
    let (client, memory, mut writers) = (client(), SharedMap::new(), Writers::default());
    let cache = writers.open();
    let applier = Applier {
        client: &client,
        namespace: "shop",
        owner: "docs",
        memory: &memory,
        cache: &cache,
    };
    let mut show = |event| writers.config_maps.apply_watcher_event(&event);
    let wanted = config("docs", None, "a");
    let is_applied = || applier.is_applied(&wanted);
    show(Event::Apply(shown("7")));
    assert!(!is_applied(), "after a start nothing is known of an apply");
    show(Event::Apply(shown("6")));
    applier.apply(&wanted).await.unwrap();
    assert!(!is_applied(), "the watch has not shown the apply yet");
    show(Event::Apply(shown("7")));
    assert!(is_applied());
    assert!(
        !applier.is_applied(&config("docs", None, "b")),
        "something else is wanted"
    );
    show(Event::Apply(shown("8")));
    assert!(!is_applied(), "somebody has changed it");
    applier.apply(&wanted).await.unwrap();
    show(Event::Apply(shown("7")));
    assert!(is_applied());
    show(Event::Delete(shown("9")));
    assert!(!is_applied(), "somebody has deleted it");
    let replaced = applier.apply(&wanted).await;
    assert!(
        matches!(replaced, Err(Error::NotOurs { .. })),
        "what is there now belongs to somebody else: {replaced:?}"
    );
}

#[test]
fn texts_that_no_decision_needs_are_left_out() {
    let mut map = config("docs", None, "text");
    let workers = (WORKER_CONFIG.to_owned(), "workers".to_owned());
    map.data.get_or_insert_default().extend([workers.clone()]);
    trim_config_map(&mut map);
    assert_eq!(map.data, Some([workers].into()));
}
