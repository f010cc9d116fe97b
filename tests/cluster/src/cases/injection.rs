//! Injection into real pods: who gets what, and that pods of every kind still start and end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::proxy;
use crate::guide::{self, Chapter};
use crate::kubectl::{apply, finished, get, kubectl, list, text, trial};
use crate::manifest::{self, application, pod, shell};
use crate::world::{Namespace, SYSTEM, World, eventually};

pub(super) const CASES: &[(&str, Case)] = &[
    ("injection::namespace_and_proxy", prepare),
    ("injection::variables_that_are_set_already", collisions),
    ("injection::labels_decide", labels),
    ("injection::a_job_completes", job),
    ("injection::init_containers_reach_the_sidecar", init),
    (
        "injection::a_pod_without_proxy_is_refused_with_the_remedy",
        no_proxy,
    ),
    ("injection::who_cannot_have_it_is_told_why", skipped),
    ("injection::limit_range_and_quota", limits),
    ("injection::as_the_guide_says", guide_use),
    ("injection::pull_secrets_reach_injected_pods", pull_secret),
    ("injection::namespace_ends", end),
];

const NAMESPACE: &str = "injection";
const SIDECAR: &str = "http://127.0.0.1:8787/v1";

fn prepare(_: &World) -> Result<()> {
    std::mem::forget(Namespace::opted_in(NAMESPACE)?);
    proxy(NAMESPACE, &manifest::proxy(NAMESPACE, "proxy"))
}

/// A container's variable after injection; empty if it has none.
fn variable(pod: &Value, container: &str, name: &str) -> String {
    let lists = ["/spec/containers", "/spec/initContainers"];
    let all = lists
        .iter()
        .filter_map(|list| pod.pointer(list)?.as_array())
        .flatten();
    let mut of = all.filter(|value| text(value, "/name") == container);
    let variables = of.next().and_then(|value| value.get("env")?.as_array().cloned());
    let entry = variables
        .unwrap_or_default()
        .into_iter()
        .find(|entry| text(entry, "/name") == name);
    entry
        .map(|entry| text(&entry, "/value").to_owned())
        .unwrap_or_default()
}

/// One container a rule, all in one pod.
fn collisions(_: &World) -> Result<()> {
    let with = |name: &str, more: Value| {
        let mut container = shell(name, "true");
        if let (Some(container), Some(more)) = (container.as_object_mut(), more.as_object()) {
            container.extend(more.clone());
        }
        container
    };
    apply(
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "urls", "namespace": NAMESPACE},
        "data": {"OPENAI_BASE_URL": "http://from-config-map/v1"}}),
    )?;
    apply(
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other", "namespace": NAMESPACE},
        "data": {"COLOUR": "green"}}),
    )?;
    let from = |name: &str| json!({"envFrom": [{"configMapRef": {"name": name}}]});
    let containers = [
        with("absent", json!({})),
        with(
            "literal",
            json!({"env": [{"name": "OPENAI_BASE_URL", "value": "http://mine/v1"}]}),
        ),
        with(
            "reference",
            json!({"env": [{"name": "OPENAI_BASE_URL", "valueFrom": {"configMapKeyRef": {"name": "urls", "key": "OPENAI_BASE_URL"}}}]}),
        ),
        with("config-map", from("urls")),
        with("other-map", from("other")),
        with(
            "secret",
            json!({"envFrom": [{"secretRef": {"name": "unreadable", "optional": true}}]}),
        ),
        with(
            "network-proxy",
            json!({"env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}, {"name": "NO_PROXY", "value": "internal"}]}),
        ),
    ];
    let made = trial(&pod(NAMESPACE, "collisions", &containers))?;
    let is = |container: &str, wanted: &str| {
        let found = variable(&made, container, "OPENAI_BASE_URL");
        ensure!(
            found == wanted,
            "{container}: OPENAI_BASE_URL is '{found}', not '{wanted}'"
        );
        Ok(())
    };
    is("absent", SIDECAR)?;
    ensure!(
        variable(&made, "absent", "OPENAI_API_BASE") == SIDECAR,
        "LangChain's name is not set"
    );
    ensure!(
        variable(&made, "absent", "ANTHROPIC_BASE_URL") == "http://127.0.0.1:8787",
        "Anthropic's is not set"
    );
    is("literal", "http://mine/v1")?;
    is("reference", "")?;
    is("config-map", "")?;
    is("other-map", SIDECAR)?;
    is("secret", "")?;
    is("network-proxy", SIDECAR)?;
    let exceptions = variable(&made, "network-proxy", "NO_PROXY");
    ensure!(
        exceptions.contains("internal") && exceptions.contains("127.0.0.1"),
        "NO_PROXY is {exceptions}"
    );
    Ok(())
}

/// The pod's label wins over its namespace's.
fn labels(_: &World) -> Result<()> {
    let labelled = |namespace: &str, label: Option<&str>| -> Result<bool> {
        let mut wanted = pod(namespace, "labels", &[shell("main", "true")]);
        if let (Some(label), Some(meta)) = (
            label,
            wanted.pointer_mut("/metadata").and_then(Value::as_object_mut),
        ) {
            meta.insert("labels".to_owned(), json!({"liquidmemory.dev/inject": label}));
        }
        let made = trial(&wanted)?;
        Ok(text(&made, "/spec/initContainers/0/name") == "liquid-sidecar")
    };
    ensure!(
        labelled(NAMESPACE, None)?,
        "a pod of an opted-in namespace got nothing"
    );
    ensure!(
        !labelled(NAMESPACE, Some("disabled"))?,
        "a pod that opted out was injected"
    );
    let plain = Namespace::new("injection-plain", &json!({}))?;
    apply(&manifest::proxy(&plain.0, "proxy"))?;
    ensure!(
        !labelled(&plain.0, None)?,
        "a pod that never opted in was injected"
    );
    eventually("a pod that opts in by itself", Duration::from_secs(10), || {
        Ok(labelled(&plain.0, Some("enabled"))?.then_some(()))
    })
}

fn job(world: &World) -> Result<()> {
    let spec = manifest::pod_spec(&[application(world, "asks", &["ask.py", "job"])], "Never");
    apply(&json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "job", "namespace": NAMESPACE},
        "spec": {"backoffLimit": 0, "template": {"spec": spec}},
    }))?;
    let done = [
        "wait",
        "--for=condition=complete",
        "--timeout=90s",
        "job/job",
        "--namespace",
        NAMESPACE,
    ];
    kubectl(&done).map(|_| ()).map_err(|error| {
        let look = kubectl(&[
            "logs",
            "--namespace",
            NAMESPACE,
            "job/job",
            "--all-containers",
            "--tail=20",
        ]);
        error.context(look.unwrap_or_default())
    })
}

fn init(world: &World) -> Result<()> {
    let mut wanted = pod(NAMESPACE, "init", &[shell("main", "true")]);
    if let Some(spec) = wanted.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.insert(
            "initContainers".to_owned(),
            json!([application(world, "before", &["ask.py", "init"])]),
        );
    }
    apply(&wanted)?;
    let log = finished(NAMESPACE, "init", Duration::from_secs(90))?;
    ensure!(
        log.contains("\"x-liquid-decision\": \"compressed\""),
        "the init container's call: {log}"
    );
    Ok(())
}

fn no_proxy(_: &World) -> Result<()> {
    let namespace = Namespace::opted_in("injection-empty")?;
    let refusal = trial(&pod(&namespace.0, "none", &[shell("main", "true")])).err();
    let refusal = refusal.context("a pod without a proxy was let in")?.to_string();
    ensure!(
        refusal.contains("no LiquidMemoryProxy in namespace"),
        "no remedy: {refusal}"
    );
    Ok(())
}

/// A pod on its node's network would share the sidecar's port with every other: it starts without, and its owner has an
/// Event that says so.
fn skipped(_: &World) -> Result<()> {
    let namespace = Namespace::new("injection-host", &json!({"liquidmemory.dev/inject": "enabled"}))?;
    let name = namespace.0.as_str();
    apply(&manifest::proxy(name, "proxy"))?;
    let mut wanted = manifest::deployment(name, "host", &[shell("main", "sleep 1000")]);
    if let Some(spec) = wanted
        .pointer_mut("/spec/template/spec")
        .and_then(Value::as_object_mut)
    {
        spec.insert("hostNetwork".to_owned(), json!(true));
    }
    apply(&wanted)?;
    let note = eventually("an Event InjectionSkipped", Duration::from_secs(30), || {
        let events = list(name, &["events"])?;
        let mut skipped = events.iter().filter(|event| {
            text(event, "/reason") == "InjectionSkipped"
                && text(event, "/involvedObject/kind") == "ReplicaSet"
        });
        Ok(skipped.next().map(|event| text(event, "/message").to_owned()))
    })?;
    ensure!(note.contains("hostNetwork"), "the Event does not say why: {note}");
    let pods = list(name, &["pods", "--selector", "app=host"])?;
    let pod = pods.first().context("no pod")?;
    ensure!(
        pod.pointer("/spec/initContainers").is_none(),
        "it has a sidecar: {pod}"
    );
    Ok(())
}

/// The sidecar states its own requests and limits, so a quota that asks for them is met.
fn limits(_: &World) -> Result<()> {
    let namespace = Namespace::opted_in("injection-quota")?;
    let name = namespace.0.as_str();
    apply(&json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "defaults", "namespace": name},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "1", "memory": "3Gi"},
            "defaultRequest": {"cpu": "10m", "memory": "16Mi"}, "max": {"memory": "4Gi"}}]},
    }))?;
    apply(&json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota", "namespace": name},
        "spec": {"hard": {"requests.cpu": "2", "requests.memory": "4Gi", "limits.cpu": "8", "limits.memory": "16Gi", "pods": "4"}},
    }))?;
    proxy(name, &manifest::proxy(name, "proxy"))?;
    apply(&pod(name, "within", &[shell("main", "true")]))?;
    finished(name, "within", Duration::from_secs(60))?;
    let made = get(name, &["pod", "within"])?;
    let sidecar = made
        .pointer("/spec/initContainers/0/resources")
        .context("no resources")?;
    ensure!(
        sidecar.pointer("/requests/memory") == Some(&json!("64Mi")),
        "not its own request: {sidecar}"
    );
    Ok(())
}

/// One value of the release reaches workers and injected pods.
fn pull_secret(world: &World) -> Result<()> {
    let chart = world.chart("liquid-memory").display().to_string();
    let upgrade = [
        "upgrade",
        "liquid-memory",
        &chart,
        "--namespace",
        SYSTEM,
        "--reuse-values",
    ];
    let set = [
        "--set",
        "image.pullSecrets={registry-key}",
        "--wait",
        "--timeout",
        "120s",
    ];
    world.helm(&[&upgrade[..], &set].concat())?;
    // A replica of before answers until its connections have ended.
    eventually("a pod with the pull secret", Duration::from_secs(30), || {
        let made = trial(&pod(NAMESPACE, "secrets", &[shell("main", "true")]))?;
        let secrets = made
            .pointer("/spec/imagePullSecrets")
            .cloned()
            .unwrap_or_default();
        Ok(secrets.to_string().contains("registry-key").then_some(()))
    })?;
    // Workers that run keep their template until something about them changes: an operator alone restarts none.
    let namespace = Namespace::opted_in("injection-pull")?;
    apply(
        &json!({"apiVersion": "liquidmemory.dev/v1alpha1", "kind": "LiquidMemoryProxy",
        "metadata": {"name": "proxy", "namespace": namespace.0}, "spec": {"workers": {"replicas": 0}}}),
    )?;
    eventually(
        "new workers with the pull secret",
        Duration::from_secs(30),
        || {
            let workers = get(&namespace.0, &["deployment", "proxy-workers"])?;
            let secret = workers.pointer("/spec/template/spec/imagePullSecrets/0/name");
            Ok((secret == Some(&json!("registry-key"))).then_some(()))
        },
    )
}

/// The guide's own words, in a namespace where an application runs already.
fn guide_use(world: &World) -> Result<()> {
    let namespace = Namespace::new("my-app", &json!({}))?;
    let name = namespace.0.as_str();
    apply(&manifest::deployment(
        name,
        "application",
        &[shell("main", "sleep 1000")],
    ))?;
    guide::run(world, Chapter::Use)?;
    eventually("a pod with its sidecar", Duration::from_secs(60), || {
        let pods = list(name, &["pods", "--selector", "app=application"])?;
        let injected = |pod: &Value| {
            text(pod, "/spec/initContainers/0/name") == "liquid-sidecar"
                && text(pod, "/status/phase") == "Running"
        };
        Ok(pods.iter().any(injected).then_some(()))
    })
}

fn end(_: &World) -> Result<()> {
    crate::kubectl::delete_namespace(NAMESPACE)
}
