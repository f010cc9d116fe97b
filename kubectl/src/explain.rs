//! `kubectl liquid explain POD`: is a pod served, by what, where do its calls go, and why is that so.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};
use kube::ResourceExt;
use liquid_operator::api::LiquidMemoryProxy;
use liquid_operator::api::reasons::ConditionType;
use liquid_operator::inject::env::Api;
use liquid_operator::inject::{Decision, Outcome};
use liquid_operator::names::{INJECT_LABEL, INJECTED_ANNOTATION};
use serde::Serialize;

use crate::check::finding::{Finding, Severity};
use crate::check::{Report, decide, inspect, is_opted_in, loopback_port, port_of, sidecar_of};
use crate::output::print;
use crate::session::Session;
use crate::snapshot::namespace::NamespaceState;
use crate::snapshot::reader::Gap;
use crate::snapshot::{self, Depth, Snapshot};
use crate::status::render_gaps;

/// Options of `explain`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Name of the pod, as kubectl prints it.
    pub(crate) pod: String,
}

/// What is known of a pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    namespace: String,
    pod: String,
    /// Whether the API server asks the operator about such a pod, and by what.
    opted_in: String,
    /// What the operator decides about it now.
    decision: String,
    sidecar: Option<Sidecar>,
    /// Set where the pod is one of a gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<GatewayPod>,
    proxy: Option<Proxy>,
    /// Where calls of its containers go.
    routes: Vec<Route>,
    findings: Vec<Finding>,
    not_read: Vec<Gap>,
}

/// The sidecar in a pod.
#[derive(Debug, Serialize)]
struct Sidecar {
    image: String,
    port: Option<u16>,
    ready: Option<bool>,
    restarts: Option<i32>,
}

/// A pod of a gateway.
#[derive(Debug, Serialize)]
struct GatewayPod {
    image: String,
    ready: bool,
    restarts: i32,
    /// The base URL that applications call.
    url: Option<String>,
}

/// The proxy that serves a pod.
#[derive(Debug, Serialize)]
struct Proxy {
    name: String,
    /// Status of its condition Ready, and why.
    ready: String,
    workers: Option<String>,
}

/// Where a container's calls to an API go.
#[derive(Debug, Serialize)]
struct Route {
    container: String,
    variable: &'static str,
    /// The base URL; where it comes from, if it is not in the pod.
    value: String,
    /// Whether it is the sidecar's.
    through_sidecar: bool,
}

/// Explains a pod. The code is 1 if something is wrong with it.
///
/// # Errors
/// The cluster cannot be reached, or there is no such pod.
pub(crate) async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    session.require_cluster().await?;
    let session = session.within_one_namespace();
    let name = arguments
        .pod
        .trim_start_matches("pods/")
        .trim_start_matches("pod/");
    let snapshot = snapshot::read(&session, Depth::All).await;
    let found = snapshot.namespaces.iter().find_map(|namespace| {
        let mut pods = namespace.pods.iter().flatten();
        let pod = pods.find(|pod| pod.name_any() == name)?;
        Some((namespace, pod))
    });
    let Some((namespace, pod)) = found else {
        let gaps = render_gaps(&snapshot.gaps);
        bail!(
            "no pod {name} in namespace {}: choose the namespace with -n\n{gaps}",
            session.scope()
        );
    };
    let mut explanation = describe(&snapshot, namespace, pod);
    let Report {
        findings,
        not_checked,
        ..
    } = inspect(snapshot);
    let about = |finding: &Finding| {
        let own = finding.object.namespace.as_deref() == Some(&explanation.namespace);
        let others = finding.object.kind == "Pod" && finding.object.name != explanation.pod;
        (own || finding.object.namespace.is_none()) && !others
    };
    explanation.findings = findings.into_iter().filter(about).collect();
    explanation.not_read = not_checked;
    print(session.format, &explanation, render)?;
    let wrong = explanation
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    Ok(if wrong {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn describe(snapshot: &Snapshot, namespace: &NamespaceState, pod: &Pod) -> Explanation {
    let sidecar = sidecar_of(pod);
    let port = sidecar.and_then(port_of);
    Explanation {
        namespace: namespace.name.clone(),
        pod: pod.name_any(),
        opted_in: describe_opt_in(snapshot, namespace, pod),
        decision: describe_decision(decide(snapshot, namespace, pod), sidecar.is_some()),
        sidecar: sidecar.map(|sidecar| describe_sidecar(pod, sidecar)),
        gateway: namespace
            .gateway_of(pod)
            .map(|proxy| describe_gateway(proxy, pod)),
        proxy: describe_proxy(namespace, pod),
        routes: list_routes(pod, port),
        findings: Vec::new(),
        not_read: Vec::new(),
    }
}

fn describe_opt_in(snapshot: &Snapshot, namespace: &NamespaceState, pod: &Pod) -> String {
    let own = pod.labels().get(INJECT_LABEL);
    let around = namespace
        .labels
        .as_ref()
        .and_then(|labels| labels.get(INJECT_LABEL));
    let answer = if is_opted_in(snapshot, namespace, pod) {
        "yes"
    } else {
        "no"
    };
    let by = match (own, around) {
        (Some(value), _) => format!("the pod's label {INJECT_LABEL} is {value}"),
        (None, Some(value)) => format!("the namespace's label {INJECT_LABEL} is {value}"),
        (None, None) => format!("neither the pod nor its namespace has the label {INJECT_LABEL}"),
    };
    format!("{answer}: {by}")
}

fn describe_decision(outcome: Option<Outcome>, injected: bool) -> String {
    let Some(outcome) = outcome else {
        return "unknown: the operator's settings cannot be read".into();
    };
    let notes: Vec<&str> = outcome.notes.iter().map(|note| note.text.as_str()).collect();
    let notes = notes.join("; ");
    let text = match &outcome.decision {
        Decision::Deny(denial) => return format!("refused: {denial}"),
        Decision::Pass => "left alone".to_owned(),
        Decision::Patch(patch) if patch.0.is_empty() => "has all that it needs".to_owned(),
        Decision::Patch(_) if injected => "would be completed, if it were created again".to_owned(),
        Decision::Patch(_) => "would get the sidecar, if it were created again".to_owned(),
    };
    if notes.is_empty() {
        text
    } else {
        format!("{text}: {notes}")
    }
}

fn describe_sidecar(pod: &Pod, sidecar: &Container) -> Sidecar {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.init_container_statuses.as_ref());
    let status = statuses
        .into_iter()
        .flatten()
        .find(|status| status.name == sidecar.name);
    Sidecar {
        image: sidecar.image.clone().unwrap_or_default(),
        port: port_of(sidecar),
        ready: status.map(|status| status.ready),
        restarts: status.map(|status| status.restart_count),
    }
}

fn describe_gateway(proxy: &LiquidMemoryProxy, pod: &Pod) -> GatewayPod {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let status = statuses.and_then(|statuses| statuses.first());
    let gateway = proxy.status.as_ref().and_then(|status| status.gateway.as_ref());
    GatewayPod {
        image: container
            .and_then(|container| container.image.clone())
            .unwrap_or_default(),
        ready: status.is_some_and(|status| status.ready),
        restarts: status.map_or(0, |status| status.restart_count),
        url: gateway.map(|gateway| gateway.url.clone()),
    }
}

fn describe_proxy(namespace: &NamespaceState, pod: &Pod) -> Option<Proxy> {
    let own = namespace.gateway_of(pod).map(ResourceExt::name_any);
    let name = own.or_else(|| pod.annotations().get(INJECTED_ANNOTATION).cloned())?;
    let status = namespace.proxy(&name).map(|proxy| proxy.status.as_ref());
    let ready = match status {
        None => "it does not exist".to_owned(),
        Some(status) => status
            .and_then(|status| status.condition(ConditionType::Ready))
            .map_or_else(
                || "the operator has not seen it yet".into(),
                |ready| format!("{} ({}): {}", ready.status, ready.reason, ready.message),
            ),
    };
    Some(Proxy {
        name,
        ready,
        workers: status.flatten().and_then(|status| status.workers.clone()),
    })
}

fn list_routes(pod: &Pod, port: Option<u16>) -> Vec<Route> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut routes = Vec::new();
    for container in containers {
        for api in Api::ALL {
            for variable in api.variables() {
                let mut entries = container.env.iter().flatten();
                let Some(entry) = entries.rfind(|entry| entry.name == *variable) else {
                    continue;
                };
                let value = describe_value(entry);
                routes.push(Route {
                    container: container.name.clone(),
                    variable,
                    through_sidecar: port.is_some() && loopback_port(&value) == port,
                    value,
                });
            }
        }
    }
    routes
}

/// Returns the URL that a variable holds, without what may be a secret in it; or where it comes from.
pub(crate) fn describe_value(entry: &EnvVar) -> String {
    match (&entry.value, &entry.value_from) {
        (Some(value), _) if value.contains(['@', '?']) => "(a URL with a password or a query)".into(),
        (Some(value), _) => value.clone(),
        (None, Some(_)) => "(by valueFrom)".into(),
        (None, None) => String::new(),
    }
}

fn render(explanation: &Explanation) -> String {
    let mut text = format!(
        "pod {}/{}\nopted in: {}\ndecision: {}\n",
        explanation.namespace, explanation.pod, explanation.opted_in, explanation.decision
    );
    if let Some(gateway) = &explanation.gateway {
        text.push_str(&format!(
            "gateway:  {}, {}, {} restarts, applications call {}\n",
            gateway.image,
            if gateway.ready { "ready" } else { "not ready" },
            gateway.restarts,
            gateway
                .url
                .as_deref()
                .unwrap_or("an address that the operator has not said yet")
        ));
    }
    match &explanation.sidecar {
        None if explanation.gateway.is_some() => {}
        None => text.push_str("sidecar:  none\n"),
        Some(sidecar) => text.push_str(&format!(
            "sidecar:  {}, port {}, {}, {} restarts\n",
            sidecar.image,
            sidecar
                .port
                .map(|port| port.to_string())
                .unwrap_or_else(|| "unknown".into()),
            if sidecar.ready == Some(true) {
                "ready"
            } else {
                "not ready"
            },
            sidecar.restarts.unwrap_or_default()
        )),
    }
    if let Some(proxy) = &explanation.proxy {
        let workers = proxy.workers.as_deref().unwrap_or("unknown");
        text.push_str(&format!(
            "proxy:    {}, workers {workers}, ready {}\n",
            proxy.name, proxy.ready
        ));
    }
    for route in &explanation.routes {
        let way = if route.through_sidecar {
            "through the sidecar"
        } else {
            "past the sidecar"
        };
        text.push_str(&format!(
            "route:    {}: {} = {}, {way}\n",
            route.container, route.variable, route.value
        ));
    }
    for finding in &explanation.findings {
        text.push_str(&finding.to_text());
    }
    text + &render_gaps(&explanation.not_read)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{describe, render};
    use crate::snapshot::samples;

    #[test]
    fn a_pod_of_a_gateway_is_explained_as_one() {
        let snapshot = samples::with_gateway();
        let namespace = snapshot.namespaces.first().unwrap();
        let pods = namespace.pods.as_ref().unwrap();
        let text = render(&describe(&snapshot, namespace, pods.first().unwrap()));
        assert!(
            text.contains(
                "gateway:  gateway:1, ready, 2 restarts, applications call https://docs-gateway.shop\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("proxy:    docs,") && !text.contains("sidecar:"),
            "{text}"
        );
        let other = render(&describe(&snapshot, namespace, pods.last().unwrap()));
        assert!(
            other.contains("sidecar:  none") && !other.contains("gateway:"),
            "{other}"
        );
    }
}
