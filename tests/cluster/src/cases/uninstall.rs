//! Uninstalling: nothing is left but what the policy says, and nothing is blocked.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::Case;
use crate::guide;
use crate::kubectl::{kubectl, list, text};
use crate::world::{Namespace, SYSTEM, World, eventually};

pub(super) const CASES: &[(&str, Case)] = &[("uninstall::leaves_nothing_and_blocks_nothing", uninstall)];

/// Kinds that the release or the operator makes.
const KINDS: &str = "deployments,services,configmaps,secrets,serviceaccounts,poddisruptionbudgets,networkpolicies,\
                     roles,rolebindings,leases,jobs,pods";

fn uninstall(world: &World) -> Result<()> {
    guide::run(world, "Uninstall")?;
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
    let pod = crate::manifest::pod(
        &namespace.0,
        "plain",
        &[crate::manifest::application(world, "plain", &["document.py"])],
    );
    crate::kubectl::apply(&pod)?;
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
