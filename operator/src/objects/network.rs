//! The workers' NetworkPolicy: who may reach them, and that they reach nobody, because they hold the documents.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use liquid_contract::ports;

use super::Platform;
use super::meta::{ProxyRef, label_selector};
use crate::api::LiquidMemoryProxy;
use crate::api::network::Peer;
use crate::names;

/// Builds the workers' NetworkPolicy.
pub(super) fn build_policy(
    proxy: &LiquidMemoryProxy,
    owner: &ProxyRef<'_>,
    platform: &Platform,
) -> NetworkPolicy {
    let network = &proxy.spec.network;
    let own = NetworkPolicyPeer {
        pod_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(select_labels(&[(
            "kubernetes.io/metadata.name",
            &platform.namespace,
        )])),
        pod_selector: Some(select_labels(&names::OPERATOR_LABELS)),
        ip_block: None,
    };
    NetworkPolicy {
        metadata: owner.build_meta(names::workers(owner.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(label_selector(owner.name)),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ingress: Some(vec![
                build_rule(own, &network.allow_from, ports::WORKER),
                build_rule(operator, &network.allow_metrics_from, ports::WORKER_ADMIN),
            ]),
            // None is allowed. An empty list would be rewritten by every apply: the API server does not store it.
            egress: None,
        }),
    }
}

fn build_rule(first: NetworkPolicyPeer, others: &[Peer], port: u16) -> NetworkPolicyIngressRule {
    let others = others.iter().map(|peer| NetworkPolicyPeer {
        namespace_selector: peer.namespace_selector.clone(),
        pod_selector: peer.pod_selector.clone(),
        ip_block: None,
    });
    NetworkPolicyIngressRule {
        from: Some(std::iter::once(first).chain(others).collect()),
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
