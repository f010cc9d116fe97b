//! `kubectl liquid status`: the operator, and every proxy in a line.

use std::process::ExitCode;

use anyhow::Result;
use kube::ResourceExt;
use liquid_operator::api::LiquidMemoryProxy;
use liquid_operator::api::reasons::ConditionType;
use serde::Serialize;

use crate::check::sidecar_of;
use crate::output::{Table, print};
use crate::session::Session;
use crate::snapshot::namespace::NamespaceState;
use crate::snapshot::operators::{Operator, Replicas};
use crate::snapshot::reader::Gap;
use crate::snapshot::{self, Depth, Snapshot};

/// What is installed, and what it does.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Overview {
    operators: Vec<OperatorStatus>,
    proxies: Vec<ProxyStatus>,
    not_read: Vec<Gap>,
}

/// An operator in one line.
#[derive(Debug, Serialize)]
struct OperatorStatus {
    namespace: String,
    name: String,
    version: Option<String>,
    /// Ready replicas of those asked for.
    ready: String,
    image: String,
}

/// A proxy in one line.
#[derive(Debug, Serialize)]
struct ProxyStatus {
    namespace: String,
    name: String,
    /// Status of the condition Ready; none before the operator has seen the proxy.
    ready: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    workers: Option<String>,
    /// Pods with a sidecar of the proxy; none where pods may not be listed.
    pods: Option<usize>,
    saved: Option<String>,
    calls: i64,
    /// How far the last changes of the configuration have come.
    progress: Option<String>,
}

/// Prints the operator and the proxies.
///
/// # Errors
/// The cluster cannot be reached.
pub(crate) async fn run(session: &Session) -> Result<ExitCode> {
    session.require_cluster().await?;
    let snapshot = snapshot::read(session, Depth::Workloads).await;
    print(session.format, &describe(snapshot), render)?;
    Ok(ExitCode::SUCCESS)
}

fn describe(snapshot: Snapshot) -> Overview {
    let proxies = snapshot.namespaces.iter().flat_map(|namespace| {
        let proxies = namespace.proxies.iter();
        proxies.map(move |proxy| describe_proxy(namespace, proxy))
    });
    Overview {
        proxies: proxies.collect(),
        operators: snapshot
            .operators
            .iter()
            .flatten()
            .map(describe_operator)
            .collect(),
        not_read: snapshot.gaps,
    }
}

fn describe_operator(operator: &Operator) -> OperatorStatus {
    let Replicas { wanted, ready } = operator.replicas();
    OperatorStatus {
        namespace: operator.namespace.clone(),
        name: operator.deployment.name_any(),
        version: operator.version().map(str::to_owned),
        ready: format!("{ready}/{wanted}"),
        image: operator.image().into(),
    }
}

fn describe_proxy(namespace: &NamespaceState, proxy: &LiquidMemoryProxy) -> ProxyStatus {
    let status = proxy.status.as_ref();
    let ready = status.and_then(|status| status.condition(ConditionType::Ready));
    let usage = status.and_then(|status| status.usage.as_ref());
    let name = proxy.name_any();
    let own = |pods: &Vec<_>| pods.iter().filter(|pod| is_served(pod, &name)).count();
    ProxyStatus {
        namespace: namespace.name.clone(),
        ready: ready.map(|ready| ready.status.clone()),
        reason: ready.map(|ready| ready.reason.clone()),
        message: ready.map(|ready| ready.message.clone()),
        workers: status.and_then(|status| status.workers.clone()),
        pods: namespace.pods.as_ref().map(own),
        saved: usage.and_then(|usage| usage.saved.clone()),
        calls: usage.map_or(0, |usage| usage.total.calls),
        progress: status
            .and_then(|status| status.configuration.as_ref())
            .map(|configuration| configuration.workers.progress.clone()),
        name,
    }
}

/// Returns whether a pod has the sidecar of this proxy.
pub(crate) fn is_served(pod: &k8s_openapi::api::core::v1::Pod, proxy: &str) -> bool {
    let name = pod.annotations().get(liquid_operator::names::INJECTED_ANNOTATION);
    sidecar_of(pod).is_some() && name.is_some_and(|name| name == proxy)
}

fn render(overview: &Overview) -> String {
    let mut text = String::new();
    for operator in &overview.operators {
        let version = operator.version.as_deref().unwrap_or("of an unknown version");
        text.push_str(&format!(
            "operator {}/{} {version}: {} ready, {}\n",
            operator.namespace, operator.name, operator.ready, operator.image
        ));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let mut table = Table::new(&[
        "NAMESPACE",
        "PROXY",
        "READY",
        "WORKERS",
        "PODS",
        "SAVED",
        "CALLS",
        "REASON",
    ]);
    for line in &overview.proxies {
        table.row([
            line.namespace.clone(),
            line.name.clone(),
            line.ready.clone().unwrap_or_default(),
            line.workers.clone().unwrap_or_default(),
            line.pods.map(|pods| pods.to_string()).unwrap_or_default(),
            line.saved.clone().unwrap_or_default(),
            line.calls.to_string(),
            line.reason.clone().unwrap_or_default(),
        ]);
    }
    match table.is_empty() {
        true => text.push_str("No LiquidMemoryProxy.\n"),
        false => text.push_str(&table.to_string()),
    }
    text + &render_gaps(&overview.not_read)
}

/// Says what could not be read.
pub(crate) fn render_gaps(gaps: &[Gap]) -> String {
    let lines = gaps
        .iter()
        .map(|gap| format!("not read: {}: {}\n", gap.what, gap.why));
    lines.collect()
}
