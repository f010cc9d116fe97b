//! Who the workers' NetworkPolicy lets in. Evaluated here as the API defines it, because not every network
//! enforces policies.

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::build;

type Labels<'a> = &'a [(&'a str, &'a str)];

/// A pod that connects.
#[derive(Clone, Copy)]
struct Client<'a> {
    /// In the workers' own namespace.
    own: bool,
    namespace: Labels<'a>,
    pod: Labels<'a>,
}

fn selects(selector: &LabelSelector, labels: Labels<'_>) -> bool {
    assert!(selector.match_expressions.is_none(), "not evaluated here");
    let mut wanted = selector.match_labels.iter().flatten();
    wanted.all(|(name, value)| labels.contains(&(name, value)))
}

/// Both selectors of a peer have to match; without one for namespaces the policy's own is meant.
fn is(peer: &NetworkPolicyPeer, client: Client<'_>) -> bool {
    assert!(peer.ip_block.is_none(), "not evaluated here");
    let namespace = peer.namespace_selector.as_ref();
    let pod = peer.pod_selector.as_ref();
    namespace.map_or(client.own, |selector| selects(selector, client.namespace))
        && pod.is_none_or(|selector| selects(selector, client.pod))
}

fn opens(port: &NetworkPolicyPort, number: i32) -> bool {
    assert_eq!(port.protocol.as_deref(), Some("TCP"));
    port.port == Some(IntOrString::Int(number)) && port.end_port.is_none()
}

/// One rule has to match in both; a rule without peers or ports matches all.
fn lets_in(policy: &NetworkPolicy, client: Client<'_>, port: i32) -> bool {
    let spec = policy.spec.as_ref().unwrap();
    let mut rules = spec.ingress.iter().flatten();
    rules.any(|rule| {
        let from = rule.from.as_deref().unwrap_or_default();
        let ports = rule.ports.as_deref().unwrap_or_default();
        (from.is_empty() || from.iter().any(|peer| is(peer, client)))
            && (ports.is_empty() || ports.iter().any(|open| opens(open, port)))
    })
}

/// Which of the workers' ports a client reaches: gRPC, metrics and probes, any other.
fn reaches(spec: Value, client: Client<'_>) -> [bool; 3] {
    let policy = build(spec).network.unwrap();
    [50_051, 9_464, 22].map(|port| lets_in(&policy, client, port))
}

const SYSTEM: Labels<'_> = &[("kubernetes.io/metadata.name", "liquid-memory")];
const OPERATOR: Labels<'_> = &[
    ("app.kubernetes.io/name", "liquid-memory"),
    ("app.kubernetes.io/component", "operator"),
    ("app.kubernetes.io/instance", "any"),
];
const OTHERS: Labels<'_> = &[("kubernetes.io/metadata.name", "others"), ("team", "search")];

fn client<'a>(own: bool, namespace: Labels<'a>, pod: Labels<'a>) -> Client<'a> {
    Client { own, namespace, pod }
}

#[test]
fn by_itself_the_own_namespace_asks_and_the_operator_reads_figures() {
    let reaches = |client| reaches(json!({}), client);
    assert_eq!(
        reaches(client(true, &[("kubernetes.io/metadata.name", "legal")], &[])),
        [true, false, false]
    );
    assert_eq!(reaches(client(false, SYSTEM, OPERATOR)), [false, true, false]);
    // Neither half of what makes it the operator is enough.
    for stranger in [
        client(false, SYSTEM, &[]),
        client(false, OTHERS, OPERATOR),
        client(false, OTHERS, &[]),
        client(false, &[], &[]),
    ] {
        assert_eq!(reaches(stranger), [false; 3]);
    }
}

#[test]
fn others_are_let_in_where_the_resource_names_them() {
    let spec = json!({ "network": {
        "allowFrom": [{ "namespaceSelector": { "matchLabels": { "team": "search" } } }],
        "allowMetricsFrom": [
            { "namespaceSelector": {}, "podSelector": { "matchLabels": { "app": "prometheus" } } },
        ],
    } });
    let reaches = |client| reaches(spec.clone(), client);
    assert_eq!(reaches(client(false, OTHERS, &[])), [true, false, false]);
    assert_eq!(
        reaches(client(false, &[], &[("app", "prometheus")])),
        [false, true, false]
    );
    assert_eq!(reaches(client(false, &[], &[])), [false; 3]);
}

/// A policy that names egress and has no rule for it lets nothing out.
#[test]
fn workers_reach_nobody() {
    let spec = build(json!({})).network.unwrap().spec.unwrap();
    assert_eq!(spec.policy_types, Some(vec!["Ingress".into(), "Egress".into()]));
    assert!(spec.egress.is_none_or(|rules| rules.is_empty()));
    let selector = spec.pod_selector.unwrap().match_labels.unwrap();
    let pod = build(json!({}))
        .deployment
        .spec
        .unwrap()
        .template
        .metadata
        .unwrap();
    let labels = pod.labels.unwrap();
    assert!(
        selector
            .iter()
            .all(|(name, value)| labels.get(name) == Some(value))
    );
}
