//! NetworkPolicies where the network enforces them: `cargo xtask cluster policies` has it do so, a whole run's does not. Each
//! line of the table "Security" in deploy/README.md is tried: who may reach what does, and nobody else.

mod client;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use liquid_contract::ports::{
    HTTPS, OPERATOR_ADMIN, OPERATOR_WEBHOOK, SIDECAR, SIDECAR_ADMIN, WORKER, WORKER_ADMIN,
};
use serde_json::{Value, json};

use super::Case;
use super::path::{answer, proxy};
use crate::kubectl::{apply, get, kubectl, list, patch, text, trial};
use crate::manifest;
use crate::status::{until, until_reason};
use crate::world::{Namespace, SYSTEM, World, eventually, operators};
use client::{Client, PROBE, expect, ports};

/// The case that makes what the others use.
pub(super) const PREPARE: &str = "policies::the_network_enforces_policies";

pub(super) const CASES: &[(&str, Case)] = &[
    (PREPARE, enforced),
    ("policies::a_sidecar_reaches_worker_and_provider", served),
    ("policies::no_other_pod_reaches_a_sidecar", sidecar),
    (
        "policies::workers_admit_their_namespace_and_the_operator",
        workers,
    ),
    ("policies::workers_reach_nothing", confined),
    (
        "policies::a_gateway_admits_its_namespace_and_those_named",
        gateway,
    ),
    ("policies::the_operator_admits_all_to_two_ports", operator),
    ("policies::a_call_wakes_the_workers", wakes),
    ("policies::without_a_policy_workers_admit_all", open),
    ("policies::namespaces_end", end),
];

/// Opted in, with a proxy and its gateway.
const HERE: &str = "policies";
/// What `allowFrom` names.
const FRIENDS: &str = "policies-friends";
/// What `allowMetricsFrom` names.
const MONITORING: &str = "policies-monitoring";
/// Named nowhere.
const STRANGERS: &str = "policies-strangers";
/// Opted in, with workers that scale to zero.
const IDLE: &str = "policies-idle";
const TOKEN: &str = "token-of-the-friends-01";

const WORKERS: &str = "app.kubernetes.io/component=worker";

/// Those who try.
struct Clients {
    application: Client,
    friend: Client,
    prometheus: Client,
    /// One on each node.
    strangers: [Client; 2],
    /// A stranger that has the labels of the operator's pods.
    pretender: Client,
    /// In the operator's namespace, without its labels.
    visitor: Client,
}

fn clients() -> Clients {
    Clients {
        application: Client::new(HERE, "application"),
        friend: Client::new(FRIENDS, "friend"),
        prometheus: Client::new(MONITORING, "prometheus"),
        strangers: ["node1", "node2"].map(|node| Client::new(STRANGERS, node)),
        pretender: Client::new(STRANGERS, "pretender"),
        visitor: Client::new(SYSTEM, "policies-visitor"),
    }
}

/// A program's pod, with the probe beside it.
fn joined(world: &World, namespace: &str, pods: &[Value]) -> Result<Client> {
    let pod = pods.first().context("no pod")?;
    let client = Client::new(namespace, text(pod, "/metadata/name"));
    client.join(world)?;
    Ok(client)
}

fn worker(world: &World) -> Result<Client> {
    joined(world, HERE, &list(HERE, &["pods", "--selector", WORKERS])?)
}

fn enforced(world: &World) -> Result<()> {
    namespaces()?;
    let Clients {
        application,
        friend,
        prometheus,
        strangers,
        pretender,
        visitor,
    } = clients();
    for stranger in &strangers {
        stranger.start(world, |pod| pod["spec"]["nodeName"] = json!(stranger.pod))?;
    }
    prometheus.start(world, |_| {})?;
    visitor.start(world, |_| {})?;
    policies_act(&prometheus, &strangers)
        .context("does the network enforce policies? `cargo xtask cluster policies` has it do so")?;

    let pods = operators()?;
    let labels = pods.first().and_then(|pod| pod.pointer("/metadata/labels"));
    let labels = labels.context("no operator")?.clone();
    pretender.start(world, |pod| pod["metadata"]["labels"] = labels)?;
    proxy(HERE, &wanted())?;
    until(HERE, "proxy", "GatewayReady", Duration::from_secs(120))?;
    application.start(world, |pod| {
        pod["metadata"]["annotations"] = json!({"liquidmemory.dev/tls-interception": "true"});
    })?;
    let authority = get(HERE, &["configmap", "proxy-gateway-ca"])?;
    apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authority", "namespace": FRIENDS},
        "data": authority["data"],
    }))?;
    friend.start(world, calls_gateway)
}

fn namespaces() -> Result<()> {
    for (name, team) in [
        (FRIENDS, "search"),
        (MONITORING, "platform"),
        (STRANGERS, "other"),
    ] {
        std::mem::forget(Namespace::new(name, &json!({"team": team}))?);
    }
    for name in [HERE, IDLE] {
        std::mem::forget(Namespace::opted_in(name)?);
    }
    for (name, key, value) in [
        ("clients", "friends", TOKEN),
        ("provider", "api-key", "key-of-the-platform"),
    ] {
        apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": HERE},
            "stringData": {key: value},
        }))?;
    }
    Ok(())
}

/// A proxy that lets the friends in, and Prometheus to the metrics.
fn wanted() -> Value {
    let named = |team: &str| json!([{"namespaceSelector": {"matchLabels": {"team": team}}}]);
    let mut wanted = manifest::proxy(HERE, "proxy");
    wanted["spec"]["injection"] = json!({"tlsInterception": {}});
    wanted["spec"]["synthesis"]["secretRef"] = json!({"name": "provider"});
    wanted["spec"]["network"] = json!({"allowFrom": named("search"), "allowMetricsFrom": named("platform")});
    wanted["spec"]["gateway"] = json!({
        "clients": {"tokenSecret": "clients"}, "allowFrom": named("search"),
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
    });
    wanted
}

/// Has the pod's application call the gateway, as deploy/README.md says.
fn calls_gateway(pod: &mut Value) {
    let variable = |name: &str, value: &str| json!({"name": name, "value": value});
    let url = format!("https://proxy-gateway.{HERE}.svc.cluster.local/v1");
    pod["spec"]["containers"][0]["env"] = json!([
        variable("OPENAI_BASE_URL", &url),
        variable("OPENAI_API_KEY", TOKEN),
        variable("SSL_CERT_FILE", "/etc/gateway/ca.crt"),
    ]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "authority", "mountPath": "/etc/gateway"}]);
    pod["spec"]["volumes"] = json!([{"name": "authority", "configMap": {"name": "authority"}}]);
}

/// Policies that are none of ours, on the way in and out: one that denies, one that allows.
fn policies_act(target: &Client, strangers: &[Client; 2]) -> Result<()> {
    let policy = |namespace: &str, name: &str, spec: &Value| {
        apply(&json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        }))
    };
    let none = || -> Result<()> {
        for namespace in [MONITORING, STRANGERS] {
            kubectl(&["delete", "networkpolicies", "--all", "--namespace", namespace])?;
        }
        Ok(())
    };
    let [first, second] = strangers;
    let probe = ports(&target.address()?, &[PROBE]);
    none()?;
    expect(&probe, &[(first, &[true]), (second, &[true])])?;
    policy(
        MONITORING,
        "deny",
        &json!({"podSelector": {}, "policyTypes": ["Ingress"]}),
    )?;
    expect(&probe, &[(first, &[false]), (second, &[false])])?;
    let from = json!([{"namespaceSelector": {"matchLabels": {"team": "other"}}}]);
    policy(
        MONITORING,
        "allow",
        &json!({"podSelector": {}, "ingress": [{"from": from, "ports": [{"port": PROBE}]}]}),
    )?;
    expect(&probe, &[(first, &[true]), (second, &[true])])?;
    kubectl(&[
        "label",
        "pod",
        &first.pod,
        "--namespace",
        STRANGERS,
        "--overwrite",
        "confined=true",
    ])?;
    policy(
        STRANGERS,
        "deny",
        &json!({"podSelector": {"matchLabels": {"confined": "true"}}, "policyTypes": ["Egress"]}),
    )?;
    expect(&probe, &[(first, &[false]), (second, &[true])])?;
    none()?;
    expect(&probe, &[(first, &[true]), (second, &[true])])
}

/// "Application", "sidecar", "intercepted application" and "sidecar or gateway": the call is compressed, so each of them has
/// reached the next.
fn served(_: &World) -> Result<()> {
    let application = clients().application;
    for script in [
        &["/application/ask.py", "policies"][..],
        &["/application/intercepted.py", "sdk", "policies"],
    ] {
        eventually("a call that is compressed", Duration::from_secs(60), || {
            let answer = answer(&application.run(script)?)?;
            let decision = text(&answer, "/headers/x-liquid-decision");
            ensure!(decision == "compressed", "{script:?}: {answer}");
            Ok(Some(()))
        })?;
    }
    Ok(())
}

/// It listens on the pod's loopback address: no policy has to say so. Probes and metrics are everybody's.
fn sidecar(_: &World) -> Result<()> {
    let all = clients();
    let numbers = [SIDECAR, HTTPS, SIDECAR_ADMIN];
    expect(&ports("127.0.0.1", &numbers), &[(&all.application, &[true; 3])])?;
    let outside: &[bool] = &[false, false, true];
    let [first, second] = &all.strangers;
    expect(
        &ports(&all.application.address()?, &numbers),
        &[(first, outside), (second, outside), (&all.friend, outside)],
    )
}

fn workers(world: &World) -> Result<()> {
    let (all, worker) = (clients(), worker(world)?);
    let operator = joined(world, SYSTEM, &operators()?)?;
    let numbers = [WORKER, WORKER_ADMIN, PROBE];
    expect(&ports("127.0.0.1", &numbers), &[(&worker, &[true; 3])])?;
    let (documents, metrics, nothing): (&[bool], &[bool], &[bool]) =
        (&[true, false, false], &[false, true, false], &[false; 3]);
    let [first, second] = &all.strangers;
    expect(
        &ports(&worker.address()?, &numbers),
        &[
            (&all.application, documents),
            (&all.friend, documents),
            (&operator, metrics),
            (&all.prometheus, metrics),
            (first, nothing),
            (second, nothing),
            (&all.pretender, nothing),
            (&all.visitor, nothing),
        ],
    )?;
    // What the operator reads there is in the status.
    eventually("calls in the status", Duration::from_secs(90), || {
        let found = get(HERE, &["lmp", "proxy"])?;
        let calls = found.pointer("/status/usage/calls").and_then(Value::as_u64);
        Ok((calls > Some(0)).then_some(()))
    })
}

/// Names, the API server, a kubelet, the provider, pods of its own namespace and of others, the operator: all closed to it, and open to
/// others.
fn confined(world: &World) -> Result<()> {
    let (all, worker) = (clients(), worker(world)?);
    let operator = operators()?;
    let operator = text(operator.first().context("no operator")?, "/status/podIP").to_owned();
    let provider = get(crate::world::PROVIDER, &["service", "mock"])?;
    let targets = [
        "kubernetes.default.svc.cluster.local".to_owned(),
        "10.96.0.10:53".to_owned(),
        "10.96.0.1:443".to_owned(),
        "192.0.2.1:6443".to_owned(),
        "192.0.2.2:10250".to_owned(),
        format!("{}:8080", text(&provider, "/spec/clusterIP")),
        format!("{}:{SIDECAR_ADMIN}", all.application.address()?),
        format!("{}:{PROBE}", all.prometheus.address()?),
        format!("{operator}:{OPERATOR_WEBHOOK}"),
    ];
    let [first, second] = &all.strangers;
    expect(
        &targets,
        &[(&worker, &[false; 9]), (first, &[true; 9]), (second, &[true; 9])],
    )
}

fn gateway(world: &World) -> Result<()> {
    let all = clients();
    let pods = list(
        HERE,
        &["pods", "--selector", "app.kubernetes.io/component=gateway"],
    )?;
    let gateway = joined(world, HERE, &pods)?;
    let numbers = [SIDECAR, SIDECAR_ADMIN, PROBE];
    expect(
        &ports("127.0.0.1", &[SIDECAR_ADMIN, PROBE]),
        &[(&gateway, &[true; 2])],
    )?;
    let (calls, metrics, nothing): (&[bool], &[bool], &[bool]) =
        (&[true, false, false], &[false, true, false], &[false; 3]);
    let [first, second] = &all.strangers;
    expect(
        &ports(&gateway.address()?, &numbers),
        &[
            (&all.application, calls),
            (&all.friend, calls),
            (&all.prometheus, metrics),
            (first, nothing),
            (second, nothing),
            (&all.visitor, nothing),
        ],
    )?;
    let answer = answer(&all.friend.run(&["/application/ask.py", "friend"])?)?;
    ensure!(
        text(&answer, "/headers/x-liquid-decision") == "compressed",
        "the friend's call: {answer}"
    );
    Ok(())
}

/// Its two ports are open, because nobody knows the API server's address; the rest is closed. A pod is injected, so the API
/// server reaches the webhook.
fn operator(world: &World) -> Result<()> {
    let (all, operator) = (clients(), joined(world, SYSTEM, &operators()?)?);
    let numbers = [OPERATOR_WEBHOOK, OPERATOR_ADMIN, PROBE];
    expect(&ports("127.0.0.1", &numbers), &[(&operator, &[true; 3])])?;
    let two: &[bool] = &[true, true, false];
    let [first, second] = &all.strangers;
    expect(
        &ports(&operator.address()?, &numbers),
        &[
            (first, two),
            (second, two),
            (&all.application, two),
            (&all.visitor, two),
        ],
    )?;
    let pod = trial(&manifest::pod(HERE, "trial", &[manifest::shell("trial", "true")]))?;
    ensure!(
        text(&pod, "/spec/initContainers/0/name") == "liquid-sidecar",
        "not injected: {pod}"
    );
    Ok(())
}

/// No worker runs: the sidecar asks the operator for one, and holds the call until it answers.
fn wakes(world: &World) -> Result<()> {
    let mut wanted = manifest::proxy(IDLE, "proxy");
    wanted["spec"]["workers"]["autoscaling"] =
        json!({"minReplicas": 0, "maxReplicas": 1, "scaleDownSeconds": 20, "holdSeconds": 120});
    proxy(IDLE, &wanted)?;
    let application = Client::new(IDLE, "application");
    application.start(world, |_| {})?;
    until_reason(IDLE, "proxy", "WorkersReady", "Idle", Duration::from_secs(180))?;
    let answer = answer(&application.run(&["/application/ask.py", "idle"])?)?;
    ensure!(
        text(&answer, "/headers/x-liquid-decision") == "compressed",
        "the held call: {answer}"
    );
    Ok(())
}

/// What was closed is open then: it was the policy that closed it.
fn open(world: &World) -> Result<()> {
    let (all, worker) = (clients(), worker(world)?);
    let targets = ports(&worker.address()?, &[WORKER, WORKER_ADMIN, PROBE]);
    let [first, second] = &all.strangers;
    for (policy, reached) in [(false, [true; 3]), (true, [false; 3])] {
        patch(
            HERE,
            "lmp/proxy",
            "merge",
            &json!({"spec": {"network": {"policy": policy}}}),
        )?;
        expect(&targets, &[(first, &reached), (second, &reached)])?;
    }
    Ok(())
}

fn end(_: &World) -> Result<()> {
    kubectl(&[
        "delete",
        "pod",
        &clients().visitor.pod,
        "--namespace",
        SYSTEM,
        "--wait=false",
    ])?;
    for namespace in [HERE, FRIENDS, MONITORING, STRANGERS, IDLE] {
        crate::kubectl::delete_namespace(namespace)?;
    }
    Ok(())
}
