//! Names of releases, and the webhook on the nodes' network.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::charts::template;
use super::{sidecar, without_workers};
use crate::kubectl::{as_objects, get, kubectl, text, trial};
use crate::manifest::{pod, shell};
use crate::world::{OPERATOR, SYSTEM, World, eventually, operators};

/// Names of everything that a release of this name makes, its hooks and tests included.
fn names(world: &World, release: &str, namespace: &str) -> Result<Vec<String>> {
    let chart = world.chart("liquid-memory").display().to_string();
    let arguments = [
        "template",
        release,
        &chart,
        "--namespace",
        namespace,
        "--kube-version",
        "1.36.0",
    ];
    let manifests = world.helm(&arguments).with_context(|| release.to_owned())?;
    let documents = manifests.split("\n---\n");
    let metadata = documents.filter_map(|document| document.split_once("\nmetadata:\n"));
    let names =
        metadata.filter_map(|(_, metadata)| metadata.lines().find_map(|line| line.strip_prefix("  name: ")));
    Ok(names.map(str::to_owned).collect())
}

/// Whether a Service can have the name on every version of Kubernetes. Names of cluster-wide objects begin with their
/// namespace, which may begin with a digit.
fn is_label(name: &str) -> bool {
    let mut letters = name.bytes();
    name.len() <= 63
        && !name.ends_with('-')
        && letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-')
}

pub(super) fn release_names(world: &World) -> Result<()> {
    let mut releases: Vec<String> = (1..=53).map(|length| "a".repeat(length)).collect();
    let others = [
        "liquid-memory-for-the-european-finance-platform-01",
        "liquid-memory-for-the-european-finance-platform-0",
        "liquid-memory-for-the-european-finance-platform-0-b",
        "liquid-memory",
        "liquid-operator",
        "a-liquid-operator",
        "a.b",
        "a-b",
        "2026.finance-2",
        "2026-finance-2",
        "a--------------------------------------------------b",
    ];
    releases.extend(others.map(str::to_owned));
    let mut all = BTreeSet::new();
    for release in &releases {
        let names = names(world, release, SYSTEM)?;
        ensure!(names.len() > 10, "{release}: only {names:?}");
        for name in &names {
            ensure!(is_label(name), "{release}: {name} is no name of a Service");
        }
        for name in names.into_iter().collect::<BTreeSet<_>>() {
            ensure!(
                all.insert(name.clone()),
                "{release}: another release has {name} too"
            );
        }
    }
    // What is cluster-wide does not meet either, whatever the namespaces are called.
    let long = "n".repeat(63);
    let of = |release: &str, namespace: &str| -> Result<BTreeSet<String>> {
        let names = names(world, release, namespace)?.into_iter();
        Ok(names.filter(|name| name.starts_with(&namespace[..1])).collect())
    };
    let (one, other) = (of("b-c", "z")?, of("c", "z-b")?);
    ensure!(
        one.is_disjoint(&other) && !one.is_empty(),
        "{one:?} and {other:?} meet"
    );
    ensure!(
        of("a", &long)?.iter().all(|name| is_label(name)),
        "a long namespace"
    );
    Ok(())
}

const VALUES: [&str; 3] = [
    "operator.hostNetwork=true",
    "operator.webhookPort=10260",
    "operator.adminPort=10261",
];

/// The ports in a list of objects, by the name of the field that has them.
fn ports(object: &Value, list: &str, field: &str) -> Vec<i64> {
    let entries = object
        .pointer(list)
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    entries.filter_map(|entry| entry.get(field)?.as_i64()).collect()
}

pub(super) fn host_network(world: &World) -> Result<()> {
    let objects = as_objects(&template(world, "rendered", &VALUES)?)?;
    let find = |kind: &str| {
        let found = objects.iter().find(|object| text(object, "/kind") == kind);
        found.with_context(|| format!("no {kind}"))
    };
    let deployment = find("Deployment")?;
    let spec = deployment.pointer("/spec/template/spec").context("no template")?;
    ensure!(
        spec.get("hostNetwork") == Some(&Value::Bool(true))
            && text(spec, "/dnsPolicy") == "ClusterFirstWithHostNet",
        "not on the nodes' network: {spec}"
    );
    for (what, found) in [
        ("Deployment", ports(spec, "/containers/0/ports", "containerPort")),
        ("Service", ports(find("Service")?, "/spec/ports", "targetPort")),
        (
            "NetworkPolicy",
            ports(find("NetworkPolicy")?, "/spec/ingress/0/ports", "port"),
        ),
    ] {
        ensure!(found == [10260, 10261], "{what} has the ports {found:?}");
    }
    // A release of a chart without these values keeps what it has.
    let earlier = [
        "podUser=null",
        "operator.hostNetwork=null",
        "operator.webhookPort=null",
        "operator.adminPort=null",
    ];
    let (earlier, now) = (
        template(world, "rendered", &earlier)?,
        template(world, "rendered", &[])?,
    );
    ensure!(earlier == now, "values of an earlier chart render something else");
    let same = template(world, "rendered", &["operator.adminPort=9443"]);
    let same = same.err().context("one port for both is accepted")?.to_string();
    ensure!(same.contains("choose two ports"), "no remedy: {same}");
    Ok(())
}

fn enforce(standard: &str) -> Result<()> {
    let label = format!("pod-security.kubernetes.io/enforce={standard}");
    kubectl(&["label", "namespace", SYSTEM, &label, "--overwrite"]).map(|_| ())
}

pub(super) fn on_the_nodes_network(world: &World) -> Result<()> {
    enforce("privileged")?;
    world.upgrade(&VALUES)?;
    let pods = operators()?;
    let alive = pods
        .iter()
        .filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
    let alive = alive.collect::<Vec<_>>();
    let on_nodes = alive
        .iter()
        .all(|pod| text(pod, "/status/podIP") == text(pod, "/status/hostIP"));
    ensure!(
        on_nodes && alive.len() == 2,
        "not on the nodes' network: {alive:?}"
    );
    world.test()?;
    let namespace = without_workers("field-host-network")?;
    eventually("an injected pod", Duration::from_secs(30), || {
        let made = trial(&pod(&namespace.0, "tried", &[shell("main", "true")]))?;
        Ok(sidecar(&made).map(|_| ()))
    })?;
    world.upgrade(&[
        "operator.hostNetwork=false",
        "operator.webhookPort=9443",
        "operator.adminPort=8080",
    ])?;
    let operator = get(SYSTEM, &["deployment", OPERATOR])?;
    ensure!(
        operator.pointer("/spec/template/spec/hostNetwork").is_none(),
        "still there: {operator}"
    );
    enforce("restricted")
}
