//! Uninstalling: nothing is left but what the policy says, and nothing is blocked.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::Case;
use super::path::proxy;
use crate::guide::{self, Chapter};
use crate::kubectl::{apply, delete_namespace, get, kubectl, list, text};
use crate::manifest;
use crate::world::{Namespace, SYSTEM, World, eventually};

pub(super) const CASES: &[(&str, Case)] = &[
    ("uninstall::leaves_nothing_and_blocks_nothing", uninstall),
    ("uninstall::removes_everything_when_asked", everything),
];

/// Kinds that the release or the operator makes.
const KINDS: &str = "deployments,services,configmaps,secrets,serviceaccounts,poddisruptionbudgets,networkpolicies,\
                     roles,rolebindings,leases,jobs,pods";

/// Where a proxy and its workers outlive the operator.
const REMAINS: &str = "remains";

fn uninstall(world: &World) -> Result<()> {
    std::mem::forget(Namespace::opted_in(REMAINS)?);
    proxy(REMAINS, &manifest::proxy(REMAINS, "proxy"))?;
    guide::run(world, Chapter::Uninstall)?;
    for kind in [
        "mutatingwebhookconfigurations",
        "clusterroles",
        "clusterrolebindings",
    ] {
        let ours = kubectl(&[
            "get",
            kind,
            "-l",
            "app.kubernetes.io/name=liquid-memory",
            "-o",
            "name",
        ])?;
        ensure!(ours.is_empty(), "left behind: {ours}");
    }
    eventually("an empty namespace", Duration::from_secs(60), || {
        let left = list(SYSTEM, &[KINDS])?;
        let names = left.iter().map(|object| {
            let pointers = ["/kind", "/metadata/name"];
            pointers.map(|pointer| text(object, pointer).to_owned()).join("/")
        });
        // Kubernetes' own, and Helm's record of the other chart.
        let ours = names.filter(|name| {
            !name.ends_with("kube-root-ca.crt")
                && name != "ServiceAccount/default"
                && !name.contains("liquid-memory-crds")
        });
        let ours = ours.collect::<Vec<_>>();
        ensure!(ours.is_empty(), "left behind: {ours:?}");
        Ok(Some(()))
    })?;
    // A pod of a namespace that still opts in is created: no webhook stands in its way.
    let namespace = Namespace::opted_in("after-uninstall")?;
    let application = manifest::application(world, "plain", &["document.py"]);
    apply(&manifest::pod(&namespace.0, "plain", &[application]))?;
    // Nor does anything end a proxy's workers.
    let workers = get(REMAINS, &["deployment", "proxy-workers"])?;
    ensure!(
        workers.pointer("/status/readyReplicas") == Some(&json!(1)),
        "the workers have gone with the operator: {workers}"
    );
    // The resource type and its resources stay: Helm never deletes them.
    kubectl(&["get", "crd", "liquidmemoryproxies.liquidmemory.dev"])?;
    let kept = json!({"helm.sh/resource-policy": "keep"});
    let crd = kubectl(&[
        "get",
        "crd",
        "liquidmemoryproxies.liquidmemory.dev",
        "-o",
        "jsonpath={.metadata.annotations}",
    ])?;
    ensure!(crd.contains("\"keep\""), "not {kept}: {crd}");
    Ok(())
}

/// With the proxies go their workers; no operator has to agree.
fn everything(world: &World) -> Result<()> {
    guide::run(world, Chapter::RemoveEverything)?;
    let crds = kubectl(&["get", "crd", "-o", "name"])?;
    ensure!(!crds.contains("liquidmemory.dev"), "left behind: {crds}");
    eventually("nothing of any proxy", Duration::from_secs(60), || {
        let selector = "app.kubernetes.io/managed-by=liquid-operator";
        let left = list("", &[KINDS, "--all-namespaces", "--selector", selector])?;
        let names = left
            .iter()
            .map(|object| text(object, "/metadata/name").to_owned());
        let names = names.collect::<Vec<_>>();
        ensure!(names.is_empty(), "left behind: {names:?}");
        Ok(Some(()))
    })?;
    delete_namespace(REMAINS)
}
