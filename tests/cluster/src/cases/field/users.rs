//! A platform that assigns users, as OpenShift does: a policy that refuses all others stands for it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::super::path::proxy;
use super::{set, sidecar};
use crate::kubectl::{apply, finished, get, kubectl, text, trial};
use crate::manifest::{self, application, pod, shell};
use crate::world::{Namespace, SYSTEM, World, eventually, operators};

/// A user of the range.
const ASSIGNED: u32 = 1_000_920_000;
/// Label of the namespaces whose users come from the range.
const RANGE: &str = "field-users";
const POLICY: &str = "user-range";

/// In these namespaces nobody runs as a user outside the range, and nobody names a group.
fn assign_users() -> Result<()> {
    let in_range = |context: &str| {
        format!(
            "(!has({context}.runAsUser) || ({context}.runAsUser >= {ASSIGNED} && {context}.runAsUser < {ASSIGNED} + 10000)) \
             && !has({context}.runAsGroup)"
        )
    };
    let expression = format!(
        "(object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : [])).all(c, \
         !has(c.securityContext) || ({})) && (!has(object.spec.securityContext) || ({} && \
         !has(object.spec.securityContext.fsGroup)))",
        in_range("c.securityContext"),
        in_range("object.spec.securityContext")
    );
    apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": POLICY},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
            ]},
            "validations": [{"expression": expression, "message": "runAsUser must be in the ranges: [1000920000, 1000929999]"}],
        },
    }))?;
    apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": POLICY},
        "spec": {"policyName": POLICY, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {RANGE: "yes"}}}},
    }))
    .map(|_| ())
}

fn namespace(name: &str) -> Result<Namespace> {
    assign_users()?;
    let made = Namespace::new(
        name,
        &json!({
            "liquidmemory.dev/inject": "enabled",
            "pod-security.kubernetes.io/enforce": "restricted",
            RANGE: "yes",
        }),
    )?;
    // The API server takes a policy up seconds after it was applied.
    let mut outside = pod(name, "outside", &[shell("main", "true")]);
    set(
        &mut outside,
        "/metadata",
        "labels",
        json!({"liquidmemory.dev/inject": "disabled"}),
    );
    refused("a pod with a fixed user is refused", &outside)?;
    Ok(made)
}

/// Waits until a pod is refused by the range of users.
fn refused(what: &str, wanted: &Value) -> Result<String> {
    eventually(what, Duration::from_secs(30), || {
        let refused = trial(wanted).err().map(|error| error.to_string());
        Ok(refused.filter(|refused| refused.contains("must be in the ranges")))
    })
}

/// Gives a pod the user that the platform would assign.
fn with_user(mut wanted: Value) -> Value {
    set(&mut wanted, "/spec/securityContext", "runAsUser", json!(ASSIGNED));
    wanted
}

/// A pod of the application runs, as a user of the range and its sidecar too, and its call is compressed.
fn application_runs(world: &World, namespace: &str) -> Result<()> {
    let asks = [application(world, "asks", &["ask.py", "users"])];
    let wanted = with_user(pod(namespace, "asks", &asks));
    // A replica of before answers until its connections have ended.
    eventually("the application's pod", Duration::from_secs(30), || {
        apply(&wanted).map(Some)
    })?;
    let log = finished(namespace, "asks", Duration::from_secs(90))?;
    ensure!(
        log.contains("\"x-liquid-decision\": \"compressed\""),
        "not compressed: {log}"
    );
    let made = get(namespace, &["pod", "asks"])?;
    let context = sidecar(&made).and_then(|sidecar| sidecar.get("securityContext"));
    let context = context.context("no sidecar")?;
    ensure!(
        context.get("runAsUser").is_none() && context.get("runAsNonRoot") == Some(&json!(true)),
        "the sidecar names its user: {context}"
    );
    Ok(())
}

pub(super) fn by_proxy(world: &World) -> Result<()> {
    let namespace = namespace("field-users")?;
    let name = namespace.0.as_str();
    // With users of their own, neither workers nor sidecars can be created, and the status says what to do.
    apply(&manifest::proxy(name, "proxy"))?;
    refused(
        "a sidecar with a fixed user is refused",
        &with_user(pod(name, "asks", &[shell("main", "true")])),
    )?;
    let seen = crate::status::until_reason(
        name,
        "proxy",
        "WorkersReady",
        "NotCreated",
        Duration::from_secs(60),
    )?;
    ensure!(
        text(&seen, "/message").contains("spec.workers.user to Platform"),
        "no remedy: {seen}"
    );
    let mut wanted = manifest::proxy(name, "proxy");
    set(&mut wanted, "/spec/workers", "user", json!("Platform"));
    set(&mut wanted, "/spec", "injection", json!({"user": "Platform"}));
    proxy(name, &wanted)?;
    application_runs(world, name)
}

/// One value for the operator, its hooks and tests, workers and sidecars.
pub(super) fn by_chart(world: &World) -> Result<()> {
    let outcome = release_runs(world);
    // Also where it failed: later cases install the release in this namespace.
    let restored = leave_users(world);
    outcome.and(restored)
}

fn release_runs(world: &World) -> Result<()> {
    assign_users()?;
    kubectl(&[
        "label",
        "namespace",
        SYSTEM,
        &format!("{RANGE}=yes"),
        "--overwrite",
    ])?;
    world.upgrade(&["podUser=Platform"])?;
    let pods = operators()?;
    let running = pods
        .iter()
        .filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
    for pod in running {
        let context = pod
            .pointer("/spec/securityContext")
            .context("no security context")?;
        ensure!(
            context.get("runAsUser").is_none() && context.get("runAsNonRoot") == Some(&json!(true)),
            "the operator names its user: {context}"
        );
    }
    world.test()?;
    let namespace = namespace("field-users-chart")?;
    proxy(&namespace.0, &manifest::proxy(&namespace.0, "proxy"))?;
    application_runs(world, &namespace.0)
}

fn leave_users(world: &World) -> Result<()> {
    kubectl(&["label", "namespace", SYSTEM, &format!("{RANGE}-")])?;
    world.upgrade(&["podUser=Fixed"])?;
    kubectl(&[
        "delete",
        "validatingadmissionpolicybinding,validatingadmissionpolicy",
        POLICY,
    ])
    .map(|_| ())
}
