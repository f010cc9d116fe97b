//! The NetworkPolicies: who may reach workers and gateway; and that workers reach nobody, because they hold the documents.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use liquid_contract::ports;

use super::Platform;
use super::meta::{Component, ProxyRef, label_selector};
use crate::api::network::Peer;
use crate::api::{Gateway, LiquidMemoryProxy};
use crate::names;

/// Builds the workers' NetworkPolicy.
pub(super) fn build_policy(
    proxy: &LiquidMemoryProxy,
    owner: &ProxyRef<'_>,
    platform: &Platform,
) -> NetworkPolicy {
    let network = &proxy.spec.network;
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(select_labels(&[(
            "kubernetes.io/metadata.name",
            &platform.namespace,
        )])),
        pod_selector: Some(select_labels(&names::OPERATOR_LABELS)),
        ip_block: None,
    };
    NetworkPolicy {
        metadata: owner.build_meta(names::workers(owner.name), Component::Worker),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(label_selector(owner.name, Component::Worker)),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ingress: Some(vec![
                build_rule(own_namespace(), &network.allow_from, ports::WORKER),
                build_rule(operator, &network.allow_metrics_from, ports::WORKER_ADMIN),
            ]),
            // None is allowed. An empty list would be rewritten by every apply: the API server does not store it.
            egress: None,
        }),
    }
}

/// Builds the gateway's NetworkPolicy. What it reaches is not restricted: providers are outside of the cluster.
pub(super) fn build_gateway_policy(
    proxy: &LiquidMemoryProxy,
    gateway: &Gateway,
    owner: &ProxyRef<'_>,
) -> NetworkPolicy {
    let mut ingress = vec![build_rule(own_namespace(), &gateway.allow_from, ports::SIDECAR)];
    // A rule without peers would let everybody in.
    if let [first, others @ ..] = proxy.spec.network.allow_metrics_from.as_slice() {
        ingress.push(build_rule(to_peer(first), others, ports::SIDECAR_ADMIN));
    }
    NetworkPolicy {
        metadata: owner.build_meta(names::gateway(owner.name), Component::Gateway),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(label_selector(owner.name, Component::Gateway)),
            policy_types: Some(vec!["Ingress".into()]),
            ingress: Some(ingress),
            egress: None,
        }),
    }
}

/// All pods of the policy's own namespace.
fn own_namespace() -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    }
}

fn to_peer(peer: &Peer) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: peer.namespace_selector.clone(),
        pod_selector: peer.pod_selector.clone(),
        ip_block: None,
    }
}

fn build_rule(first: NetworkPolicyPeer, others: &[Peer], port: u16) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: Some(std::iter::once(first).chain(others.iter().map(to_peer)).collect()),
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::Int(port.into())),
            protocol: Some("TCP".into()),
            end_port: None,
        }]),
    }
}

fn select_labels(labels: &[(&str, &str)]) -> LabelSelector {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    LabelSelector {
        match_labels: Some(labels.collect()),
        ..LabelSelector::default()
    }
}
