//! In a service mesh that takes nothing but its own TLS: `cargo xtask cluster istio` installs one, a whole run has none.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::{answer, proxy};
use crate::kubectl::{apply, finished, get, list, text};
use crate::manifest;
use crate::world::{Namespace, World, eventually};

pub(super) const CASES: &[(&str, Case)] = &[("mesh::istio_strict", istio_strict)];

/// Longest time of a request to a pod's address.
const LIMIT: Duration = Duration::from_secs(5);

/// Workers and application are in the mesh: the kubelet's probes, the way from sidecar to worker and the operator's reading of
/// figures work, and a stranger's plain HTTP does not.
fn istio_strict(world: &World) -> Result<()> {
    let strict = get("istio-system", &["peerauthentication", "default"])
        .context("no Istio here: `cargo xtask cluster istio` installs it")?;
    ensure!(
        text(&strict, "/spec/mtls/mode") == "STRICT",
        "not STRICT: {strict}"
    );
    let labels = json!({"liquidmemory.dev/inject": "enabled", "istio-injection": "enabled"});
    let namespace = Namespace::new("mesh-istio", &labels)?;
    let name = namespace.0.as_str();
    proxy(name, &manifest::proxy(name, "proxy"))?;
    let workers = list(
        name,
        &["pods", "--selector", "app.kubernetes.io/component=worker"],
    )?;
    let worker = workers.first().context("no worker")?;
    ensure!(has_mesh_proxy(worker), "the worker is not in the mesh: {worker}");

    let application = manifest::application(world, "application", &["ask.py", "mesh"]);
    apply(&manifest::pod(name, "asks", &[application]))?;
    let log = finished(name, "asks", Duration::from_secs(90))?;
    let answer = answer(&log)?;
    ensure!(
        text(&answer, "/headers/x-liquid-decision") == "compressed",
        "the call was not compressed: {answer}"
    );
    let pod = get(name, &["pod", "asks"])?;
    ensure!(has_mesh_proxy(&pod), "the application is not in the mesh: {pod}");
    ensure!(restarts(&pod) == Some(0), "the sidecar has restarted: {pod}");

    // The worker's port for calls is the mesh's, its port for figures is not.
    let address = text(worker, "/status/podIP");
    ensure!(!answers(address, 50051)?, "the worker takes plain connections");
    ensure!(answers(address, 9464)?, "the worker's figures cannot be read");
    eventually("the call in the proxy's status", Duration::from_secs(90), || {
        let proxy = get(name, &["lmp", "proxy"])?;
        let calls = proxy.pointer("/status/usage/calls").and_then(Value::as_u64);
        Ok((calls == Some(1)).then_some(()))
    })
}

fn has_mesh_proxy(pod: &Value) -> bool {
    containers(pod, "/spec").any(|container| text(container, "/name") == "istio-proxy")
}

fn restarts(pod: &Value) -> Option<u64> {
    let statuses = pod.pointer("/status/initContainerStatuses")?.as_array()?;
    let sidecar = statuses
        .iter()
        .find(|status| text(status, "/name") == "liquid-sidecar");
    sidecar?.get("restartCount")?.as_u64()
}

fn containers<'p>(pod: &'p Value, at: &str) -> impl Iterator<Item = &'p Value> {
    let lists = ["initContainers", "containers"].map(|list| pod.pointer(&format!("{at}/{list}")));
    lists.into_iter().flatten().filter_map(Value::as_array).flatten()
}

/// Asks for a page in plain HTTP; a connection that is reset has no answer.
fn answers(address: &str, port: u16) -> Result<bool> {
    let address: SocketAddr = format!("{address}:{port}").parse()?;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n")?;
    let mut start = [0; 12];
    Ok(stream.read_exact(&mut start).is_ok() && start == *b"HTTP/1.1 200")
}
