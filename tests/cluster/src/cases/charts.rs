//! The charts: linted, rendered over a matrix of values, checked by the API server, installed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Case;
use crate::guide::{self, Chapter};
use crate::kubectl::{dry_run, get, kubectl, rolled_out};
use crate::world::{Namespace, OPERATOR, RELEASE, SYSTEM, World};

/// The case after which the release is there.
pub(super) const INSTALL: &str = "charts::install";

pub(super) const CASES: &[(&str, Case)] = &[
    ("charts::lint", lint),
    ("charts::refuse_values_that_mean_nothing", refuse),
    ("charts::one_value_moves_every_image", registry),
    ("charts::monitoring_is_rendered", monitoring),
    (INSTALL, install),
    ("charts::every_set_of_values_makes_valid_objects", matrix),
];

/// A release that is never installed.
const RENDERED: &str = "rendered";

const CHARTS: [&str; 2] = ["liquid-memory-crds", "liquid-memory"];

/// Sets of values that together touch every branch of the templates.
const MATRIX: [&[&str]; 11] = [
    &[],
    &["operator.replicas=1"],
    &["operator.antiAffinity=hard", "operator.disruptionBudget=false"],
    &[
        "image.registry=registry.internal:5000/mirror",
        "image.pullSecrets={one,two}",
        "image.pullPolicy=Always",
    ],
    &[
        "webhook.failurePolicy=Ignore",
        "webhook.excludedNamespaces={kube-system,cert-manager}",
    ],
    &[
        "networkPolicy.enabled=false",
        "uninstall.hook=false",
        "operator.priorityClassName=system-cluster-critical",
    ],
    &[
        "operator.nodeSelector.disk=ssd",
        "operator.tolerations[0].operator=Exists",
        "operator.podLabels.team=platform",
        "operator.podAnnotations.note=yes",
        "image.sidecar.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ],
    &["podUser=Platform"],
    &["models.publicKey=MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="],
    &[
        "monitoring.dashboard=true",
        "monitoring.labels.team=platform",
        "userRoles.aggregate=false",
        "watchdog.evict=true",
    ],
    &[
        "operator.hostNetwork=true",
        "operator.webhookPort=10260",
        "operator.adminPort=10261",
    ],
];

/// What the schema has to refuse, and the field that it has to name.
const REFUSED: [(&str, &str); 11] = [
    ("operator.replicas=0", "replicas"),
    ("operator.replica=2", "replica"),
    ("webhook.failurePolicy=Open", "failurePolicy"),
    ("image.registry=https://example.com", "registry"),
    ("certificates.leafLifetime=1y", "leafLifetime"),
    ("operator.antiAffinity=none", "antiAffinity"),
    ("operator.webhookPort=443", "webhookPort"),
    ("operator.hostNetwork=yes please", "hostNetwork"),
    ("podUser=root", "podUser"),
    ("watchdog.evict=maybe", "evict"),
    ("models.publicKey=secret", "publicKey"),
];

fn lint(world: &World) -> Result<()> {
    for chart in CHARTS {
        let chart = world.chart(chart);
        world.helm(&[
            "lint",
            "--strict",
            "--kube-version",
            "1.36.0",
            &chart.to_string_lossy(),
        ])?;
    }
    Ok(())
}

/// The chart with these values, as YAML.
pub(super) fn template(world: &World, release: &str, values: &[&str]) -> Result<String> {
    let chart = world.chart("liquid-memory").display().to_string();
    let mut arguments = vec![
        "template",
        // The test's pod needs its account to exist; `helm test` proves it.
        "--skip-tests",
        release,
        &chart,
        "--namespace",
        SYSTEM,
        "--kube-version",
        "1.36.0",
    ];
    for value in values {
        arguments.extend(["--set", value]);
    }
    world.helm(&arguments)
}

fn refuse(world: &World) -> Result<()> {
    for (value, field) in REFUSED {
        let refusal = template(world, RENDERED, &[value])
            .err()
            .map(|error| error.to_string());
        let refusal = refusal.with_context(|| format!("{value} is accepted"))?;
        ensure!(
            refusal.contains(field),
            "{value}: the refusal does not name {field}: {refusal}"
        );
    }
    Ok(())
}

/// As the guide says it; the images are on the nodes already.
fn install(world: &World) -> Result<()> {
    std::mem::forget(Namespace::new(
        SYSTEM,
        &json!({"pod-security.kubernetes.io/enforce": "restricted"}),
    )?);
    guide::run(world, Chapter::Install)?;
    rolled_out(SYSTEM, "deployment/liquid-operator", Duration::from_secs(60))?;
    let operator = get(SYSTEM, &["deployment", OPERATOR])?;
    ensure!(
        operator.pointer("/status/readyReplicas") == Some(&json!(2)),
        "the operator is not whole: {operator}"
    );
    Ok(())
}

/// On a cluster that has the release from a run before: the operator starts again, from the image that is there now.
pub(super) fn install_or_restart(world: &World) -> Result<()> {
    if world.helm(&["status", RELEASE, "--namespace", SYSTEM]).is_err() {
        return install(world);
    }
    let deployment = "deployment/liquid-operator";
    kubectl(&["rollout", "restart", deployment, "--namespace", SYSTEM])?;
    rolled_out(SYSTEM, deployment, Duration::from_secs(120))
}

/// Server-side, with unknown fields refused: what the API server of this version really takes.
fn matrix(world: &World) -> Result<()> {
    for values in MATRIX {
        let manifests = template(world, RENDERED, values)?;
        dry_run(&manifests).with_context(|| format!("values {values:?}"))?;
    }
    Ok(())
}

/// Of kinds that this cluster does not know: rendered, with its placeholder filled in.
fn monitoring(world: &World) -> Result<()> {
    let values = [
        "monitoring.serviceMonitor=true",
        "monitoring.podMonitors=true",
        "monitoring.rules=true",
        "monitoring.labels.release=prometheus",
        "certificates.leafLifetime=2d",
    ];
    let manifests = template(world, RENDERED, &values)?;
    for (part, times) in [
        ("\nkind: ServiceMonitor\n", 1),
        ("\nkind: PodMonitor\n", 2),
        ("\nkind: PrometheusRule\n", 1),
        ("\n    release: prometheus\n", 4),
        (" < 172800 / 6\n", 1),
        ("SECONDS", 0),
    ] {
        let found = manifests.matches(part).count();
        ensure!(
            found == times,
            "{part:?} is there {found} times, not {times}: {manifests}"
        );
    }
    Ok(())
}

fn registry(world: &World) -> Result<()> {
    let manifests = template(world, RENDERED, &["image.registry=registry.internal:5000/mirror"])?;
    let images = manifests
        .lines()
        .filter(|line| line.contains("liquid-") && line.contains(":0."));
    let strays = images.filter(|line| !line.contains("registry.internal:5000/mirror/"));
    let strays = strays.collect::<Vec<_>>();
    ensure!(strays.is_empty(), "images from elsewhere: {strays:?}");
    ensure!(
        !manifests.contains("ghcr.io"),
        "the default registry is still there"
    );
    Ok(())
}
