//! Network policies of application namespaces: may sidecars reach their workers and the provider.
//!
//! Policies add up: a pod that one of them selects for egress may go where any of them allows. What a policy says about
//! addresses is taken as leading outside; whether its range is the right one is not known here.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use liquid_contract::{Provider, ports};
use liquid_operator::api::LiquidMemoryProxy;
use liquid_operator::names::INJECTED_ANNOTATION;
use liquid_operator::objects::{Component, selector};
use liquid_operator::watchdog::selection::matches;

use super::finding::{Fault, Finding, ObjectName};
use super::pods::sidecar_of;
use crate::snapshot::Snapshot;
use crate::snapshot::namespace::NamespaceState;

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    for namespace in &snapshot.namespaces {
        let mut said = BTreeSet::new();
        for pod in namespace
            .pods
            .iter()
            .flatten()
            .filter(|pod| sidecar_of(pod).is_some())
        {
            // Pods of one Deployment have the same answer: each policy is said once.
            for finding in judge_pod(namespace, pod) {
                if said.insert((finding.fault, finding.object.clone())) {
                    findings.push(finding);
                }
            }
        }
    }
}

fn judge_pod(namespace: &NamespaceState, pod: &Pod) -> Vec<Finding> {
    let policies = namespace.policies.iter().flatten();
    let selecting: Vec<&NetworkPolicy> = policies
        .filter(|policy| holds_back(policy, pod.labels()))
        .collect();
    let Some(first) = selecting.first() else {
        return Vec::new();
    };
    let name = pod.annotations().get(INJECTED_ANNOTATION);
    let Some(proxy) = name.and_then(|name| namespace.proxy(name)) else {
        return Vec::new();
    };
    let object = ObjectName::new("NetworkPolicy", &namespace.name, &first.name_any());
    let mut findings = Vec::new();
    let rules = || {
        let specs = selecting.iter().filter_map(|policy| policy.spec.as_ref());
        specs.flat_map(|spec| spec.egress.iter().flatten())
    };
    let workers = Target::Workers {
        namespace: namespace.labels.clone().unwrap_or_default(),
        pod: selector(&proxy.name_any(), Component::Worker),
    };
    if !rules().any(|rule| allows(rule, &workers, ports::WORKER)) {
        findings.push(Finding::new(
            Fault::PolicyBlocksWorkers,
            object.clone(),
            format!(
                "it holds pod {} back, and no policy lets it go to the workers of LiquidMemoryProxy {} at port {}: their documents leave whole, or calls fail",
                pod.name_any(),
                proxy.name_any(),
                ports::WORKER
            ),
            format!(
                "egress: [{{to: [{{podSelector: {{matchLabels: {{app.kubernetes.io/component: worker, app.kubernetes.io/instance: {}}}}}}}], ports: [{{port: {}}}]}}]",
                proxy.name_any(),
                ports::WORKER
            ),
        ));
    }
    if let Some(port) = provider_port(proxy)
        && !rules().any(|rule| allows(rule, &Target::Outside, port))
    {
        findings.push(Finding::new(
            Fault::PolicyBlocksProvider,
            object,
            format!(
                "it holds pod {} back, and no policy lets it go to the provider at port {port}: calls fail",
                pod.name_any()
            ),
            format!("egress: [{{to: [{{ipBlock: {{cidr: 0.0.0.0/0}}}}], ports: [{{port: {port}}}]}}]"),
        ));
    }
    findings
}

/// Returns whether a policy limits where pods with these labels may go.
fn holds_back(policy: &NetworkPolicy, labels: &BTreeMap<String, String>) -> bool {
    let Some(spec) = &policy.spec else { return false };
    let egress = match &spec.policy_types {
        Some(types) => types.iter().any(|one| one == "Egress"),
        None => spec.egress.is_some(),
    };
    egress && matches(spec.pod_selector.as_ref(), labels)
}

/// Where a connection leads.
enum Target {
    /// To the workers, in the pod's own namespace.
    Workers {
        namespace: BTreeMap<String, String>,
        pod: BTreeMap<String, String>,
    },
    /// To an address that no selector describes.
    Outside,
}

fn allows(rule: &NetworkPolicyEgressRule, target: &Target, port: u16) -> bool {
    let ports = rule.ports.as_deref().unwrap_or_default();
    if !(ports.is_empty() || ports.iter().any(|one| has_port(one, port))) {
        return false;
    }
    let peers = rule.to.as_deref().unwrap_or_default();
    peers.is_empty()
        || peers.iter().any(|peer| match target {
            Target::Outside => peer.ip_block.is_some(),
            // Pods have addresses too.
            Target::Workers { .. } if peer.ip_block.is_some() => true,
            Target::Workers { namespace, pod } => {
                peer.namespace_selector
                    .as_ref()
                    .is_none_or(|selector| matches(Some(selector), namespace))
                    && matches(peer.pod_selector.as_ref(), pod)
            }
        })
}

fn has_port(allowed: &NetworkPolicyPort, port: u16) -> bool {
    let tcp = allowed
        .protocol
        .as_deref()
        .is_none_or(|protocol| protocol == "TCP");
    let port = i32::from(port);
    tcp && match &allowed.port {
        None => true,
        Some(IntOrString::Int(first)) => (*first..=allowed.end_port.unwrap_or(*first)).contains(&port),
        // The name of a port of the workers.
        Some(IntOrString::String(_)) => true,
    }
}

/// Returns the provider's port, where it is outside of the cluster as far as its URL says.
fn provider_port(proxy: &LiquidMemoryProxy) -> Option<u16> {
    let synthesis = proxy.spec.synthesis.as_ref();
    let provider = synthesis.map_or(Provider::Openai, |synthesis| synthesis.provider.to_contract());
    if provider.is_inside() {
        return None;
    }
    let url = synthesis.and_then(|synthesis| synthesis.base_url.as_deref());
    let url: http::Uri = url.or_else(|| provider.public_url())?.parse().ok()?;
    let host = url.host()?;
    // A Service's pods are chosen by labels that are not known here.
    let inside = !host.contains('.') || host.ends_with(".svc") || host.contains(".svc.");
    let scheme = if url.scheme_str() == Some("http") { 80 } else { 443 };
    (!inside).then(|| url.port_u16().unwrap_or(scheme))
}
