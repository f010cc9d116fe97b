//! The gateway: applications that are not injected call it with a token of their own, and nobody else does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::{answer, proxy, received};
use crate::kubectl::{apply, finished, get, kubectl, list, metrics, patch, rolled_out, text};
use crate::manifest;
use crate::status::until;
use crate::traffic::Traffic;
use crate::world::{Namespace, World, eventually};

pub(super) const CASES: &[(&str, Case)] = &[
    ("gateway::starts_and_names_its_url", start),
    (
        "gateway::an_application_that_is_not_injected_is_compressed",
        compressed,
    ),
    ("gateway::who_is_no_client_is_refused", refused),
    ("gateway::a_rollout_loses_no_call", rollout),
    ("gateway::an_autoscaler_keeps_the_pods_that_are_there", autoscaled),
    ("gateway::its_calls_are_counted", counted),
    ("gateway::goes_without_a_trace", removed),
    ("gateway::namespace_ends", end),
];

/// It does not opt in.
const NAMESPACE: &str = "gateway";
const PODS: &str = "app.kubernetes.io/component=gateway";
const URL: &str = "https://proxy-gateway.gateway.svc.cluster.local";
const TOKEN: &str = "token-of-the-traffic-01";
const KEY: &str = "key-of-the-platform";

fn start(world: &World) -> Result<()> {
    std::mem::forget(Namespace::new(
        NAMESPACE,
        &json!({"pod-security.kubernetes.io/enforce": "restricted"}),
    )?);
    let secret = |name: &str, data: Value| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "stringData": data,
        })
    };
    apply(&secret(
        "clients",
        json!({"traffic": TOKEN, "other": "token-of-another-0001"}),
    ))?;
    apply(&secret("provider", json!({"api-key": KEY})))?;
    let mut wanted = manifest::proxy(NAMESPACE, "proxy");
    if let Some(spec) = wanted.pointer_mut("/spec").and_then(Value::as_object_mut) {
        let requests = json!({"cpu": "20m", "memory": "64Mi"});
        spec.insert(
            "gateway".to_owned(),
            json!({"clients": {"tokenSecret": "clients"}, "drainSeconds": 20, "resources": {"requests": requests}}),
        );
        spec.insert(
            "synthesis".to_owned(),
            json!({"provider": "openai", "baseURL": manifest::provider_url(), "secretRef": {"name": "provider"}}),
        );
    }
    proxy(NAMESPACE, &wanted)?;
    until(NAMESPACE, "proxy", "GatewayReady", Duration::from_secs(120))?;
    let found = get(NAMESPACE, &["lmp", "proxy"])?;
    ensure!(text(&found, "/status/gateway/url") == URL, "another URL: {found}");
    ensure!(
        text(&found, "/status/gateway/pods") == "2/2",
        "other pods: {found}"
    );
    let table = kubectl(&["get", "lmp", "--namespace", NAMESPACE, "-o", "wide"])?;
    ensure!(table.contains(URL), "the URL is not shown: {table}");
    let [application, volume] = called(manifest::application(world, "traffic", &["traffic.py"]), TOKEN);
    Traffic::start_as(NAMESPACE, &application, &[volume])
}

/// An application with the gateway's URL and a token, as its environment says it, and the volume with the gateway's
/// authority.
fn called(mut application: Value, token: &str) -> [Value; 2] {
    if let Some(application) = application.as_object_mut() {
        let variable = |name: &str, value: &str| json!({"name": name, "value": value});
        let variables = [
            variable("OPENAI_BASE_URL", &format!("{URL}/v1")),
            variable("OPENAI_API_KEY", token),
            variable("SSL_CERT_FILE", "/etc/gateway/ca.crt"),
        ];
        application.insert("env".to_owned(), json!(variables));
        let mount = json!({"name": "authority", "mountPath": "/etc/gateway", "readOnly": true});
        application.insert("volumeMounts".to_owned(), json!([mount]));
    }
    let volume = json!({"name": "authority", "configMap": {"name": "proxy-gateway-ca"}});
    [application, volume]
}

/// Runs ask.py in a pod that is not injected, with this token; what it printed.
fn asks(world: &World, name: &str, token: &str) -> Result<String> {
    let application = manifest::application(world, "application", &["ask.py", name]);
    let [application, volume] = called(application, token);
    let mut pod = manifest::pod(NAMESPACE, name, &[application]);
    if let Some(spec) = pod.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.insert("volumes".to_owned(), json!([volume]));
    }
    apply(&pod)?;
    finished(NAMESPACE, name, Duration::from_secs(90))
}

fn compressed(world: &World) -> Result<()> {
    let log = asks(world, "asks", TOKEN)?;
    let pod = get(NAMESPACE, &["pod", "asks"])?;
    ensure!(
        pod.pointer("/spec/initContainers").is_none(),
        "it is injected, so it proves nothing"
    );
    let answer = answer(&log)?;
    ensure!(
        text(&answer, "/headers/x-liquid-decision") == "compressed" && text(&answer, "/finish") == "stop",
        "not compressed: {answer}"
    );
    let requests = received()?;
    let with_key = |request: &&Value| {
        let headers = request.get("headers").map(Value::to_string).unwrap_or_default();
        headers.contains(KEY)
    };
    let last = requests.iter().rev().find(with_key);
    let last = last.context("no call came with the key of the Secret")?;
    ensure!(!last.to_string().contains(TOKEN), "the token left the cluster");
    Ok(())
}

fn refused(world: &World) -> Result<()> {
    let came = received()?.len();
    let refusal = asks(world, "stranger", "a-key-that-is-no-token").err();
    let refusal = refusal.context("a stranger was let in")?.to_string();
    ensure!(
        refusal.contains("no client of this gateway has this token"),
        "another error: {refusal}"
    );
    let requests = received()?;
    let strangers = requests.iter().skip(came).map(Value::to_string);
    ensure!(
        strangers.filter(|request| request.contains("stranger-")).count() == 0,
        "a stranger's document reached the provider"
    );
    Ok(())
}

fn pods() -> Result<Vec<String>> {
    let pods = list(NAMESPACE, &["pods", "--selector", PODS])?;
    Ok(pods
        .iter()
        .map(|pod| text(pod, "/metadata/name").to_owned())
        .collect())
}

/// Every pod is replaced, one after the other, and the certificate is another one too.
fn rollout(_: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let old = pods()?;
    ensure!(old.len() == 2, "other pods: {old:?}");
    let change = json!({"spec": {"gateway": {"drainSeconds": 21}}});
    patch(NAMESPACE, "lmp/proxy", "merge", &change)?;
    eventually("new pods of the gateway", Duration::from_secs(180), || {
        let now = pods()?;
        Ok((now.len() == 2 && now.iter().all(|pod| !old.contains(pod))).then_some(()))
    })?;
    rolled_out(NAMESPACE, "deployment/proxy-gateway", Duration::from_secs(60))?;
    let counts = traffic.none_failed("gateway rolled out")?;
    ensure!(counts.compressed == counts.sent, "not all compressed: {counts:?}");
    Ok(())
}

fn autoscaled(_: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let before = pods()?;
    let set = |value: Value| {
        let change = json!({"spec": {"gateway": {"autoscaling": value}}});
        patch(NAMESPACE, "lmp/proxy", "merge", &change)
    };
    set(json!({"maxReplicas": 4}))?;
    let scaler = eventually("the autoscaler", Duration::from_secs(30), || {
        get(NAMESPACE, &["hpa", "proxy-gateway"]).map(Some)
    })?;
    let bounds = (
        scaler.pointer("/spec/minReplicas"),
        scaler.pointer("/spec/maxReplicas"),
    );
    ensure!(
        bounds == (Some(&json!(2)), Some(&json!(4))),
        "other bounds: {scaler}"
    );
    // What an autoscaler does.
    kubectl(&[
        "scale",
        "deployment/proxy-gateway",
        "--replicas=3",
        "--namespace",
        NAMESPACE,
    ])?;
    rolled_out(NAMESPACE, "deployment/proxy-gateway", Duration::from_secs(60))?;
    traffic.another(20)?;
    let now = pods()?;
    ensure!(
        now.len() == 3 && before.iter().all(|pod| now.contains(pod)),
        "the operator undid it: {before:?}, {now:?}"
    );
    set(Value::Null)?;
    eventually("the end of the autoscaler", Duration::from_secs(30), || {
        Ok((pods()?.len() == 2 && get(NAMESPACE, &["hpa", "proxy-gateway"]).is_err()).then_some(()))
    })?;
    traffic.none_failed("gateway scaled up and down").map(|_| ())
}

fn counted(_: &World) -> Result<()> {
    eventually("calls in the status", Duration::from_secs(90), || {
        let found = get(NAMESPACE, &["lmp", "proxy"])?;
        let calls = found.pointer("/status/usage/calls").and_then(Value::as_i64);
        ensure!(calls > Some(10), "only {calls:?} calls are counted");
        ensure!(
            text(&found, "/status/usage/saved").ends_with('%'),
            "nothing was saved: {found}"
        );
        Ok(Some(()))
    })?;
    let mut calls = 0.0;
    for pod in pods()? {
        let metrics = metrics(NAMESPACE, &pod, 9465)?;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("liquid_sidecar_client_calls_total{client=\"traffic\"} "));
        calls += line.and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0);
    }
    ensure!(calls > 0.0, "no pod has counted a call of the client");
    Ok(())
}

/// Everything of it goes, and nothing of the rest.
fn removed(_: &World) -> Result<()> {
    kubectl(&["delete", "deployment", "traffic", "--namespace", NAMESPACE])?;
    let change = json!({"spec": {"gateway": null}});
    patch(NAMESPACE, "lmp/proxy", "merge", &change)?;
    let kinds = "deployment,service,serviceaccount,configmap,secret,networkpolicy,pdb,hpa";
    let names = || -> Result<Vec<String>> {
        let found = list(NAMESPACE, &[kinds])?;
        let names = found.iter().map(|one| text(one, "/metadata/name").to_owned());
        Ok(names.collect())
    };
    eventually("the end of the gateway", Duration::from_secs(60), || {
        let left = names()?;
        let gateways = left.iter().filter(|name| name.starts_with("proxy-gateway"));
        let gateways = gateways.collect::<Vec<_>>();
        ensure!(gateways.is_empty(), "left: {gateways:?}");
        Ok(Some(()))
    })?;
    let left = names()?;
    for name in [
        "proxy-workers",
        "proxy-sidecar",
        "proxy-sidecar-tls",
        "proxy-worker-tls",
    ] {
        ensure!(
            left.iter().any(|one| one == name),
            "{name} went with it: {left:?}"
        );
    }
    let found = get(NAMESPACE, &["lmp", "proxy"])?;
    ensure!(
        found.pointer("/status/gateway").is_none(),
        "the status still names it: {found}"
    );
    Ok(())
}

fn end(_: &World) -> Result<()> {
    crate::kubectl::delete_namespace(NAMESPACE)
}
