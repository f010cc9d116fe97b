//! Faults under constant traffic. Each case prints how many of the application's requests failed, and it has to be
//! none: the application never retries, so any lost request counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::proxy;
use crate::guide;
use crate::kubectl::{get, kubectl, list, rolled_out, text};
use crate::manifest;
use crate::traffic::Traffic;
use crate::world::{Namespace, OPERATOR, SYSTEM, World, eventually};

pub(super) const CASES: &[(&str, Case)] = &[
    ("faults::traffic_starts", start),
    ("faults::worker_killed", worker_killed),
    ("faults::workers_rolled_out", rollout),
    ("faults::api_server_restarted", api_server),
    ("faults::leader_killed", leader_killed),
    ("faults::chart_upgraded", upgrade),
    ("faults::operator_down", operator_down),
    ("faults::authority_rotated_twice", rotation),
    ("faults::traffic_ends", end),
];

const NAMESPACE: &str = "faults";
const WORKERS: &str = "deployment/proxy-workers";
/// client-go's lease, and the time that a busy machine needs to notice.
const LEASE: Duration = Duration::from_secs(15 + 10);

fn start(world: &World) -> Result<()> {
    std::mem::forget(Namespace::opted_in(NAMESPACE)?);
    let mut wanted = manifest::proxy(NAMESPACE, "proxy");
    if let Some(replicas) = wanted.pointer_mut("/spec/workers/replicas") {
        *replicas = json!(2);
    }
    proxy(NAMESPACE, &wanted)?;
    Traffic::start(world, NAMESPACE)
}

fn pods(namespace: &str, component: &str) -> Result<Vec<String>> {
    let selector = format!("app.kubernetes.io/component={component}");
    let pods = list(namespace, &["pods", "--selector", &selector])?;
    Ok(pods
        .iter()
        .map(|pod| text(pod, "/metadata/name").to_owned())
        .collect())
}

fn kill(namespace: &str, pod: &str) -> Result<()> {
    let now = ["--grace-period=0", "--force", "--wait=false"];
    kubectl(&[&["delete", "pod", pod, "--namespace", namespace], &now[..]].concat()).map(|_| ())
}

fn worker_killed(_: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let workers = pods(NAMESPACE, "worker")?;
    kill(NAMESPACE, workers.first().context("no worker")?)?;
    traffic.another(20)?;
    rolled_out(NAMESPACE, WORKERS, Duration::from_secs(90))?;
    traffic.none_failed("a worker killed").map(|_| ())
}

fn rollout(_: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let before = pods(NAMESPACE, "worker")?;
    let change = json!({"spec": {"workers": {"resources": {"limits": {"memory": "2100Mi"}}}}});
    let patch = [
        "patch",
        "lmp",
        "proxy",
        "--namespace",
        NAMESPACE,
        "--type=merge",
        "--patch",
    ];
    kubectl(&[&patch[..], &[&change.to_string()]].concat())?;
    eventually("new workers", Duration::from_secs(120), || {
        let now = pods(NAMESPACE, "worker")?;
        Ok((now.len() == 2 && now.iter().all(|pod| !before.contains(pod))).then_some(()))
    })?;
    rolled_out(NAMESPACE, WORKERS, Duration::from_secs(90))?;
    let counts = traffic.none_failed("workers rolled out")?;
    // One of two goes at a time: evidence is there throughout.
    ensure!(
        counts.compressed * 10 >= counts.sent * 8,
        "hardly compressed: {counts:?}"
    );
    Ok(())
}

fn api_server(world: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    world.restart("kube-apiserver", 3)?;
    eventually("the API server", Duration::from_secs(60), || {
        kubectl(&["get", "--raw", "/readyz"]).map(Some)
    })?;
    rolled_out(SYSTEM, "deployment/liquid-operator", Duration::from_secs(90))?;
    traffic.none_failed("API server restarted").map(|_| ())
}

fn leader() -> Result<String> {
    let lease = get(SYSTEM, &["lease", OPERATOR])?;
    let holder = text(&lease, "/spec/holderIdentity").to_owned();
    ensure!(!holder.is_empty(), "nobody leads");
    Ok(holder)
}

fn leader_killed(_: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let before = leader()?;
    let operators = pods(SYSTEM, "operator")?;
    let pod = operators.iter().find(|pod| before.contains(pod.as_str()));
    let pod = pod.with_context(|| format!("the leader {before} is none of {operators:?}"))?;
    let start = Instant::now();
    kill(SYSTEM, pod)?;
    let after = eventually("another leader", LEASE, || {
        let now = leader()?;
        Ok((now != before).then_some(now))
    })?;
    println!("\n    {after} leads after {:.1} s", start.elapsed().as_secs_f64());
    rolled_out(SYSTEM, "deployment/liquid-operator", Duration::from_secs(90))?;
    traffic.none_failed("the leader killed").map(|_| ())
}

/// The release with other values, and its rollout.
fn upgraded(world: &World, values: &[&str]) -> Result<()> {
    let chart = world.chart("liquid-memory").display().to_string();
    let mut arguments = vec![
        "upgrade",
        "liquid-memory",
        &chart,
        "--namespace",
        SYSTEM,
        "--reuse-values",
    ];
    for value in values {
        arguments.extend(["--set", value]);
    }
    world.helm(&arguments)?;
    rolled_out(SYSTEM, "deployment/liquid-operator", Duration::from_secs(120))
}

/// A new operator alone restarts no worker.
fn upgrade(world: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let mut before = pods(NAMESPACE, "worker")?;
    let doors = Doors::open();
    guide::run(world, "Upgrade")?;
    upgraded(world, &["operator.podAnnotations.upgraded=yes"])?;
    doors.none_failed("chart upgraded")?;
    let mut after = pods(NAMESPACE, "worker")?;
    before.sort();
    after.sort();
    ensure!(
        before == after,
        "the upgrade replaced workers: {before:?} by {after:?}"
    );
    traffic.none_failed("chart upgraded").map(|_| ())
}

fn authority() -> Result<String> {
    let secret = get(SYSTEM, &["secret", "liquid-memory-ca"])?;
    Ok(text(&secret, "/data/tls.crt").to_owned())
}

/// Two new authorities, one after the other, and with each new certificates everywhere. The release is made anew with
/// lives of a minute; the workers and their traffic stay meanwhile.
fn rotation(world: &World) -> Result<()> {
    guide::run(world, "Uninstall")?;
    install(
        world,
        &[
            "certificates.caLifetime=90s",
            "certificates.leafLifetime=30s",
            "certificates.propagation=10s",
        ],
    )?;
    let before = Traffic::from_now(NAMESPACE)?;
    eventually(
        "compressed traffic with new certificates",
        Duration::from_secs(90),
        || Ok((before.since()?.compressed > 2).then_some(())),
    )?;
    let traffic = Traffic::from_now(NAMESPACE)?;
    let doors = Doors::open();
    let first = authority()?;
    let second = eventually("a second authority", Duration::from_secs(150), || {
        Ok(Some(authority()?).filter(|now| *now != first))
    })?;
    eventually("a third authority", Duration::from_secs(150), || {
        Ok(Some(authority()?).filter(|now| *now != second))
    })?;
    traffic.another(20)?;
    doors.none_failed("authority rotated twice")?;
    let counts = traffic.none_failed("authority rotated twice")?;
    // Old and new authority hold together: calls are compressed throughout.
    ensure!(
        counts.compressed * 10 >= counts.sent * 9,
        "hardly compressed: {counts:?}"
    );
    upgraded(
        world,
        &[
            "certificates.caLifetime=365d",
            "certificates.leafLifetime=24h",
            "certificates.propagation=150s",
        ],
    )
}

fn install(world: &World, values: &[&str]) -> Result<()> {
    let chart = world.chart("liquid-memory").display().to_string();
    let registry = format!("image.registry={}", world.registry);
    let mut arguments = vec![
        "install",
        "liquid-memory",
        &chart,
        "--namespace",
        SYSTEM,
        "--wait",
        "--set",
        &registry,
    ];
    for value in values {
        arguments.extend(["--set", value]);
    }
    world.helm(&arguments).map(|_| ())
}

/// What runs goes on; what opts in waits, as `failurePolicy: Fail` promises; nobody else notices.
fn operator_down(world: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let scale = |replicas: &str| {
        let replicas = format!("--replicas={replicas}");
        kubectl(&[
            "scale",
            "deployment/liquid-operator",
            "--namespace",
            SYSTEM,
            &replicas,
        ])
    };
    scale("0")?;
    eventually("no operator", Duration::from_secs(60), || {
        Ok(pods(SYSTEM, "operator")?.is_empty().then_some(()))
    })?;
    let workers = pods(NAMESPACE, "worker")?;
    kill(NAMESPACE, workers.first().context("no worker")?)?;
    traffic.another(20)?;
    let refused = trial_pod(NAMESPACE)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(
        refused.contains("inject.liquidmemory.dev"),
        "an opted-in pod was let in: {refused}"
    );
    let outside = Namespace::new("bystander", &json!({}))?;
    trial_pod(&outside.0).context("a pod that never opted in was refused")?;
    // Workers are a Deployment of their own: Kubernetes replaces them without us.
    rolled_out(NAMESPACE, WORKERS, Duration::from_secs(90))?;
    let outcome = traffic.none_failed("operator down").map(|_| ());
    scale("2")?;
    rolled_out(SYSTEM, "deployment/liquid-operator", Duration::from_secs(120))?;
    let _ = world;
    outcome
}

/// What the API server makes of a new pod; nothing is created.
fn trial_pod(namespace: &str) -> Result<Value> {
    let pod = manifest::pod(namespace, "trial", &[manifest::shell("trial", "true")]);
    crate::kubectl::trial(&pod)
}

/// Pods that are created (for trial) all the time: the webhook's side of a fault.
struct Doors {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Vec<String>)>,
}

impl Doors {
    fn open() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut tried, mut failures) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                tried += 1;
                match injected_on_trial() {
                    Ok(true) => {}
                    Ok(false) => failures.push("a pod without sidecar".to_owned()),
                    Err(error) => failures.push(format!("{error:#}")),
                }
                std::thread::sleep(Duration::from_millis(500));
            }
            (tried, failures)
        });
        Self { stop, thread }
    }

    fn none_failed(self, fault: &str) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let (tried, failures) = self.thread.join().ok().context("the trial of pods broke off")?;
        println!("\n    {fault}: {tried} pods admitted, {} failed", failures.len());
        let first = failures.first().map(String::as_str).unwrap_or_default();
        ensure!(
            failures.is_empty(),
            "{fault}: {} of {tried}; the first: {first}",
            failures.len()
        );
        ensure!(tried > 0, "no pod was tried");
        Ok(())
    }
}

fn injected_on_trial() -> Result<bool> {
    let pod = trial_pod(NAMESPACE)?;
    Ok(text(&pod, "/spec/initContainers/0/name") == "liquid-sidecar")
}

fn end(_: &World) -> Result<()> {
    crate::kubectl::delete_namespace(NAMESPACE)
}
