//! The controller: it undoes what others change, leaves alone what is not its own, and rests when nothing
//! happens.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::proxy;
use crate::kubectl::{apply, get, kubectl, list, metrics, patch, text};
use crate::manifest;
use crate::status::{condition, event, until, until_reason};
use crate::world::{Namespace, OPERATOR_METRICS, SYSTEM, World, eventually, operators};

pub(super) const CASES: &[(&str, Case)] = &[
    ("operator::a_proxy_to_disturb", start),
    ("operator::makes_again_what_is_deleted", deleted),
    ("operator::undoes_what_is_changed", changed),
    ("operator::takes_back_what_is_no_longer_wanted", unwanted),
    ("operator::leaves_alone_what_is_not_its_own", not_ours),
    ("operator::one_malformed_proxy_stops_no_other", malformed),
    ("operator::rests_when_nothing_happens", calm),
];

const NAMESPACE: &str = "operator";
const LIMIT: Duration = Duration::from_secs(90);

/// Everything that a proxy `proxy` has: kind and name, a change of it that somebody may make, and where it
/// shows.
fn owned() -> [(&'static str, Value, &'static str); 9] {
    let wrong = |file: &str| json!({"data": {file: "wrong"}});
    // "wrong" in base 64.
    let certificate = json!({"data": {"tls.crt": "d3Jvbmc="}});
    [
        (
            "deployment/proxy-workers",
            json!({"spec": {"template": {"spec": {"containers": [{"name": "worker", "image": "liquid.test/wrong:1"}]}}}}),
            "/spec/template/spec/containers/0/image",
        ),
        (
            "service/proxy-workers",
            json!({"spec": {"selector": {"app.kubernetes.io/instance": "wrong"}}}),
            "/spec/selector",
        ),
        (
            "poddisruptionbudget/proxy-workers",
            json!({"spec": {"maxUnavailable": "100%"}}),
            "/spec/maxUnavailable",
        ),
        (
            "networkpolicy/proxy-workers",
            json!({"spec": {"policyTypes": ["Ingress"]}}),
            "/spec/policyTypes",
        ),
        (
            "serviceaccount/proxy-workers",
            json!({"automountServiceAccountToken": true}),
            "/automountServiceAccountToken",
        ),
        ("configmap/proxy-workers", wrong("worker.toml"), "/data"),
        ("configmap/proxy-sidecar", wrong("sidecar.toml"), "/data"),
        ("secret/proxy-worker-tls", certificate.clone(), "/data/tls.crt"),
        ("secret/proxy-sidecar-tls", certificate, "/data/tls.crt"),
    ]
}

/// Certificates are looked at by the clock, since their Secrets cannot be watched: every 60 s, or more often where they
/// live shortly, as they do here.
fn start(world: &World) -> Result<()> {
    world.upgrade(&["certificates.leafLifetime=100s", "certificates.propagation=30s"])?;
    std::mem::forget(Namespace::opted_in(NAMESPACE)?);
    proxy(NAMESPACE, &manifest::proxy(NAMESPACE, "proxy"))
}

fn uid(what: &str) -> Result<String> {
    Ok(text(&get(NAMESPACE, &[what])?, "/metadata/uid").to_owned())
}

fn deleted(_: &World) -> Result<()> {
    let mut before = Vec::new();
    for (what, ..) in owned() {
        before.push((what, uid(what)?));
    }
    let names = before.iter().map(|(what, _)| *what).collect::<Vec<_>>();
    kubectl(&[&["delete", "--namespace", NAMESPACE, "--wait=false"][..], &names].concat())?;
    for (what, old) in before {
        eventually(&format!("{what} again"), LIMIT, || {
            Ok((uid(what)? != old).then_some(()))
        })?;
    }
    until(NAMESPACE, "proxy", "Ready", LIMIT)
}

fn changed(world: &World) -> Result<()> {
    let value = |what: &str, pointer: &str| -> Result<Value> {
        let object = get(NAMESPACE, &[what])?;
        object
            .pointer(pointer)
            .cloned()
            .with_context(|| format!("{what} has no {pointer}"))
    };
    let mut before = Vec::new();
    for (what, change, pointer) in owned() {
        before.push((what, pointer, value(what, pointer)?));
        patch(NAMESPACE, what, "strategic", &change)?;
    }
    for (what, pointer, old) in before {
        eventually(&format!("{what} as it was"), LIMIT, || {
            let now = value(what, pointer)?;
            // A certificate is issued anew; all else is what it was.
            let right = if what.starts_with("secret") {
                now != json!("d3Jvbmc=")
            } else {
                now == old
            };
            ensure!(right, "{pointer} is {now}");
            Ok(Some(()))
        })?;
    }
    event(NAMESPACE, "proxy", "DriftRepaired")?;
    until(NAMESPACE, "proxy", "Ready", LIMIT)?;
    world.upgrade(&["certificates.leafLifetime=24h", "certificates.propagation=150s"])
}

fn unwanted(_: &World) -> Result<()> {
    let policy = |wanted: bool| {
        patch(
            NAMESPACE,
            "lmp/proxy",
            "merge",
            &json!({"spec": {"network": {"policy": wanted}}}),
        )
    };
    policy(false)?;
    eventually("no NetworkPolicy", LIMIT, || {
        let left = list(NAMESPACE, &["networkpolicies"])?;
        Ok(left.is_empty().then_some(()))
    })?;
    policy(true)?;
    eventually("a NetworkPolicy again", LIMIT, || {
        get(NAMESPACE, &["networkpolicy/proxy-workers"]).map(Some)
    })
    .map(|_| ())
}

/// An object of the name that was there before the proxy.
fn not_ours(_: &World) -> Result<()> {
    let name = "foreign-workers";
    apply(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"app": "somebody"}, "ports": [{"port": 80}]},
    }))?;
    let before = get(NAMESPACE, &["service", name])?;
    apply(&proxy_without_workers("foreign"))?;
    let told = until_reason(NAMESPACE, "foreign", "Accepted", "NotOurs", LIMIT)?;
    ensure!(
        text(&told, "/message").contains(name),
        "the message does not name it: {told}"
    );
    let note = event(NAMESPACE, "foreign", "ReconcileFailed")?;
    ensure!(note.contains("NotOurs"), "the Event does not say why: {note}");
    let after = get(NAMESPACE, &["service", name])?;
    ensure!(before == after, "it was changed: {before} to {after}");
    kubectl(&["delete", "service", name, "--namespace", NAMESPACE])?;
    until(NAMESPACE, "foreign", "Accepted", LIMIT)?;
    kubectl(&["delete", "lmp", "foreign", "--namespace", NAMESPACE]).map(|_| ())
}

fn proxy_without_workers(name: &str) -> Value {
    let mut wanted = manifest::proxy(NAMESPACE, name);
    if let Some(replicas) = wanted.pointer_mut("/spec/workers/replicas") {
        *replicas = json!(0);
    }
    wanted
}

/// A definition of a later version takes a value that this operator does not know.
fn malformed(_: &World) -> Result<()> {
    const CRD: &str = "crd/liquidmemoryproxies.liquidmemory.dev";
    const TIERS: &str =
        "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/extraction/properties/tier/enum";
    let with = |tier: &str| {
        let mut wanted = proxy_without_workers("malformed");
        if let Some(value) = wanted.pointer_mut("/spec/extraction/tier") {
            *value = json!(tier);
        }
        wanted
    };
    let crd = get("default", &[CRD])?;
    let known = crd
        .pointer(TIERS)
        .and_then(Value::as_array)
        .context("no tiers")?
        .len();
    let add = json!([{"op": "add", "path": format!("{TIERS}/-"), "value": "Quantum"}]);
    patch("default", CRD, "json", &add)?;
    eventually("the changed definition", LIMIT, || {
        apply(&with("Quantum")).map(Some)
    })?;
    let told = until_reason(NAMESPACE, "malformed", "Accepted", "Malformed", LIMIT)?;
    ensure!(
        text(&told, "/message").contains("Quantum"),
        "the message does not name the value: {told}"
    );
    event(NAMESPACE, "malformed", "Malformed")?;
    // The watch goes on: a proxy that is made now is served, and the other still is.
    apply(&proxy_without_workers("beside"))?;
    until(NAMESPACE, "beside", "Accepted", LIMIT)?;
    let served = get(NAMESPACE, &["lmp", "proxy"])?;
    ensure!(
        text(&condition(&served, "Ready"), "/status") == "True",
        "not served any more: {served}"
    );
    apply(&with("Lexical"))?;
    until(NAMESPACE, "malformed", "Accepted", LIMIT)?;
    let remove = json!([{"op": "remove", "path": format!("{TIERS}/{known}")}]);
    patch("default", CRD, "json", &remove)?;
    kubectl(&["delete", "lmp", "malformed", "beside", "--namespace", NAMESPACE]).map(|_| ())
}

/// A replica, by its metrics.
struct Replica {
    leads: bool,
    /// Since its start, those that failed included.
    reconciliations: u64,
}

/// Every replica by its pod's name.
fn replicas() -> Result<BTreeMap<String, Replica>> {
    let mut all = BTreeMap::new();
    for pod in operators()? {
        let name = text(&pod, "/metadata/name").to_owned();
        let metrics = metrics(SYSTEM, &name, OPERATOR_METRICS)?;
        let sum = |metric: &str| {
            let samples = metrics.lines().filter(|line| line.starts_with(metric));
            let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            values.sum::<u64>()
        };
        let replica = Replica {
            leads: sum("liquid_operator_leader ") == 1,
            reconciliations: sum("liquid_operator_reconciliations_total"),
        };
        all.insert(name, replica);
    }
    Ok(all)
}

/// A second more than the operator's pause between two readings of a proxy's figures: each proxy is
/// reconciled once in it, or twice where it begins and ends with a reading.
const WINDOW: Duration = Duration::from_secs(31);

/// Nothing but the workers' figures wakes the controller: whatever else does is a loop. And of two replicas
/// one works.
fn calm(_: &World) -> Result<()> {
    // The kubelet's and the other controllers' last words about what happened before.
    std::thread::sleep(Duration::from_secs(15));
    let proxies = list("", &["lmp", "--all-namespaces"])?.len() as u64;
    let before = replicas()?;
    std::thread::sleep(WINDOW);
    let mut during = 0;
    for (name, now) in replicas()? {
        let before = before.get(&name).with_context(|| format!("{name} is new"))?;
        let more = now.reconciliations - before.reconciliations;
        ensure!(
            now.leads || more == 0,
            "{name} reconciled {more} times and does not lead"
        );
        during += more;
    }
    let leaders = before.values().filter(|replica| replica.leads).count();
    ensure!(
        before.len() == 2 && leaders == 1,
        "{leaders} of {} replicas lead",
        before.len()
    );
    println!("\n    {during} reconciliations in {WINDOW:?}, proxies: {proxies}");
    ensure!(
        (1..=proxies * 2).contains(&during),
        "{during} reconciliations of {proxies} proxies in {WINDOW:?}"
    );
    crate::kubectl::delete_namespace(NAMESPACE)
}
