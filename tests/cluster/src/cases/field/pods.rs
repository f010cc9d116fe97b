//! Pods that are not like those of the guide: on Windows, with resources of their own, in a mesh.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::super::path::proxy;
use super::{set, sidecar, without_workers};
use crate::kubectl::{apply, finished, get, kubectl, list, text, trial};
use crate::machine::Process;
use crate::manifest::{self, application, pod, shell};
use crate::world::{Namespace, World, eventually};

/// Tries a new pod until the operator's replicas know the namespace's proxy.
fn tried(wanted: &Value) -> Result<Value> {
    eventually("an answer of the webhook", Duration::from_secs(10), || {
        trial(wanted).map(Some)
    })
}

pub(super) fn windows(_: &World) -> Result<()> {
    let namespace = without_workers("field-windows")?;
    let name = namespace.0.as_str();
    let by_terms = |expressions: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [expressions]}]}}}})
    };
    let wanted = |pod_name: &str, rules: &Value| {
        let mut wanted = pod(name, pod_name, &[shell("main", "true")]);
        for (field, value) in rules.as_object().into_iter().flatten() {
            set(&mut wanted, "/spec", field, value.clone());
        }
        wanted
    };
    let os = "kubernetes.io/os";
    for (pod_name, rules) in [
        ("by-selector", json!({"nodeSelector": {os: "windows"}})),
        (
            "by-old-label",
            json!({"nodeSelector": {"beta.kubernetes.io/os": "windows"}}),
        ),
        (
            "by-build",
            json!({"nodeSelector": {"node.kubernetes.io/windows-build": "10.0.20348"}}),
        ),
        (
            "by-affinity",
            by_terms(json!({"key": os, "operator": "In", "values": ["windows"]})),
        ),
        (
            "not-linux",
            by_terms(json!({"key": os, "operator": "NotIn", "values": ["linux"]})),
        ),
    ] {
        apply(&wanted(pod_name, &rules))?;
        let made = get(name, &["pod", pod_name])?;
        ensure!(sidecar(&made).is_none(), "{pod_name} has a sidecar: {made}");
        let note = eventually(
            &format!("an Event about {pod_name}"),
            Duration::from_secs(30),
            || {
                let events = list(name, &["events"])?;
                let mut skipped = events.iter().filter(|event| {
                    text(event, "/reason") == "InjectionSkipped"
                        && text(event, "/involvedObject/name") == pod_name
                });
                Ok(skipped.next().map(|event| text(event, "/message").to_owned()))
            },
        )?;
        ensure!(
            note.contains("Windows"),
            "the Event of {pod_name} does not say why: {note}"
        );
    }
    for (pod_name, rules) in [
        ("on-linux", json!({"nodeSelector": {os: "linux"}})),
        (
            "on-both",
            by_terms(json!({"key": os, "operator": "In", "values": ["linux", "windows"]})),
        ),
    ] {
        let made = tried(&wanted(pod_name, &rules))?;
        ensure!(sidecar(&made).is_some(), "{pod_name} has no sidecar: {made}");
    }
    Ok(())
}

pub(super) fn resources(_: &World) -> Result<()> {
    let namespace = without_workers("field-resources")?;
    let wanted = |own: &Value, annotations: &Value| {
        let mut main = shell("main", "true");
        set(
            &mut main,
            "",
            "resources",
            json!({"requests": {"cpu": "80m", "memory": "100Mi"}}),
        );
        let mut wanted = pod(&namespace.0, "small", &[main]);
        set(&mut wanted, "/spec", "resources", own.clone());
        set(&mut wanted, "/metadata", "annotations", annotations.clone());
        wanted
    };
    let requests = json!({"cpu": "100m", "memory": "128Mi"});
    let limits = json!({"cpu": "500m", "memory": "256Mi"});
    for (own, expected) in [
        (
            json!({"requests": requests, "limits": limits}),
            json!({"requests": {"cpu": "20m", "memory": "28Mi"}, "limits": {"memory": "256Mi"}}),
        ),
        // The API server takes the pod's requests from its containers then: nothing is left.
        (
            json!({"limits": limits}),
            json!({"requests": {"cpu": "0", "memory": "0"}, "limits": {"memory": "256Mi"}}),
        ),
        (
            json!({"requests": {"memory": "100Mi"}}),
            json!({"requests": {"cpu": "50m", "memory": "0"}, "limits": {"memory": "512Mi"}}),
        ),
    ] {
        let made = tried(&wanted(&own, &json!({})))?;
        let given = sidecar(&made).and_then(|sidecar| sidecar.get("resources"));
        ensure!(given == Some(&expected), "{own}: the sidecar has {given:?}");
    }
    let own = json!({"requests": requests, "limits": limits});
    let refused = trial(&wanted(&own, &json!({"liquidmemory.dev/memory-limit": "1Gi"})));
    let refused = refused
        .err()
        .context("a limit above the pod's was accepted")?
        .to_string();
    ensure!(
        refused.contains("spec.resources.limits.memory = 256Mi; lower it, or raise that"),
        "no remedy: {refused}"
    );
    Ok(())
}

/// As Istio leaves a pod. The proxy is a shell that refuses nothing: [`strict`] does.
pub(super) fn mesh(world: &World) -> Result<()> {
    let namespace = Namespace::opted_in("field-mesh")?;
    let name = namespace.0.as_str();
    proxy(name, &manifest::proxy(name, "proxy"))?;
    let mut in_mesh = shell("istio-proxy", "exec sleep 1000");
    set(&mut in_mesh, "", "restartPolicy", json!("Always"));
    let mesh = json!([shell("istio-validation", "true"), in_mesh]);
    let annotations =
        json!({"sidecar.istio.io/status": "{}", "traffic.sidecar.istio.io/excludeInboundPorts": "15020"});
    let mut wanted = pod(
        name,
        "in-mesh",
        &[application(world, "asks", &["ask.py", "mesh"])],
    );
    set(&mut wanted, "/spec", "initContainers", mesh);
    set(&mut wanted, "/metadata", "annotations", annotations);
    apply(&wanted)?;
    let log = finished(name, "in-mesh", Duration::from_secs(90))?;
    ensure!(
        log.contains("\"x-liquid-decision\": \"compressed\""),
        "not compressed: {log}"
    );
    let made = get(name, &["pod", "in-mesh"])?;
    let names = made.pointer("/spec/initContainers").and_then(Value::as_array);
    let names = names
        .into_iter()
        .flatten()
        .map(|container| text(container, "/name"));
    ensure!(
        names.eq(["liquid-sidecar", "istio-validation", "istio-proxy"]),
        "the order of the mesh has changed: {made}"
    );
    ensure!(
        made.pointer("/metadata/annotations/traffic.sidecar.istio.io~1excludeInboundPorts")
            == Some(&json!("15020"))
            && made.pointer("/metadata/annotations/sidecar.istio.io~1status") == Some(&json!("{}")),
        "annotations of the mesh have changed: {made}"
    );
    let sidecar = sidecar(&made).context("no sidecar")?;
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let command = sidecar.pointer(&format!("/{probe}/exec/command"));
        ensure!(command.is_some(), "{probe} asks over the network: {sidecar}");
    }
    let restarts = made
        .pointer("/status/initContainerStatuses")
        .and_then(Value::as_array);
    let mut restarts = restarts.into_iter().flatten();
    let of_sidecar = restarts.find(|status| text(status, "/name") == "liquid-sidecar");
    let count = of_sidecar.and_then(|status| status.get("restartCount"));
    ensure!(count == Some(&json!(0)), "the sidecar has restarted: {count:?}");
    strict(name)
}

/// A pod that refuses every connection to its address, as one whose mesh takes nothing but its TLS refuses the kubelet's: a
/// container that is asked over the network is not ready any more, the sidecar still answers its probes.
fn strict(namespace: &str) -> Result<()> {
    let mut main = shell("main", "exec sleep 1000");
    let probe =
        json!({"httpGet": {"path": "/readyz", "port": 9465}, "periodSeconds": 1, "failureThreshold": 1});
    set(&mut main, "", "readinessProbe", probe);
    let mut wanted = pod(namespace, "strict", &[main]);
    let annotations = json!({"sidecar.istio.io/status": "{}"});
    set(&mut wanted, "/metadata", "annotations", annotations);
    apply(&wanted)?;
    let ready = ["wait", "--for=condition=Ready", "--timeout=60s", "pod/strict"];
    kubectl(&[&ready[..], &["--namespace", namespace]].concat())?;
    Process::find("strict", "sleep")?.refuse_connections()?;
    let made = eventually("a container that is not ready", Duration::from_secs(30), || {
        let made = get(namespace, &["pod", "strict"])?;
        let refused = made.pointer("/status/containerStatuses/0/ready") == Some(&json!(false));
        Ok(refused.then_some(made))
    })?;
    let sidecar = sidecar(&made).context("no sidecar")?;
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let command = sidecar.pointer(&format!("/{probe}/exec/command"));
        let words = command.and_then(Value::as_array).context("no command")?;
        let words = words.iter().filter_map(Value::as_str).collect::<Vec<_>>();
        let inside = [
            "exec",
            "strict",
            "--container=liquid-sidecar",
            "--namespace",
            namespace,
            "--",
        ];
        kubectl(&[&inside[..], &words].concat()).with_context(|| format!("{probe} fails"))?;
    }
    Ok(())
}
