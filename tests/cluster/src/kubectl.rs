//! kubectl with JSON in and out. It stands on the search path and has its kubeconfig from the environment.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::world::{World, eventually};

/// Runs a program; its standard output, or an error with what it said.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        let said = [output.stderr, output.stdout].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        let command = command.get_args().map(|word| word.to_string_lossy());
        bail!("{}: {said}", command.collect::<Vec<_>>().join(" "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn command() -> Result<Command> {
    Ok(Command::new(World::get()?.programs.join("kubectl")))
}

/// Any kubectl command.
pub(crate) fn kubectl(arguments: &[&str]) -> Result<String> {
    output(command()?.args(arguments))
}

/// Applies an object as a user would; the error is the API server's refusal.
pub(crate) fn apply(object: &Value) -> Result<String> {
    send(&["apply", "-f", "-"], &object.to_string())
}

/// Changes an object, as `merge` or `strategic` patch.
pub(crate) fn patch(namespace: &str, what: &str, how: &str, change: &Value) -> Result<String> {
    let (how, change) = (format!("--type={how}"), change.to_string());
    kubectl(&["patch", what, "--namespace", namespace, &how, "--patch", &change])
}

/// What the API server would make of a new object; nothing is kept.
pub(crate) fn trial(object: &Value) -> Result<Value> {
    let arguments = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
    let text = send(&arguments, &object.to_string())?;
    serde_json::from_str(&text).context("kubectl create did not answer JSON")
}

/// What the API server would say to it; nothing is kept.
pub(crate) fn dry_run(manifests: &str) -> Result<String> {
    let arguments = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
    send(&arguments, manifests)
}

/// Manifests in YAML as objects.
pub(crate) fn as_objects(manifests: &str) -> Result<Vec<Value>> {
    let arguments = [
        "create",
        "--dry-run=client",
        "--validate=ignore",
        "-o",
        "json",
        "-f",
        "-",
    ];
    let text = send(&arguments, manifests)?;
    // One document behind the other.
    let objects = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    objects
        .collect::<Result<_, _>>()
        .context("kubectl create did not answer JSON")
}

fn send(arguments: &[&str], text: &str) -> Result<String> {
    let mut child = command()?
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start kubectl")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// An object, or a list of them.
pub(crate) fn get(namespace: &str, what: &[&str]) -> Result<Value> {
    let text = kubectl(&[&["get", "--namespace", namespace, "-o", "json"], what].concat())?;
    serde_json::from_str(&text).context("kubectl get did not answer JSON")
}

/// The items of a list.
pub(crate) fn list(namespace: &str, what: &[&str]) -> Result<Vec<Value>> {
    let list = get(namespace, what)?;
    Ok(list
        .get("items")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default())
}

/// A path of the API server.
pub(crate) fn raw(path: &str) -> Result<String> {
    kubectl(&["get", "--raw", path])
}

/// The metrics of a pod at a port.
pub(crate) fn metrics(namespace: &str, pod: &str, port: u16) -> Result<String> {
    raw(&format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics"
    ))
}

pub(crate) fn delete_namespace(name: &str) -> Result<()> {
    kubectl(&["delete", "namespace", name, "--wait=false", "--ignore-not-found"]).map(|_| ())
}

/// A string at a JSON pointer; empty if there is none.
pub(crate) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Waits for a rollout.
pub(crate) fn rolled_out(namespace: &str, deployment: &str, limit: Duration) -> Result<()> {
    let limit = format!("--timeout={}s", limit.as_secs());
    let rollout = ["rollout", "status", deployment, "--namespace", namespace, &limit];
    kubectl(&rollout).map(|_| ()).map_err(|error| {
        let pods = kubectl(&["get", "pods,events", "--namespace", namespace, "-o", "wide"]);
        error.context(format!(
            "{deployment} of {namespace}:\n{}",
            pods.unwrap_or_default()
        ))
    })
}

/// Waits until a pod has ended well and returns its log.
pub(crate) fn finished(namespace: &str, pod: &str, limit: Duration) -> Result<String> {
    let ended = eventually(&format!("the end of pod {namespace}/{pod}"), limit, || {
        let state = get(namespace, &["pod", pod])?;
        let phase = text(&state, "/status/phase").to_owned();
        Ok(["Succeeded", "Failed"].contains(&phase.as_str()).then_some(phase))
    });
    let log = kubectl(&[
        "logs",
        "--namespace",
        namespace,
        pod,
        "--all-containers",
        "--tail=40",
    ]);
    match ended {
        Ok(phase) if phase == "Succeeded" => log,
        Ok(phase) => bail!(
            "pod {namespace}/{pod} ended as {phase}: {}",
            log.unwrap_or_default()
        ),
        Err(error) => {
            let described = kubectl(&["describe", "pod", "--namespace", namespace, pod]);
            Err(error.context(described.unwrap_or_default()))
        }
    }
}
