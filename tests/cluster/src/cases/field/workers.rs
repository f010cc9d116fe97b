//! Names of proxies, and what may refuse their workers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::kubectl::{apply, text, trial};
use crate::manifest;
use crate::status::until_reason;
use crate::world::{Namespace, World};

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

/// What refuses the workers of a proxy, and what the status has to say about it.
fn refusals() -> [(&'static str, Value, &'static str, &'static str); 4] {
    let quota = |hard: Value| json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tight"}, "spec": {"hard": hard}});
    let range = |limits: Value| json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"}, "spec": {"limits": [limits]}});
    [
        (
            "field-quota",
            quota(json!({"requests.memory": "64Mi"})),
            "ResourceQuota tight",
            "lower spec.workers.resources.requests.memory",
        ),
        (
            "field-quota-unmet",
            quota(json!({"limits.cpu": "4"})),
            "ResourceQuota tight",
            "set spec.workers.resources.limits.cpu",
        ),
        (
            "field-limits",
            range(json!({"type": "Container", "max": {"memory": "1Gi"}})),
            "LimitRange small",
            "set spec.workers.resources.limits.memory to 1Gi or less",
        ),
        (
            "field-limits-least",
            range(json!({"type": "Container", "min": {"memory": "512Mi"}})),
            "LimitRange small",
            "set spec.workers.resources.requests.memory to 512Mi or more",
        ),
    ]
}

pub(super) fn refused(_: &World) -> Result<()> {
    for (name, mut object, who, remedy) in refusals() {
        let namespace = Namespace::new(name, &json!({}))?;
        super::set(&mut object, "/metadata", "namespace", json!(name));
        apply(&object)?;
        apply(&manifest::proxy(&namespace.0, "proxy"))?;
        let seen = until_reason(
            name,
            "proxy",
            "WorkersReady",
            "NotCreated",
            Duration::from_secs(60),
        )?;
        let message = text(&seen, "/message");
        ensure!(
            message.contains(who) && message.contains(remedy),
            "{name}: {message}"
        );
    }
    Ok(())
}
