//! How long a pod's admission takes with and without injection: `cargo xtask bench admission`.
//!
//! Pods are created for trial (`dryRun=All`) over one kept connection, in turn one that is injected and one that opted
//! out. The difference is what the webhook costs; the whole is what a scheduler of pods notices.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::kubectl::{apply, kubectl};
use crate::manifest;
use crate::trials::Trials;
use crate::world::{Namespace, World};

const NAMESPACE: &str = "admission";
const WARM_UP: usize = 20;
/// Ten lie above the 99th percentile.
const PAIRS: usize = 1000;
/// What an injected pod's admission may take, API server included, in milliseconds.
const LIMIT: f64 = 50.0;

/// Measures and prints a table; fails above the limit.
pub(crate) fn run(world: &World) -> Result<()> {
    let namespace = Namespace::opted_in(NAMESPACE)?;
    let mut proxy = manifest::proxy(NAMESPACE, "proxy");
    if let Some(replicas) = proxy.pointer_mut("/spec/workers/replicas") {
        *replicas = json!(0);
    }
    apply(&proxy)?;
    let accepted = [
        "wait",
        "--namespace",
        NAMESPACE,
        "--for=condition=Accepted",
        "--timeout=60s",
        "lmp/proxy",
    ];
    kubectl(&accepted)?;
    let trials = Trials::open(world, NAMESPACE)?;
    let (injected, plain) = (labelled("enabled"), labelled("disabled"));
    let made = trials.create(&injected)?.pod;
    ensure!(made.to_string().contains("liquid-sidecar"), "no sidecar: {made}");
    for _ in 0..WARM_UP {
        trials.create(&injected)?;
        trials.create(&plain)?;
    }
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let milliseconds = |pod: &Value| -> Result<f64> { Ok(trials.create(pod)?.took.as_secs_f64() * 1000.0) };
    for _ in 0..PAIRS {
        with.push(milliseconds(&injected)?);
        without.push(milliseconds(&plain)?);
    }
    println!("{PAIRS} pods each, milliseconds        p50      p90      p99      max");
    let p99 = row("injected", &mut with);
    row("opted out", &mut without);
    drop(namespace);
    ensure!(
        p99 <= LIMIT,
        "the 99th percentile is {p99:.1} ms, above {LIMIT} ms"
    );
    Ok(())
}

fn labelled(label: &str) -> Value {
    let mut pod = manifest::pod(NAMESPACE, "trial", &[manifest::shell("main", "true")]);
    if let Some(meta) = pod.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        meta.insert("labels".to_owned(), json!({"liquidmemory.dev/inject": label}));
    }
    pod
}

fn row(name: &str, times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        times
            .get((times.len() * percent / 100).min(times.len() - 1))
            .copied()
    };
    let [p50, p90, p99, max] = [50, 90, 99, 100].map(|percent| at(percent).unwrap_or(f64::NAN));
    println!("{name:<30} {p50:>8.1} {p90:>8.1} {p99:>8.1} {max:>8.1}");
    p99
}
