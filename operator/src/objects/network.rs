//! Who may reach the workers; and that they reach nobody: they hold the documents.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Platform;
use super::meta::{Of, label_selector};
use crate::api::LiquidMemoryProxy;
use crate::api::network::Peer;
use crate::names;

pub(super) fn policy(proxy: &LiquidMemoryProxy, of: &Of<'_>, platform: &Platform) -> NetworkPolicy {
    let network = &proxy.spec.network;
    let own = NetworkPolicyPeer {
        pod_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(labelled(&[("kubernetes.io/metadata.name", &platform.namespace)])),
        pod_selector: Some(labelled(&[
            ("app.kubernetes.io/name", "liquid-memory"),
            ("app.kubernetes.io/component", "operator"),
        ])),
        ip_block: None,
    };
    NetworkPolicy {
        metadata: of.meta(names::workers(of.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(label_selector(of.name)),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ingress: Some(vec![
                rule(own, &network.allow_from, names::WORKER_PORT),
                rule(operator, &network.allow_metrics_from, names::WORKER_ADMIN_PORT),
            ]),
            // Nobody. An empty list would be rewritten by every apply: the API server does not store it.
            egress: None,
        }),
    }
}

fn rule(first: NetworkPolicyPeer, others: &[Peer], port: u16) -> NetworkPolicyIngressRule {
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

fn labelled(labels: &[(&str, &str)]) -> LabelSelector {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    LabelSelector {
        match_labels: Some(labels.collect()),
        ..LabelSelector::default()
    }
}
