//! Faults of namespaces and application pods: labels, images, base URLs, quotas, policies.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Wanted, found, well};
use crate::cases::plugin::{LIMIT, NAMESPACE, pod_of, web};
use crate::kubectl::{apply, kubectl, patch, rolled_out};
use crate::manifest::{pod, shell};
use crate::world::{Namespace, World};
pub(in super::super) fn check(world: &World) -> Result<()> {
    labels(world)?;
    images(world)?;
    base_urls(world)?;
    refused(world)?;
    policy(world)
}

fn label(value: &str) -> Result<()> {
    let label = format!("liquidmemory.dev/inject{value}");
    kubectl(&["label", "namespace", NAMESPACE, &label, "--overwrite"]).map(|_| ())
}

/// A label that was mistyped, one that was forgotten, and a pod that was created meanwhile.
fn labels(world: &World) -> Result<()> {
    let wanted = |fault, object, says| Wanted { fault, object, says };
    label("=true")?;
    found(world, NAMESPACE, &wanted("LabelUnknown", NAMESPACE, "\"true\""))?;
    label("-")?;
    found(
        world,
        NAMESPACE,
        &wanted("NamespaceNotOptedIn", NAMESPACE, "kubectl label namespace plugin"),
    )?;
    apply(&web("early"))?;
    rolled_out(NAMESPACE, "deployment/early", LIMIT)?;
    label("=enabled")?;
    found(
        world,
        NAMESPACE,
        &wanted(
            "PodNotInjected",
            "early-",
            "kubectl rollout restart deployment/early",
        ),
    )?;
    kubectl(&[
        "delete",
        "deployment",
        "early",
        "--namespace",
        NAMESPACE,
        "--cascade=foreground",
    ])?;
    let lonely = Namespace::opted_in("plugin-lonely")?;
    found(
        world,
        &lonely.0,
        &wanted("NamespaceWithoutProxy", &lonely.0, "no LiquidMemoryProxy"),
    )?;
    well(world, NAMESPACE)
}

/// A proxy that brings another image of the sidecar than running pods have; and one whose image does not exist.
fn images(world: &World) -> Result<()> {
    let image = |image: Value| {
        patch(
            NAMESPACE,
            "lmp/proxy",
            "merge",
            &json!({"spec": {"injection": {"image": image}}}),
        )
    };
    image(json!("liquid.test/liquid-sidecar:2"))?;
    let wanted = Wanted {
        fault: "SidecarOutdated",
        object: &pod_of("web")?,
        says: "liquid.test/liquid-sidecar:2",
    };
    found(world, NAMESPACE, &wanted)?;
    apply(&web("late"))?;
    let wanted = Wanted {
        fault: "SidecarNotReady",
        object: "late-",
        says: "liquid.test/liquid-sidecar:2",
    };
    found(world, NAMESPACE, &wanted)?;
    kubectl(&[
        "delete",
        "deployment",
        "late",
        "--namespace",
        NAMESPACE,
        "--cascade=foreground",
    ])?;
    image(Value::Null)?;
    well(world, NAMESPACE)
}

fn base_urls(world: &World) -> Result<()> {
    for (name, url, fault) in [
        ("direct", "https://api.openai.com/v1", "BaseUrlKept"),
        ("astray", "http://localhost:9999/v1", "BaseUrlElsewhere"),
    ] {
        let mut container = shell("main", "sleep 100000");
        container["env"] = json!([{"name": "OPENAI_BASE_URL", "value": url}]);
        apply(&pod(NAMESPACE, name, &[container]))?;
        let says = if fault == "BaseUrlKept" {
            "OPENAI_BASE_URL"
        } else {
            url
        };
        found(
            world,
            NAMESPACE,
            &Wanted {
                fault,
                object: name,
                says,
            },
        )?;
        kubectl(&["delete", "pod", name, "--namespace", NAMESPACE, "--wait=true"])?;
    }
    well(world, NAMESPACE)
}

/// A quota that leaves no room for another pod.
fn refused(world: &World) -> Result<()> {
    apply(&json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tight", "namespace": NAMESPACE},
        "spec": {"hard": {"pods": "1"}},
    }))?;
    apply(&web("surplus"))?;
    let wanted = Wanted {
        fault: "PodsRefused",
        object: "surplus",
        says: "exceeded quota: tight",
    };
    found(world, NAMESPACE, &wanted)?;
    kubectl(&[
        "delete",
        "deployment/surplus",
        "resourcequota/tight",
        "--namespace",
        NAMESPACE,
    ])?;
    well(world, NAMESPACE)
}

fn policy(world: &World) -> Result<()> {
    let policy = |egress: Value| {
        apply(&json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "tight", "namespace": NAMESPACE},
            "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"], "egress": egress},
        }))
    };
    policy(json!([{"ports": [{"port": 53, "protocol": "UDP"}]}]))?;
    let wanted = Wanted {
        fault: "PolicyBlocksWorkers",
        object: "tight",
        says: "egress: [{to:",
    };
    found(world, NAMESPACE, &wanted)?;
    // With the line that the remedy gives it is well.
    policy(json!([{
        "to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/component": "worker", "app.kubernetes.io/instance": "proxy"}}}],
        "ports": [{"port": 50051}],
    }]))?;
    well(world, NAMESPACE)?;
    kubectl(&["delete", "networkpolicy", "tight", "--namespace", NAMESPACE]).map(|_| ())
}
