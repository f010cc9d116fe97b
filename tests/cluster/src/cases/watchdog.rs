//! The watchdog: opted-in pods without a sidecar are named, and created again where the chart says so, within their
//! disruption budgets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::proxy;
use crate::kubectl::{apply, get, kubectl, list, metrics, patch, rolled_out, text};
use crate::manifest::{self, pod, shell};
use crate::plugin::findings;
use crate::status::{condition, until};
use crate::world::{
    Namespace, OPERATOR, OPERATOR_METRICS, SYSTEM, World, eventually, operators, scale_operator,
};

pub(super) const CASES: &[(&str, Case)] = &[
    (PREPARE, prepare),
    ("watchdog::pods_of_before_the_label_are_named", named),
    ("watchdog::without_the_setting_nothing_is_evicted", left),
    ("watchdog::pods_made_while_no_operator_answered_are_named", blind),
    ("watchdog::evicts_one_by_one_and_within_budgets", evicted),
    ("watchdog::namespace_ends", end),
];

/// The case that makes what the others use: pods of a namespace that does not opt in yet.
pub(super) const PREPARE: &str = "watchdog::pods_of_a_plain_namespace";

const NAMESPACE: &str = "watchdog";
const LIMIT: Duration = Duration::from_secs(90);
/// Pods that no controller creates again as they are.
const ALONE: [&str; 2] = ["alone", "job"];

fn prepare(_: &World) -> Result<()> {
    std::mem::forget(Namespace::new(NAMESPACE, &json!({}))?);
    proxy(NAMESPACE, &manifest::proxy(NAMESPACE, "proxy"))?;
    for name in ["free", "guarded"] {
        apply(&application(name))?;
    }
    apply(&json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "guarded", "namespace": NAMESPACE},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "guarded"}}},
    }))?;
    apply(&pod(NAMESPACE, "alone", &[shell("main", "sleep 100000")]))?;
    apply(&json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job", "namespace": NAMESPACE},
        "spec": {"template": {"spec": manifest::pod_spec(&[shell("main", "sleep 100000")], "Never")}},
    }))?;
    let mut out = pod(NAMESPACE, "out", &[shell("main", "sleep 100000")]);
    out["metadata"]["labels"] = json!({"liquidmemory.dev/inject": "disabled"});
    apply(&out)?;
    for name in ["free", "guarded"] {
        rolled_out(NAMESPACE, &format!("deployment/{name}"), LIMIT)?;
    }
    let running = |name: &str| {
        eventually(&format!("pod {name}"), LIMIT, || {
            let pods = pods()?;
            Ok(pods
                .values()
                .find(|pod| pod.app == name && pod.running)
                .map(|_| ()))
        })
    };
    ALONE.into_iter().try_for_each(running)
}

fn application(name: &str) -> Value {
    let mut deployment = manifest::deployment(NAMESPACE, name, &[shell("main", "sleep 100000")]);
    deployment["spec"]["replicas"] = json!(2);
    deployment
}

/// A pod of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    /// Its Deployment, its Job, or its own name.
    app: String,
    name: String,
    injected: bool,
    running: bool,
}

/// The applications' pods that are not being deleted, by uid.
fn pods() -> Result<BTreeMap<String, Found>> {
    let pods = list(NAMESPACE, &["pods"])?.into_iter();
    let own = pods.filter(|pod| {
        text(pod, "/metadata/labels/app.kubernetes.io~1managed-by") != "liquid-operator"
            && pod.pointer("/metadata/deletionTimestamp").is_none()
    });
    let found = own.map(|pod| {
        let name = text(&pod, "/metadata/name").to_owned();
        let labels = ["/metadata/labels/app", "/metadata/labels/job-name"];
        let label = labels
            .map(|label| text(&pod, label))
            .into_iter()
            .find(|label| !label.is_empty());
        let found = Found {
            app: label.unwrap_or(&name).to_owned(),
            injected: text(&pod, "/spec/initContainers/0/name") == "liquid-sidecar",
            running: text(&pod, "/status/phase") == "Running",
            name,
        };
        (text(&pod, "/metadata/uid").to_owned(), found)
    });
    Ok(found.collect())
}

/// Names of the pods that an Event of this reason is about.
fn told(reason: &str) -> Result<BTreeSet<String>> {
    let events = list(NAMESPACE, &["events"])?;
    let events = events.iter().filter(|event| text(event, "/reason") == reason);
    let about = events.filter(|event| text(event, "/involvedObject/kind") == "Pod");
    Ok(about
        .map(|event| text(event, "/involvedObject/name").to_owned())
        .collect())
}

/// A line of the operators' metrics, summed up over the replicas; none if no replica has it.
fn metric(line: &str) -> Result<Option<u64>> {
    let mut sum = None;
    for pod in operators()? {
        let name = text(&pod, "/metadata/name");
        // A replica that has just ended answers nothing.
        let metrics = metrics(SYSTEM, name, OPERATOR_METRICS).unwrap_or_default();
        let values = metrics.lines().filter_map(|found| found.strip_prefix(line));
        for value in values {
            let value: u64 = value.trim().parse().context("no number")?;
            *sum.get_or_insert(0) += value;
        }
    }
    Ok(sum)
}

/// Waits until exactly these applications' pods are said: by Events, by the proxy, by the metric, and by the plugin.
fn said(world: &World, wanted: &BTreeSet<String>) -> Result<()> {
    eventually("an Event about each pod", LIMIT, || {
        let told = told("PodNotInjected")?;
        ensure!(wanted.is_subset(&told), "of {wanted:?} only {told:?}");
        Ok(Some(()))
    })?;
    let count = format!("{} opted-in pods have no sidecar", wanted.len());
    let found = eventually("the right number", 2 * LIMIT, || {
        let found = condition(&get(NAMESPACE, &["lmp", "proxy"])?, "PodsInjected");
        let says = text(&found, "/message").starts_with(&count);
        ensure!(text(&found, "/reason") == "PodsNotInjected" && says, "{found}");
        Ok(Some(found))
    })?;
    println!("\n    {}", text(&found, "/message"));
    let line = format!("liquid_operator_pods_without_sidecar{{namespace=\"{NAMESPACE}\"}}");
    let shown = metric(&line)?;
    ensure!(
        shown == Some(wanted.len() as u64),
        "the metric has {shown:?} pods of {wanted:?}"
    );
    let findings = findings(world, NAMESPACE)?;
    let same = findings
        .iter()
        .filter(|finding| text(finding, "/fault") == "PodNotInjected");
    let names: BTreeSet<String> = same
        .map(|finding| text(finding, "/object/name").to_owned())
        .collect();
    ensure!(names == *wanted, "the plugin names {names:?}, and not {wanted:?}");
    Ok(())
}

/// Names of the pods that have no sidecar, but for the one that has opted out.
fn without() -> Result<BTreeSet<String>> {
    let pods = pods()?.into_values();
    let without = pods.filter(|pod| !pod.injected && pod.app != "out");
    Ok(without.map(|pod| pod.name).collect())
}

fn named(world: &World) -> Result<()> {
    ensure!(
        told("PodNotInjected")?.is_empty(),
        "said of pods that did not opt in"
    );
    until(NAMESPACE, "proxy", "PodsInjected", LIMIT)?;
    kubectl(&["label", "namespace", NAMESPACE, "liquidmemory.dev/inject=enabled"])?;
    let wanted = without()?;
    ensure!(wanted.len() == 6, "other pods: {wanted:?}");
    said(world, &wanted)?;
    ensure!(
        !told("PodNotInjected")?.contains("out"),
        "said of a pod that has opted out"
    );
    Ok(())
}

fn left(_: &World) -> Result<()> {
    let before = pods()?;
    std::thread::sleep(Duration::from_secs(25));
    ensure!(pods()? == before, "pods were touched");
    let right = can_evict()?;
    ensure!(!right, "the operator may evict pods");
    Ok(())
}

/// Whether the operator's account may evict pods.
fn can_evict() -> Result<bool> {
    let account = format!("--as=system:serviceaccount:{SYSTEM}:{OPERATOR}");
    // `kubectl auth can-i` ends with 1 for no.
    let answer = kubectl(&[
        "auth",
        "can-i",
        "create",
        "pods/eviction",
        "--all-namespaces",
        &account,
    ]);
    Ok(answer.is_ok_and(|answer| answer == "yes"))
}

/// With `failurePolicy: Ignore` a pod starts without a sidecar while no operator answers, and is named once one does.
fn blind(world: &World) -> Result<()> {
    world.upgrade(&["webhook.failurePolicy=Ignore"])?;
    scale_operator(0)?;
    eventually("no operator", LIMIT, || Ok(operators()?.is_empty().then_some(())))?;
    apply(&application("blind"))?;
    rolled_out(NAMESPACE, "deployment/blind", LIMIT)?;
    scale_operator(2)?;
    rolled_out(SYSTEM, &format!("deployment/{OPERATOR}"), LIMIT)?;
    world.upgrade(&["webhook.failurePolicy=Fail"])?;
    let wanted = without()?;
    ensure!(wanted.len() == 8, "other pods: {wanted:?}");
    said(world, &wanted)
}

/// Pods of Deployments are replaced, but for those that a budget keeps, until it lets them go. The others stay what they are.
fn evicted(world: &World) -> Result<()> {
    let before = pods()?;
    let of = |pods: &BTreeMap<String, Found>, app: &str| {
        let own = pods.iter().filter(|(_, pod)| pod.app == app);
        own.map(|(uid, _)| uid.clone()).collect::<BTreeSet<_>>()
    };
    world.upgrade(&["watchdog.evict=true"])?;
    let replaced = |app: &str| {
        eventually(&format!("sidecars of {app}"), Duration::from_secs(240), || {
            let now = pods()?;
            let own: Vec<_> = now.values().filter(|pod| pod.app == app).collect();
            let running = own.iter().filter(|pod| pod.running).count();
            // One is evicted at a time, so that another one always runs.
            ensure!(running > 0, "no pod of {app} runs");
            Ok((running == 2 && own.iter().all(|pod| pod.injected)).then_some(()))
        })
    };
    replaced("free")?;
    replaced("blind")?;
    eventually("an eviction that the budget refused", LIMIT, || {
        let kept = metric("liquid_operator_evictions_total{outcome=\"budget\"}")?;
        Ok(kept.filter(|kept| *kept > 0))
    })?;
    let now = pods()?;
    ensure!(
        of(&now, "guarded") == of(&before, "guarded"),
        "the budget was broken"
    );
    patch(
        NAMESPACE,
        "poddisruptionbudget/guarded",
        "merge",
        &json!({"spec": {"minAvailable": 1}}),
    )?;
    replaced("guarded")?;
    let now = pods()?;
    for app in ALONE.into_iter().chain(["out"]) {
        ensure!(of(&now, app) == of(&before, app), "{app} was replaced");
    }
    let events = told("PodEvicted")?;
    ensure!(events.len() == 6, "evicted were {events:?}");
    kubectl(&[
        "delete",
        "pod/alone",
        "job/job",
        "--namespace",
        NAMESPACE,
        "--wait=true",
    ])?;
    until(NAMESPACE, "proxy", "PodsInjected", LIMIT)?;
    world.upgrade(&["watchdog.evict=false"])?;
    ensure!(!can_evict()?, "the right to evict stayed");
    Ok(())
}

fn end(_: &World) -> Result<()> {
    let found = get(NAMESPACE, &["lmp", "proxy"])?;
    ensure!(
        found.pointer("/status/conditions").is_some(),
        "no status: {found}"
    );
    crate::kubectl::delete_namespace(NAMESPACE)
}
