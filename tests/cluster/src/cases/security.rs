//! Borders: a sidecar serves its own namespace only, keys of authorities stay where they are, and the files that the
//! operator writes are ones that sidecar and worker take.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::{answer, proxy};
use crate::kubectl::{apply, finished, get, list, text};
use crate::manifest::{self, application};
use crate::world::{Namespace, SYSTEM, World, eventually};

pub(super) const CASES: &[(&str, Case)] = &[
    ("security::two_namespaces", start),
    ("security::a_foreign_sidecar_is_refused", foreign),
    ("security::no_key_of_an_authority_leaves_its_secret", keys),
    ("security::written_files_pass_their_programs_check", checked),
    ("security::namespaces_end", end),
];

const HERE: &str = "security-here";
const THERE: &str = "security-there";

fn start(_: &World) -> Result<()> {
    for namespace in [HERE, THERE] {
        std::mem::forget(Namespace::opted_in(namespace)?);
        proxy(namespace, &manifest::proxy(namespace, "proxy"))?;
    }
    Ok(())
}

/// A pod of [`THERE`] whose sidecar somebody has pointed at the workers of another namespace. All else is right: the
/// certificate is one of our authority, the name that it expects is the one that those workers show.
fn foreign(world: &World) -> Result<()> {
    let own = asks(world, "own", THERE)?;
    ensure!(
        text(&own, "/headers/x-liquid-decision") == "compressed",
        "its own workers do not serve it, so the rest says nothing: {own}"
    );
    let foreign = asks(world, "foreign", HERE)?;
    let decision = text(&foreign, "/headers/x-liquid-decision");
    let reason = text(&foreign, "/headers/x-liquid-reason");
    ensure!(
        decision == "passed" && reason.contains("worker"),
        "not refused: {decision}, {reason}"
    );
    let workers = ["pods", "--selector", "app.kubernetes.io/component=worker"];
    let pods = list(HERE, &workers)?;
    let worker = text(pods.first().context("no worker")?, "/metadata/name");
    let log = crate::kubectl::kubectl(&["logs", worker, "--namespace", HERE])?;
    ensure!(
        log.contains(&format!("/ns/{THERE}/proxy/proxy/sidecar")),
        "the worker's log does not say whom it refused: {log}"
    );
    Ok(())
}

/// What an application gets whose sidecar, with the certificate of [`THERE`], asks the workers of `workers`.
fn asks(world: &World, name: &str, workers: &str) -> Result<Value> {
    let config = get(THERE, &["configmap", "proxy-sidecar"])?;
    let text_of = config.pointer("/data/sidecar.toml").and_then(Value::as_str);
    let file = text_of.context("no sidecar.toml")?;
    let file = file.replace(
        &format!("proxy-workers.{THERE}.svc"),
        &format!("proxy-workers.{workers}.svc"),
    );
    apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": THERE},
        "data": {"sidecar.toml": file},
    }))?;
    let mut app = application(world, "application", &["ask.py", name]);
    if let Some(app) = app.as_object_mut() {
        app.insert(
            "env".to_owned(),
            json!([{"name": "OPENAI_BASE_URL", "value": "http://127.0.0.1:8787/v1"}]),
        );
    }
    let sidecar = program(
        world,
        "liquid-sidecar",
        &["--config", "/etc/liquid/config/sidecar.toml"],
        &["config", "tls"],
    );
    let mut pod = with_volumes(
        THERE,
        name,
        &[app],
        &[configured("config", name), secret("tls", "proxy-sidecar-tls")],
    );
    if let (Some(mut sidecar), Some(spec)) = (
        sidecar.as_object().cloned(),
        pod.pointer_mut("/spec").and_then(Value::as_object_mut),
    ) {
        sidecar.insert("restartPolicy".to_owned(), json!("Always"));
        sidecar.insert(
            "startupProbe".to_owned(),
            json!({"httpGet": {"path": "/livez", "port": 9465}, "periodSeconds": 1, "failureThreshold": 30}),
        );
        spec.insert("initContainers".to_owned(), json!([sidecar]));
    }
    apply(&pod)?;
    let log = finished(THERE, name, Duration::from_secs(90))?;
    answer(&log)
}

/// A container of one of our images that mounts these volumes below `/etc/liquid`.
fn program(world: &World, image: &str, arguments: &[&str], volumes: &[&str]) -> Value {
    let mounts = volumes.iter().map(|volume| {
        // `worker-tls` and `sidecar-tls` stand at the same place, each in its own container.
        let folder = volume.rsplit('-').next().unwrap_or(volume);
        json!({"name": volume, "mountPath": format!("/etc/liquid/{folder}"), "readOnly": true})
    });
    json!({
        "name": image, "image": world.image(image), "imagePullPolicy": "Never", "args": arguments,
        "volumeMounts": mounts.collect::<Vec<_>>(),
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    })
}

fn configured(volume: &str, config_map: &str) -> Value {
    json!({"name": volume, "configMap": {"name": config_map}})
}

fn secret(volume: &str, name: &str) -> Value {
    json!({"name": volume, "secret": {"secretName": name}})
}

/// A pod that is not injected.
fn with_volumes(namespace: &str, name: &str, containers: &[Value], volumes: &[Value]) -> Value {
    let mut pod = manifest::pod(namespace, name, containers);
    if let Some(meta) = pod.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        meta.insert(
            "labels".to_owned(),
            json!({"liquidmemory.dev/inject": "disabled"}),
        );
    }
    if let Some(spec) = pod.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.insert("volumes".to_owned(), json!(volumes));
    }
    pod
}

/// In no Secret of any other namespace, and injected pods mount the sidecar's certificate and nothing else of ours.
fn keys(_: &World) -> Result<()> {
    let authority = get(SYSTEM, &["secret", "liquid-memory-ca"])?;
    let data = authority.get("data").and_then(Value::as_object);
    let keys = data
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.ends_with(".key"));
    let keys = keys.map(|(_, key)| key.clone()).collect::<Vec<_>>();
    ensure!(!keys.is_empty(), "the authority has no key");
    let mut looked_at = 0;
    for found in list("", &["secrets", "--all-namespaces"])? {
        let place = text(&found, "/metadata/namespace").to_owned();
        let data = found.get("data").and_then(Value::as_object);
        for (name, value) in data.into_iter().flatten() {
            looked_at += 1;
            let own = place == SYSTEM && text(&found, "/metadata/name") == "liquid-memory-ca";
            ensure!(
                own || !keys.contains(value),
                "{place}: {name} is the key of an authority"
            );
        }
    }
    ensure!(
        looked_at > keys.len() + 8,
        "only {looked_at} values were compared"
    );
    let pod = manifest::pod(HERE, "trial", &[manifest::shell("trial", "true")]);
    let pod = crate::kubectl::trial(&pod)?;
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    let secrets = volumes
        .into_iter()
        .flatten()
        .filter_map(|volume| volume.pointer("/secret/secretName"));
    let secrets = secrets.collect::<Vec<_>>();
    ensure!(
        secrets == [&json!("proxy-sidecar-tls")],
        "an injected pod mounts {secrets:?}"
    );
    Ok(())
}

/// Proxies that together use every group of fields.
fn settings() -> [(&'static str, Value); 3] {
    [
        ("smallest", json!({})),
        (
            "largest",
            json!({
                "extraction": {"tier": "Encoder", "budget": {"auto": {"floor": 0.9}}, "minDocumentTokens": 500,
                    "deadlineMilliseconds": 5000, "deadlinePerMebibyteMilliseconds": 2000},
                "policy": {"mode": "Force", "onWorkerUnavailable": "Reject", "noQuestion": "Coverage", "overview": "Coverage",
                    "earlierTurns": "Untouched", "cachedPrefix": {"enabled": false, "ttlSeconds": 60}},
                "synthesis": {"provider": "azure", "model": "m", "baseURL": "https://host.test/openai/v1",
                    "secretRef": {"name": "keys", "key": "azure"},
                    "fallbacks": [{"provider": "openai", "model": "n", "secretRef": {"name": "keys", "key": "openai"}},
                        {"provider": "anthropic", "model": "o"},
                        {"provider": "vllm", "model": "q/p", "baseURL": "http://llm.test:8000/v1"}]},
                "injection": {"port": 9001, "adminPort": 9002, "drainSeconds": 40},
            }),
        ),
        (
            "lexical",
            json!({
                "extraction": {"tier": "Lexical", "budget": {"maxTokens": 1500}},
                "policy": {"mode": "Off"},
                "synthesis": {"provider": "local"},
            }),
        ),
    ]
}

/// `liquid-sidecar --check` and `liquid-worker serve --check` on what the operator wrote, each in its own image.
fn checked(world: &World) -> Result<()> {
    apply(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": HERE},
        "stringData": {"azure": "one", "openai": "two"},
    }))?;
    for (name, mut spec) in settings() {
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("workers".to_owned(), json!({"replicas": 0}));
        }
        apply(&json!({
            "apiVersion": "liquidmemory.dev/v1alpha1", "kind": "LiquidMemoryProxy",
            "metadata": {"name": name, "namespace": HERE}, "spec": spec,
        }))?;
        let (workers, sidecar) = (format!("{name}-workers"), format!("{name}-sidecar"));
        let (worker_tls, sidecar_tls) = (format!("{name}-worker-tls"), format!("{name}-sidecar-tls"));
        eventually(&format!("the files of {name}"), Duration::from_secs(30), || {
            get(HERE, &["configmap", &workers])?;
            get(HERE, &["secret", &sidecar_tls]).map(Some)
        })?;
        let worker = ["serve", "--check", "--config", "/etc/liquid/config/worker.toml"];
        let other = ["--check", "--config", "/etc/liquid/config/sidecar.toml"];
        let containers = [
            program(world, "liquid-worker", &worker, &["worker-config", "worker-tls"]),
            program(
                world,
                "liquid-sidecar",
                &other,
                &["sidecar-config", "sidecar-tls", "keys"],
            ),
        ];
        let key = |name: &str| json!({"key": name, "path": format!("keys/{name}")});
        let volumes = [
            configured("worker-config", &workers),
            configured("sidecar-config", &sidecar),
            secret("worker-tls", &worker_tls),
            secret("sidecar-tls", &sidecar_tls),
            json!({"name": "keys", "secret": {"secretName": "keys", "items": [key("azure"), key("openai")]}}),
        ];
        let pod = format!("check-{name}");
        apply(&with_volumes(HERE, &pod, &containers, &volumes))?;
        finished(HERE, &pod, Duration::from_secs(60)).with_context(|| format!("the files of {name}"))?;
    }
    Ok(())
}

fn end(_: &World) -> Result<()> {
    crate::kubectl::delete_namespace(THERE)?;
    crate::kubectl::delete_namespace(HERE)
}
