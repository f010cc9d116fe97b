//! Snapshots made by hand, for tests of several commands.

#![allow(clippy::unwrap_used, reason = "tests")]

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::Snapshot;
use super::namespace::NamespaceState;

/// A namespace `shop` with a proxy `docs` that has a gateway, a pod of it, and a pod that is not ours.
pub(crate) fn with_gateway() -> Snapshot {
    let mut state = NamespaceState::named("shop", None);
    let proxy = json!({
        "apiVersion": "liquidmemory.dev/v1alpha1", "kind": "LiquidMemoryProxy",
        "metadata": {"name": "docs", "namespace": "shop"},
        "spec": {"gateway": {"image": "gateway:2", "clients": {"tokenSecret": "clients"}}},
        "status": {"gateway": {"url": "https://docs-gateway.shop", "pods": "1/1", "readyReplicas": 1}},
    });
    state.proxies = vec![serde_json::from_value(proxy).unwrap()];
    state.pods = Some(vec![gateway_pod(), foreign_pod()]);
    Snapshot {
        namespaces: vec![state],
        ..Snapshot::default()
    }
}

fn gateway_pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": "docs-gateway-1", "namespace": "shop", "uid": "1",
            "labels": {
                "app.kubernetes.io/name": "liquid-memory", "app.kubernetes.io/component": "gateway",
                "app.kubernetes.io/instance": "docs", "app.kubernetes.io/managed-by": "liquid-operator",
                "liquidmemory.dev/inject": "disabled",
            },
        },
        "spec": {"containers": [{"name": "liquid-sidecar", "image": "gateway:1"}]},
        "status": {"phase": "Running", "containerStatuses": [{
            "name": "liquid-sidecar", "image": "gateway:1", "imageID": "registry/gateway@sha256:aa",
            "ready": true, "restartCount": 2,
        }]},
    }))
    .unwrap()
}

fn foreign_pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "2"},
        "spec": {"containers": [{"name": "main", "image": "web:1"}]},
    }))
    .unwrap()
}
