//! Two nodes: workers run where the proxy says, applications reach them across nodes, and ask those of their zone first.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::proxy;
use crate::kubectl::{apply, finished, kubectl, list, raw, text};
use crate::manifest::{self, application};
use crate::status::until;
use crate::world::{Namespace, World};

pub(super) const CASES: &[(&str, Case)] = &[
    (
        "scheduling::an_application_reaches_workers_on_another_node",
        across,
    ),
    (
        "scheduling::workers_spread_as_the_proxy_says_and_those_of_the_zone_are_asked",
        spread,
    ),
];

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Six calls by the sidecar of this pod, once it knows the zones of both workers; then what it says of them.
const ASK_BY_ZONE: &str = r#"
stats() { wget -qO- http://127.0.0.1:8787/liquid/stats; }
until stats | grep -q '"zone-node1"' && stats | grep -q '"zone-node2"'; do sleep 0.2; done
document=$(yes 'The supplier pays the fee. Nothing is due here.' | head -n 100 | tr '\n' ' ')
for number in 1 2 3 4 5 6; do
    body='{"model": "m", "messages": [{"role": "user", "content": "'"$document $number"'"}, {"role": "user", "content": "Who pays?"}]}'
    wget -qO /dev/null --header 'content-type: application/json' --header 'x-liquid-mode: force' --post-data "$body" \
        'http://127.0.0.1:8787/v1/chat/completions?dry_run=1'
done
stats"#;

fn with_workers(namespace: &str, more: &Value) -> Value {
    let mut wanted = manifest::proxy(namespace, "proxy");
    if let (Some(workers), Some(more)) = (
        wanted.pointer_mut("/spec/workers").and_then(Value::as_object_mut),
        more.as_object(),
    ) {
        workers.extend(more.clone());
    }
    wanted
}

/// The nodes of the workers.
fn nodes(namespace: &str) -> Result<BTreeSet<String>> {
    let workers = ["pods", "--selector", "app.kubernetes.io/component=worker"];
    let pods = list(namespace, &workers)?;
    let names = pods.iter().map(|pod| text(pod, "/spec/nodeName").to_owned());
    Ok(names.collect())
}

fn across(world: &World) -> Result<()> {
    let namespace = Namespace::opted_in("across-nodes")?;
    let name = namespace.0.as_str();
    proxy(
        name,
        &with_workers(name, &json!({"nodeSelector": {HOST: "node2"}})),
    )?;
    let found = nodes(name)?;
    ensure!(
        found == BTreeSet::from(["node2".to_owned()]),
        "workers run on {found:?}"
    );
    let mut pod = manifest::pod(
        name,
        "asks",
        &[application(world, "application", &["ask.py", "across"])],
    );
    if let Some(spec) = pod.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.insert("nodeSelector".to_owned(), json!({HOST: "node1"}));
    }
    apply(&pod)?;
    let log = finished(name, "asks", Duration::from_secs(90))?;
    ensure!(
        log.contains("\"x-liquid-decision\": \"compressed\""),
        "not compressed across nodes: {log}"
    );
    Ok(())
}

fn spread(_: &World) -> Result<()> {
    for node in ["node1", "node2"] {
        kubectl(&[
            "label",
            "node",
            node,
            "--overwrite",
            &format!("{ZONE}=zone-{node}"),
        ])?;
    }
    let namespace = Namespace::opted_in("spread")?;
    let name = namespace.0.as_str();
    let constraint = json!({"maxSkew": 1, "topologyKey": HOST, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "proxy"}}});
    let workers = json!({"replicas": 2, "topologySpreadConstraints": [constraint]});
    proxy(name, &with_workers(name, &workers))?;
    until(name, "proxy", "WorkersReady", Duration::from_secs(120))?;
    let found = nodes(name)?;
    ensure!(found.len() == 2, "both workers run on {found:?}");
    // Before, nodes' labels do not reach pods.
    if minor_version()? >= 35 {
        asked_by_zone(name)?;
    }
    for node in ["node1", "node2"] {
        kubectl(&["label", "node", node, &format!("{ZONE}-")])?;
    }
    Ok(())
}

fn minor_version() -> Result<u32> {
    let version: Value = serde_json::from_str(&raw("/version")?)?;
    Ok(text(&version, "/minor").trim_end_matches('+').parse()?)
}

/// All calls of a pod on node2 go to the worker there.
fn asked_by_zone(namespace: &str) -> Result<()> {
    let mut pod = manifest::pod(namespace, "asks", &[manifest::shell("application", ASK_BY_ZONE)]);
    pod["spec"]["nodeSelector"] = json!({HOST: "node2"});
    apply(&pod)?;
    let log = finished(namespace, "asks", Duration::from_secs(90))?;
    // The sidecar's own lines are JSON too.
    let mut lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let stats = lines
        .find(|line| line.get("workers").is_some())
        .unwrap_or_default();
    let workers = stats.get("workers").and_then(Value::as_array);
    let answered = workers.into_iter().flatten().map(|worker| {
        let count = worker.get("answered").and_then(Value::as_u64);
        (text(worker, "/zone"), count.unwrap_or_default())
    });
    let answered: BTreeSet<_> = answered.collect();
    ensure!(
        answered == BTreeSet::from([("zone-node1", 0), ("zone-node2", 6)]),
        "answers by zone: {answered:?}"
    );
    Ok(())
}
