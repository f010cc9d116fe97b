//! Two nodes: workers run where the proxy says, and applications reach them across nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::proxy;
use crate::kubectl::{apply, finished, list, text};
use crate::manifest::{self, application};
use crate::status::until;
use crate::world::{Namespace, World};

pub(super) const CASES: &[(&str, Case)] = &[
    (
        "scheduling::an_application_reaches_workers_on_another_node",
        across,
    ),
    ("scheduling::workers_spread_as_the_proxy_says", spread),
];

const HOST: &str = "kubernetes.io/hostname";

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
    let namespace = Namespace::opted_in("spread")?;
    let name = namespace.0.as_str();
    let constraint = json!({"maxSkew": 1, "topologyKey": HOST, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "proxy"}}});
    let workers = json!({"replicas": 2, "topologySpreadConstraints": [constraint]});
    proxy(name, &with_workers(name, &workers))?;
    until(name, "proxy", "WorkersReady", Duration::from_secs(120))?;
    let found = nodes(name)?;
    ensure!(found.len() == 2, "both workers run on {found:?}");
    Ok(())
}
