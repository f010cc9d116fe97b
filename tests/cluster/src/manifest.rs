//! The objects that the cases apply: short, as a user would write them.

use serde_json::{Value, json};

use crate::world::{PROVIDER, World};

/// The mock provider's URL inside the cluster.
pub(crate) fn provider_url() -> String {
    format!("http://mock.{PROVIDER}.svc.cluster.local:8080/v1")
}

/// A proxy whose LLM is the mock provider. The deadline is for an unoptimised worker on a busy machine.
pub(crate) fn proxy(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "liquidmemory.dev/v1alpha1", "kind": "LiquidMemoryProxy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "workers": {"replicas": 1, "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}},
            "extraction": {"tier": "Static", "deadlineMilliseconds": 20000},
            "synthesis": {"provider": "openai", "baseURL": provider_url()},
        },
    })
}

/// What Pod Security "restricted" asks of a pod.
fn pod_security() -> Value {
    json!({"runAsNonRoot": true, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}})
}

/// What Pod Security "restricted" asks of a container.
pub(crate) fn container_security() -> Value {
    json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}})
}

/// A container of the application's image that runs one of its scripts.
pub(crate) fn application(world: &World, name: &str, arguments: &[&str]) -> Value {
    let script = arguments.first().copied().unwrap_or_default();
    let rest = arguments.get(1..).unwrap_or_default();
    let mut arguments = vec![format!("/application/{script}")];
    arguments.extend(rest.iter().map(|word| (*word).to_owned()));
    json!({
        "name": name,
        "image": world.image("test-application"),
        "imagePullPolicy": "Never",
        "args": arguments,
        "securityContext": container_security(),
    })
}

/// A container with a shell.
pub(crate) fn shell(name: &str, script: &str) -> Value {
    json!({
        "name": name,
        "image": "liquid.test/busybox:1",
        "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", script],
        "securityContext": container_security(),
    })
}

/// A pod that ends.
pub(crate) fn pod(namespace: &str, name: &str, containers: &[Value]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": pod_spec(containers, "Never"),
    })
}

/// The spec of a pod under Pod Security "restricted".
pub(crate) fn pod_spec(containers: &[Value], restart: &str) -> Value {
    json!({
        "restartPolicy": restart,
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 5,
        "securityContext": pod_security(),
        "containers": containers,
    })
}

/// A Deployment of one replica.
pub(crate) fn deployment(namespace: &str, name: &str, containers: &[Value]) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": pod_spec(containers, "Always"),
            },
        },
    })
}

/// The mock provider and its Service.
pub(crate) fn provider(world: &World) -> [Value; 2] {
    let container = json!({
        "name": "mock",
        "image": world.image("mock-upstream"),
        "imagePullPolicy": "Never",
        "args": ["--listen", "0.0.0.0:8080", "--keep"],
        "readinessProbe": {"httpGet": {"path": "/mock/stats", "port": 8080}, "periodSeconds": 1},
        "securityContext": container_security(),
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "mock", "namespace": PROVIDER},
        "spec": {"selector": {"app": "mock"}, "ports": [{"port": 8080}]},
    });
    [deployment(PROVIDER, "mock", &[container]), service]
}
