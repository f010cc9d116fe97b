//! Names of proxies, and what may refuse their workers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::kubectl::{apply, text, trial};
use crate::manifest::{self, pod, shell};
use crate::status::until_reason;
use crate::world::{Namespace, World, eventually};

pub(super) fn names(_: &World) -> Result<()> {
    let namespace = Namespace::new("field-names", &json!({}))?;
    let named = |name: &str| {
        json!({"apiVersion": "liquidmemory.dev/v1alpha1", "kind": "LiquidMemoryProxy",
            "metadata": {"name": name, "namespace": namespace.0}, "spec": {}})
    };
    let long = "x".repeat(64);
    let impossible = [
        "team-finance-quarterly-report-assistant-production-europe-w1",
        "2026-contracts",
        "contracts.v2",
        &long,
        &long[..41],
        "7",
    ];
    for name in impossible {
        let refusal = trial(&named(name)).err().map(|error| error.to_string());
        let refusal = refusal.with_context(|| format!("{name} is accepted"))?;
        ensure!(
            refusal.contains("use at most 40 lower-case letters, digits and '-', a letter first"),
            "{name}: {refusal}"
        );
    }
    for name in ["c", "contracts-2026", &long[..40]] {
        trial(&named(name)).with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// What refuses the workers of a proxy, and what is said about it.
struct Refusal {
    namespace: &'static str,
    object: Value,
    /// The API server's words.
    words: &'static str,
    /// The object's name and the remedy in the status.
    who: &'static str,
    remedy: &'static str,
}

fn refusals() -> [Refusal; 4] {
    let quota = |hard: Value| json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tight"}, "spec": {"hard": hard}});
    let range = |limits: Value| json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"}, "spec": {"limits": [limits]}});
    [
        Refusal {
            namespace: "field-quota",
            object: quota(json!({"requests.memory": "64Mi"})),
            words: "exceeded quota",
            who: "ResourceQuota tight",
            remedy: "lower spec.workers.resources.requests.memory",
        },
        Refusal {
            namespace: "field-quota-unmet",
            object: quota(json!({"limits.cpu": "4"})),
            words: "must specify limits.cpu",
            who: "ResourceQuota tight",
            remedy: "set spec.workers.resources.limits.cpu",
        },
        Refusal {
            namespace: "field-limits",
            object: range(json!({"type": "Container", "max": {"memory": "1Gi"}})),
            words: "maximum memory usage per Container is 1Gi",
            who: "LimitRange small",
            remedy: "set spec.workers.resources.limits.memory to 1Gi or less",
        },
        Refusal {
            namespace: "field-limits-least",
            object: range(json!({"type": "Container", "min": {"memory": "512Mi"}})),
            words: "minimum memory usage per Container is 512Mi",
            who: "LimitRange small",
            remedy: "set spec.workers.resources.requests.memory to 512Mi or more",
        },
    ]
}

/// The workers' resources of a proxy, in a pod of one container.
fn like_a_worker(namespace: &str) -> Value {
    let proxy = manifest::proxy(namespace, "proxy");
    let mut main = shell("main", "true");
    let resources = proxy.pointer("/spec/workers/resources").cloned();
    super::set(&mut main, "", "resources", resources.unwrap_or_default());
    pod(namespace, "like-a-worker", &[main])
}

pub(super) fn refused(_: &World) -> Result<()> {
    for mut refusal in refusals() {
        let namespace = Namespace::new(refusal.namespace, &json!({}))?;
        let name = namespace.0.as_str();
        super::set(&mut refusal.object, "/metadata", "namespace", json!(name));
        apply(&refusal.object)?;
        // The object counts once the API server knows it, and a quota once it has been counted.
        eventually(
            &format!("{} of {name}", refusal.words),
            Duration::from_secs(30),
            || {
                let refused = trial(&like_a_worker(name)).err().map(|error| error.to_string());
                Ok(refused.filter(|refused| refused.contains(refusal.words)))
            },
        )?;
        apply(&manifest::proxy(name, "proxy"))?;
        let seen = until_reason(
            name,
            "proxy",
            "WorkersReady",
            "NotCreated",
            Duration::from_secs(60),
        )?;
        let message = text(&seen, "/message");
        ensure!(
            message.contains(refusal.who) && message.contains(refusal.remedy),
            "{name}: {message}"
        );
    }
    Ok(())
}
