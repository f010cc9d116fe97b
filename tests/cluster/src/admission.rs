//! How long a pod's admission takes with and without injection: `cargo xtask bench admission`.
//!
//! Pods are created for trial (`dryRun=All`) over one kept connection, in turn one that is injected and one that opted
//! out. The difference is what the webhook costs; the whole is what a scheduler of pods notices.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::kubectl::{apply, kubectl};
use crate::manifest;
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
    let door = Door::open(world)?;
    let (injected, plain) = (trial("enabled"), trial("disabled"));
    let made = door.create(&injected)?.1;
    ensure!(made.to_string().contains("liquid-sidecar"), "no sidecar: {made}");
    for _ in 0..WARM_UP {
        door.create(&injected)?;
        door.create(&plain)?;
    }
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        with.push(door.create(&injected)?.0);
        without.push(door.create(&plain)?.0);
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

fn trial(label: &str) -> Value {
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

/// `kubectl proxy`: the administrator's way to the API server, as plain HTTP on a loopback port.
struct Door {
    proxy: Child,
    url: String,
    agent: ureq::Agent,
}

impl Door {
    fn open(world: &World) -> Result<Self> {
        let mut proxy = Command::new(world.programs.join("kubectl"))
            .args(["proxy", "--port=0"])
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start kubectl proxy")?;
        let mut line = String::new();
        let output = proxy.stdout.take().context("kubectl proxy says nothing")?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().rsplit(' ').next().unwrap_or_default();
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(30)))
            .http_status_as_error(false)
            .build();
        Ok(Self {
            url: format!("http://{address}/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All"),
            proxy,
            agent: agent.into(),
        })
    }

    /// Milliseconds, and what the API server made of it.
    fn create(&self, pod: &Value) -> Result<(f64, Value)> {
        let start = Instant::now();
        let request = self.agent.post(&self.url).content_type("application/json");
        let mut answer = request.send(pod.to_string())?;
        let text = answer.body_mut().read_to_string()?;
        let took = start.elapsed().as_secs_f64() * 1000.0;
        ensure!(
            answer.status() == 201,
            "the API server answered {}: {text}",
            answer.status()
        );
        Ok((took, serde_json::from_str(&text)?))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}
