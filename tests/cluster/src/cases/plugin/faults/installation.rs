//! Faults of the installation: definition, rights, operator, webhook, authority.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Wanted, found, well};
use crate::cases::plugin::NAMESPACE;
use crate::kubectl::{apply, get, kubectl, patch, rolled_out};
use crate::world::{Namespace, OPERATOR, SYSTEM, World, scale_operator};

fn run_operators(replicas: u8) -> Result<()> {
    scale_operator(replicas)?;
    let operator = format!("deployment/{OPERATOR}");
    rolled_out(SYSTEM, &operator, Duration::from_secs(60))
}

/// An object without what the API server adds: it can be created again.
fn bare(mut object: Value) -> Value {
    if let Some(meta) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        for field in [
            "resourceVersion",
            "uid",
            "creationTimestamp",
            "managedFields",
            "generation",
        ] {
            meta.remove(field);
        }
    }
    object
}

fn cluster_patch(what: &str, change: &Value) -> Result<()> {
    kubectl(&["patch", what, "--type=json", "--patch", &change.to_string()]).map(|_| ())
}

pub(in super::super) fn check(world: &World) -> Result<()> {
    definition(world)?;
    rights(world)?;
    second_operator(world)?;
    operator_down(world)
}

/// A field that a later version added is not in the definition that is installed.
fn definition(world: &World) -> Result<()> {
    let name = "crd/liquidmemoryproxies.liquidmemory.dev";
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/workers/properties/priorityClassName";
    cluster_patch(name, &json!([{"op": "remove", "path": field}]))?;
    let wanted = Wanted {
        fault: "DefinitionOutdated",
        object: "liquidmemoryproxies",
        says: "spec.workers.priorityClassName",
    };
    found(world, NAMESPACE, &wanted)?;
    let chart = world.chart("liquid-memory-crds").display().to_string();
    // What was edited by hand is the editor's, for Helm 4.
    world.helm(&[
        "upgrade",
        "liquid-memory-crds",
        &chart,
        "--namespace",
        SYSTEM,
        "--force-conflicts",
    ])?;
    well(world, NAMESPACE)
}

fn rights(world: &World) -> Result<()> {
    let name = format!("clusterrole/{SYSTEM}-{OPERATOR}");
    let before = get(SYSTEM, &[&name])?;
    let rules = before
        .pointer("/rules")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let without = rules
        .iter()
        .filter(|rule| !rule.to_string().contains("limitranges"));
    let without: Vec<&Value> = without.collect();
    ensure!(
        without.len() + 1 == rules.len(),
        "no rule for limit ranges: {before}"
    );
    cluster_patch(
        &name,
        &json!([{"op": "replace", "path": "/rules", "value": without}]),
    )?;
    let wanted = Wanted {
        fault: "RightsMissing",
        object: OPERATOR,
        says: "list limitranges",
    };
    found(world, NAMESPACE, &wanted)?;
    cluster_patch(
        &name,
        &json!([{"op": "replace", "path": "/rules", "value": rules}]),
    )?;
    well(world, NAMESPACE)
}

/// Another release, of another version, that was forgotten.
fn second_operator(world: &World) -> Result<()> {
    let namespace = Namespace::new("forgotten", &json!({}))?;
    let mut other = bare(get(SYSTEM, &["deployment", OPERATOR])?);
    other["metadata"]["namespace"] = json!(namespace.0);
    other["metadata"]["labels"]["app.kubernetes.io/version"] = json!("0.0.9");
    other["spec"]["replicas"] = json!(0);
    other["spec"]["template"]["spec"]["containers"][0]["image"] = json!("liquid.test/liquid-operator:0.0.9");
    apply(&other)?;
    // The first by name is taken as the installation: both are said.
    let wanted = Wanted {
        fault: "OperatorTwice",
        object: OPERATOR,
        says: "liquid.test/liquid-operator:0.0.9",
    };
    found(world, NAMESPACE, &wanted)?;
    kubectl(&["delete", "deployment", OPERATOR, "--namespace", &namespace.0])?;
    well(world, NAMESPACE)
}

/// Nobody repairs: what the operator would put right at once is there to be found.
fn operator_down(world: &World) -> Result<()> {
    run_operators(0)?;
    let webhook = format!("mutatingwebhookconfiguration/{SYSTEM}-{OPERATOR}");
    let wanted = |fault, object, says| Wanted { fault, object, says };
    found(
        world,
        NAMESPACE,
        &wanted("OperatorNotReady", OPERATOR, "spec.replicas is 0"),
    )?;
    found(
        world,
        NAMESPACE,
        &wanted("WebhookWithoutEndpoints", OPERATOR, "failurePolicy Fail"),
    )?;

    let authority = get(SYSTEM, &["secret", "liquid-memory-ca"])?;
    let bundle = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]);
    cluster_patch(&webhook, &bundle)?;
    found(
        world,
        NAMESPACE,
        &wanted("WebhookBundle", "liquid-memory-liquid-operator", "has no bundle"),
    )?;

    kubectl(&["delete", "secret", "liquid-memory-ca", "--namespace", SYSTEM])?;
    found(
        world,
        NAMESPACE,
        &wanted("AuthorityMissing", "liquid-memory-ca", "does not exist"),
    )?;
    apply(&bare(authority))?;

    let lost = json!({"data": {"ca.crt": ""}});
    patch(NAMESPACE, "secret/proxy-sidecar-tls", "merge", &lost)?;
    found(
        world,
        NAMESPACE,
        &wanted("CertificatesDisagree", "proxy-sidecar-tls", "do not trust"),
    )?;

    kubectl(&["delete", &webhook])?;
    found(
        world,
        NAMESPACE,
        &wanted(
            "WebhookMissing",
            "liquid-memory-liquid-operator",
            "does not exist",
        ),
    )?;
    run_operators(2)?;
    // As the finding's remedy says: the fields stay the chart's.
    world.upgrade(&[])?;
    well(world, NAMESPACE)
}
