//! Rules on snapshots that are made by hand. What a cluster can show is in `tests/cluster/src/cases/plugin`; here is what
//! takes time, clocks or rights that a test cannot have there.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use liquid_operator::names::{INJECT_LABEL, gateway_tls, interception_tls, sidecar_tls, worker_tls};
use liquid_operator::pki::{Authorities, Authority, Profile, Purpose, Times};
use serde_json::{Value, json};

use super::finding::{Fault, Finding, Severity};
use super::inspect;
use crate::snapshot::Snapshot;
use crate::snapshot::namespace::NamespaceState;
use crate::snapshot::operators::Operator;
use crate::snapshot::reader::{Gap, Sought};

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn operator(version: &str) -> Operator {
    let deployment = json!({
        "metadata": {"name": "liquid-operator", "namespace": "system", "labels": {"app.kubernetes.io/version": version}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "op"}}, "template": {"spec": {
            "serviceAccountName": "liquid-operator",
            "containers": [{"name": "operator", "image": format!("op:{version}"), "env": [
                {"name": "LIQUID_OPERATOR_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                {"name": "LIQUID_OPERATOR_SIDECAR_IMAGE", "value": "sidecar:1"},
                {"name": "LIQUID_OPERATOR_WORKER_IMAGE", "value": "worker:1"},
                {"name": "LIQUID_OPERATOR_WEBHOOK_NAME", "value": "system-liquid-operator"},
                {"name": "LIQUID_OPERATOR_IMAGE_PULL_SECRETS", "value": "one,two"},
            ]}],
        }}},
        "status": {"readyReplicas": 2},
    });
    Operator::read(object(deployment)).unwrap()
}

fn times() -> Times {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    Times {
        ca: hours(300),
        leaf: hours(24),
        propagation: hours(1),
    }
}

fn now() -> Timestamp {
    "2026-11-30T12:00:00Z".parse().unwrap()
}

fn tls(authority: &Authority, profile: &Profile, bundle: &str, made: Timestamp) -> Sought<Secret> {
    let leaf = authority.issue(profile, made, times().leaf).unwrap();
    Sought::Found(Secret {
        data: Some(leaf.to_data(bundle)),
        ..Secret::default()
    })
}

/// A namespace with a proxy, its certificates and a pod with the sidecar.
fn namespace(authority: &Authority, made: Timestamp) -> NamespaceState {
    let mut state = NamespaceState::named(
        "shop",
        Some([(INJECT_LABEL.to_owned(), "enabled".to_owned())].into()),
    );
    state.proxies = vec![object(json!({
        "apiVersion": "liquidmemory.dev/v1alpha1", "kind": "LiquidMemoryProxy",
        "metadata": {"name": "proxy", "namespace": "shop"}, "spec": {},
    }))];
    let bundle = authority.certificate();
    let worker = Profile::worker("shop", "proxy", "cluster.local");
    let sidecar = Profile::sidecar("shop", "proxy");
    state.secrets = [
        (worker_tls("proxy"), tls(authority, &worker, bundle, made)),
        (sidecar_tls("proxy"), tls(authority, &sidecar, bundle, made)),
    ]
    .into();
    state.pods = Some(vec![injected(json!([]))]);
    state
}

/// A pod with the sidecar; its container has these variables besides.
fn injected(more: Value) -> Pod {
    let mut env = vec![
        json!({"name": "OPENAI_BASE_URL", "value": "http://127.0.0.1:8787/v1"}),
        json!({"name": "OPENAI_API_BASE", "value": "http://127.0.0.1:8787/v1"}),
        json!({"name": "ANTHROPIC_BASE_URL", "value": "http://127.0.0.1:8787"}),
        json!({"name": "NO_PROXY", "value": "127.0.0.1,localhost"}),
    ];
    env.extend(more.as_array().cloned().unwrap());
    let listen = json!({"name": "LIQUID_SIDECAR__LISTEN__ADDRESS", "value": "127.0.0.1:8787"});
    object(json!({
        "metadata": {
            "name": "web", "namespace": "shop", "labels": {"app": "web"},
            "annotations": {"liquidmemory.dev/injected": "proxy"},
        },
        "spec": {
            "initContainers": [{"name": "liquid-sidecar", "image": "sidecar:1", "restartPolicy": "Always", "env": [listen]}],
            "containers": [{"name": "main", "image": "app:1", "env": env}],
        },
        "status": {"phase": "Running"},
    }))
}

/// An installation that is well.
fn healthy() -> Snapshot {
    let authorities = Authorities::generate(now(), &times()).unwrap();
    let entry = |name: &str| {
        json!({
            "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
            "clientConfig": {
                "service": {"namespace": "system", "name": "liquid-operator"},
                "caBundle": ByteString(authorities.bundle().into_bytes()),
            },
            "namespaceSelector": {"matchLabels": {INJECT_LABEL: "enabled"}},
            "objectSelector": {"matchExpressions": [{"key": INJECT_LABEL, "operator": "NotIn", "values": ["disabled"]}]},
        })
    };
    let mut snapshot = Snapshot {
        now: now(),
        proxies_known: true,
        operators: Some(vec![operator(env!("CARGO_PKG_VERSION"))]),
        namespaces: vec![namespace(&authorities.current, now())],
        ..Snapshot::default()
    };
    let installation = &mut snapshot.installation;
    installation.webhook = Sought::Found(object(json!({
        "metadata": {"name": "system-liquid-operator"}, "webhooks": [entry("namespaces.x.y"), entry("pods.x.y")],
    })));
    installation.endpoints = Some(vec![object(json!({
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}],
    }))]);
    installation.authority = Sought::Found(authorities.to_secret("system", None));
    installation.lease = lease("liquid-operator-1", now());
    snapshot
}

fn lease(holder: &str, renewed: Timestamp) -> Sought<k8s_openapi::api::coordination::v1::Lease> {
    Sought::Found(object(json!({"spec": {
        "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": format!("{renewed:.6}"),
    }})))
}

fn after(hours: i64) -> Timestamp {
    now().checked_add(SignedDuration::from_hours(hours)).unwrap()
}

/// What is found after a change of what is well.
fn found(change: impl FnOnce(&mut Snapshot)) -> Vec<Finding> {
    let mut snapshot = healthy();
    change(&mut snapshot);
    inspect(snapshot).findings
}

fn names(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.fault).collect()
}

#[test]
fn nothing_is_said_of_what_is_well() {
    assert_eq!(found(|_| {}), []);
}

#[test]
fn settings_of_an_operator_are_those_of_its_containers_variables() {
    let settings = operator("1").settings;
    assert_eq!(settings.namespace, "system");
    assert_eq!(settings.image_pull_secrets, ["one", "two"]);
    assert_eq!(settings.sidecar_defaults().image, "sidecar:1");
    let mut deployment = operator("1").deployment;
    let pod = deployment.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
    pod.containers[0].env = None;
    let error = Operator::read(deployment).unwrap_err();
    assert!(error.contains("--sidecar-image"), "{error}");
}

#[test]
fn a_lease_is_lost_once_it_is_older_than_clocks_may_differ() {
    assert_eq!(
        found(|snapshot| snapshot.installation.lease = lease("a", after(-1)))[0].fault,
        "NoLeader"
    );
    let minute = now().checked_sub(SignedDuration::from_secs(60)).unwrap();
    assert_eq!(
        found(|snapshot| snapshot.installation.lease = lease("a", minute)),
        []
    );
    let empty = found(|snapshot| snapshot.installation.lease = lease("", now()));
    assert!(empty[0].message.contains("no one holds it"), "{empty:?}");
    assert_eq!(
        found(|snapshot| snapshot.installation.lease = Sought::Absent)[0].fault,
        "NoLeader"
    );
}

#[test]
fn certificates_are_said_when_they_should_have_been_renewed_and_when_they_expire() {
    let at = |hours| {
        let mut findings = found(|snapshot| {
            snapshot.now = after(hours);
            snapshot.installation.lease = lease("a", after(hours));
        });
        findings.retain(|finding| finding.object.name == worker_tls("proxy"));
        names(&findings)
    };
    assert!(
        at(17).is_empty(),
        "renewed at 16 hours, and looked at every minute"
    );
    assert_eq!(at(21), ["CertificateNearEnd"]);
    assert_eq!(at(25), ["CertificateExpired"]);
    let all = found(|snapshot| {
        snapshot.now = after(301);
        snapshot.installation.lease = lease("a", after(301));
    });
    for fault in ["WebhookBundle", "CertificateExpired"] {
        assert!(names(&all).contains(&fault), "{fault}: {all:?}");
    }
}

#[test]
fn certificates_for_interception_are_looked_at_where_a_proxy_offers_it() {
    let authorities = Authorities::generate_for(Purpose::Interception, now(), &times()).unwrap();
    let with = |leaf: Sought<Secret>| {
        found(|snapshot| {
            let namespace = &mut snapshot.namespaces[0];
            namespace.proxies[0].spec.injection.tls_interception = Some(Default::default());
            namespace.secrets.insert(interception_tls("proxy"), leaf);
            snapshot.installation.interception = Sought::Found(authorities.to_secret("system", None));
        })
    };
    let (profile, bundle) = (Profile::interception(), authorities.bundle());
    let leaf = tls(&authorities.current, &profile, &bundle, now());
    assert_eq!(names(&with(leaf)), Vec::<&str>::new());
    assert_eq!(names(&with(Sought::Absent)), ["CertificateMissing"]);
    let absent = found(|snapshot| snapshot.installation.interception = Sought::Absent);
    assert_eq!(names(&absent), ["AuthorityMissing"]);
}

#[test]
fn a_gateways_certificate_is_looked_at_where_the_operator_makes_it() {
    let with = |tls: Value, made: Option<Timestamp>| {
        let authority = Authorities::generate(now(), &times()).unwrap();
        let profile = Profile::gateway("shop", "proxy", "cluster.local");
        let bundle = authority.bundle();
        let leaf = made.map_or(Sought::Absent, |made| {
            self::tls(&authority.current, &profile, &bundle, made)
        });
        let mut findings = found(|snapshot| {
            let namespace = &mut snapshot.namespaces[0];
            namespace.proxies[0].spec.gateway =
                Some(object(json!({"clients": {"tokenSecret": "clients"}, "tls": tls})));
            namespace.secrets.insert(gateway_tls("proxy"), leaf);
        });
        findings.retain(|finding| finding.object.name == gateway_tls("proxy"));
        names(&findings)
    };
    let own = || json!({"enabled": true});
    assert!(with(own(), Some(now())).is_empty());
    assert_eq!(with(own(), Some(after(-25))), ["CertificateExpired"]);
    assert_eq!(with(own(), None), ["CertificateMissing"]);
    assert!(with(json!({"enabled": true, "secretName": "named"}), None).is_empty());
}

#[test]
fn a_bundle_of_another_authority_is_found() {
    let other = Authorities::generate(now(), &times()).unwrap();
    let findings =
        found(|snapshot| snapshot.installation.authority = Sought::Found(other.to_secret("system", None)));
    assert_eq!(names(&findings), ["WebhookBundle"]);
    let findings = found(|snapshot| {
        let bundle = other.bundle();
        let sidecar = Profile::sidecar("shop", "proxy");
        let secret = tls(&other.current, &sidecar, &bundle, now());
        snapshot.namespaces[0]
            .secrets
            .insert(sidecar_tls("proxy"), secret);
    });
    assert_eq!(names(&findings), ["CertificatesDisagree", "CertificatesDisagree"]);
}

#[test]
fn versions_that_differ_are_warnings() {
    let findings = found(|snapshot| snapshot.operators = Some(vec![operator("0.0.9")]));
    assert_eq!(
        (names(&findings), findings[0].severity),
        (vec!["PluginVersion"], Severity::Warning)
    );
    let findings = found(|snapshot| {
        let pod = |image: &str| object(json!({"spec": {"containers": [{"name": "o", "image": image}]}}));
        snapshot.operators.as_mut().unwrap()[0].pods = vec![pod("op:1"), pod("op:2")];
    });
    assert_eq!(names(&findings), ["OperatorVersions"]);
}

#[test]
fn a_webhook_that_calls_another_service_is_found() {
    let findings = found(|snapshot| {
        let Sought::Found(webhook) = &mut snapshot.installation.webhook else {
            unreachable!()
        };
        let first = &mut webhook.webhooks.as_mut().unwrap()[0];
        first.client_config.service.as_mut().unwrap().name = "old-operator".into();
    });
    assert_eq!(names(&findings), ["WebhookMisdirected"]);
    assert!(
        findings[0].message.contains("system/old-operator"),
        "{findings:?}"
    );
}

#[test]
fn what_may_not_be_read_is_no_fault() {
    let snapshot = Snapshot {
        now: now(),
        gaps: vec![Gap {
            what: "liquidmemoryproxies".into(),
            why: "you may not".into(),
        }],
        namespaces: vec![NamespaceState::named(
            "shop",
            Some([(INJECT_LABEL.to_owned(), "enabled".to_owned())].into()),
        )],
        ..Snapshot::default()
    };
    let report = inspect(snapshot);
    assert_eq!((report.findings, report.not_checked.len()), (Vec::new(), 1));
}

#[test]
fn a_pod_whose_proxy_is_deleted_and_one_that_leads_elsewhere_are_found() {
    let findings = found(|snapshot| {
        snapshot.namespaces[0].proxies[0].metadata.name = Some("other".into());
        snapshot.namespaces[0].secrets.clear();
    });
    assert_eq!(names(&findings), ["ProxyDeleted"]);
    let findings = found(|snapshot| {
        let astray = json!([{"name": "OPENAI_BASE_URL", "value": "http://127.0.0.1:8788/v1"}]);
        snapshot.namespaces[0].pods = Some(vec![injected(astray)]);
    });
    assert_eq!(names(&findings), ["BaseUrlElsewhere"]);
    let findings = found(|snapshot| {
        let right = json!([{"name": "OPENAI_BASE_URL", "value": "http://localhost:8787/v1"}]);
        snapshot.namespaces[0].pods = Some(vec![injected(right)]);
    });
    assert_eq!(findings, []);
}

#[test]
fn a_gateway_needs_no_pod_that_opts_in_and_is_said_when_it_is_not_ready() {
    let with_gateway = |snapshot: &mut Snapshot, status: &str, reason: &str| {
        let namespace = &mut snapshot.namespaces[0];
        namespace.labels = Some(BTreeMap::new());
        namespace.pods = Some(Vec::new());
        let mut proxy = serde_json::to_value(&namespace.proxies[0]).unwrap();
        proxy["spec"]["gateway"] = json!({"clients": {"tokenSecret": "clients"}});
        proxy["status"]["conditions"] = json!([{
            "type": "GatewayReady", "status": status, "reason": reason, "message": "0 of 2 pods are ready",
            "lastTransitionTime": "2026-11-30T11:00:00Z",
        }]);
        namespace.proxies = vec![object(proxy)];
    };
    assert_eq!(found(|snapshot| with_gateway(snapshot, "True", "AsExpected")), []);
    assert_eq!(found(|snapshot| with_gateway(snapshot, "False", "Starting")), []);
    let findings = found(|snapshot| with_gateway(snapshot, "False", "ImageNotPulled"));
    assert_eq!(names(&findings), ["ImageNotPulled"]);
    assert!(
        findings[0].message.starts_with("its gateway: 0 of 2"),
        "{findings:?}"
    );
}

#[test]
fn policies_add_up() {
    let policy = |rules: Value| {
        object(json!({
            "metadata": {"name": "tight"},
            "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"], "egress": rules},
        }))
    };
    let of = |policies: Vec<Value>| {
        let findings = found(|snapshot| {
            snapshot.namespaces[0].policies = Some(policies.into_iter().map(policy).collect());
        });
        names(&findings)
    };
    assert_eq!(
        of(vec![json!([])]),
        ["PolicyBlocksWorkers", "PolicyBlocksProvider"]
    );
    let workers = json!([{"to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/component": "worker"}}}], "ports": [{"port": 50051}]}]);
    let outside =
        json!([{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": [{"port": 400, "endPort": 500}]}]);
    assert_eq!(of(vec![workers.clone()]), ["PolicyBlocksProvider"]);
    assert_eq!(of(vec![outside.clone()]), ["PolicyBlocksWorkers"]);
    assert!(of(vec![workers, outside]).is_empty());
    assert!(of(vec![json!([{}])]).is_empty(), "a rule without a limit");
    let others = json!([{"to": [{"namespaceSelector": {"matchLabels": {"team": "x"}}}]}, {"ports": [{"port": 443, "protocol": "UDP"}]}]);
    assert_eq!(of(vec![others]), ["PolicyBlocksWorkers", "PolicyBlocksProvider"]);
}

/// The table of the page is that of the faults.
#[test]
fn the_page_lists_every_fault() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let rows = Fault::ALL.iter().map(|fault| {
        format!(
            "| `{}` | {} | {} |\n",
            fault.name(),
            fault.severity().word().to_lowercase(),
            fault.meaning()
        )
    });
    let table = format!(
        "| fault | | meaning |\n|---|---|---|\n{}",
        rows.collect::<String>()
    );
    assert!(
        page.contains(&table),
        "write this table into kubectl/README.md:\n{table}"
    );
}
