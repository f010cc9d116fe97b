//! The operator: is there one, does it run, does it lead.

use std::collections::BTreeSet;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::core::Selector;

use super::finding::{Fault, Finding, ObjectName};
use super::pods::describe_waiting;
use crate::snapshot::Snapshot;
use crate::snapshot::operators::{Operator, Replicas};
use crate::snapshot::reader::Sought;

/// What a Lease may be older than its duration: this machine's clock is not the operator's.
const CLOCKS: SignedDuration = SignedDuration::from_secs(60);

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    for (name, error) in &snapshot.unreadable_operators {
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        findings.push(Finding::new(
            Fault::OperatorMissing,
            ObjectName::new("Deployment", namespace, name),
            format!(
                "it has the operator's labels, and its settings cannot be read: {}",
                error.trim()
            ),
            "install the chart liquid-memory of this plugin's version again",
        ));
    }
    let Some(operators) = &snapshot.operators else {
        return;
    };
    let Some(first) = operators.first() else {
        if snapshot.unreadable_operators.is_empty() {
            findings.push(Finding::new(
                Fault::OperatorMissing,
                ObjectName::cluster("Deployment", "liquid-operator"),
                "no Deployment has the operator's labels: nothing runs workers, no pod gets a sidecar",
                "helm upgrade --install liquid-memory deploy/charts/liquid-memory --namespace liquid-memory --create-namespace",
            ));
        }
        return;
    };
    check_twice(operators, findings);
    for operator in operators {
        check_replicas(operator, findings);
        check_images(operator, findings);
    }
    check_version(first, findings);
    check_leader(snapshot, first, findings);
}

pub(super) fn name_of(operator: &Operator) -> ObjectName {
    ObjectName::new("Deployment", &operator.namespace, &operator.deployment.name_any())
}

fn check_twice(operators: &[Operator], findings: &mut Vec<Finding>) {
    let [first, others @ ..] = operators else { return };
    for other in others {
        findings.push(Finding::new(
            Fault::OperatorTwice,
            name_of(other),
            format!(
                "it runs {} beside {} with {}: both write every proxy's objects and inject into the same pods",
                other.image(),
                name_of(first),
                first.image()
            ),
            "helm list --all-namespaces; helm uninstall the release that is too much",
        ));
    }
}

fn check_replicas(operator: &Operator, findings: &mut Vec<Finding>) {
    let Replicas { wanted, ready } = operator.replicas();
    if wanted > 0 && ready >= wanted {
        return;
    }
    let name = operator.deployment.name_any();
    let namespace = &operator.namespace;
    if wanted == 0 {
        findings.push(Finding::new(
            Fault::OperatorNotReady,
            name_of(operator),
            "spec.replicas is 0: nothing reconciles, and opted-in pods cannot be created where failurePolicy is Fail",
            format!("kubectl scale deployment/{name} --namespace {namespace} --replicas=2"),
        ));
        return;
    }
    let why = operator.pods.iter().find_map(describe_waiting);
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let finding = Finding::new(
        Fault::OperatorNotReady,
        name_of(operator),
        format!("{ready} of {wanted} replicas are ready{why}"),
        format!(
            "kubectl describe pods --namespace {namespace} --selector {}",
            selector(operator)
        ),
    );
    // One that is ready does all of the work.
    findings.push(if ready > 0 { finding.lowered() } else { finding });
}

/// Returns the labels of an operator's pods as an option of kubectl.
pub(super) fn selector(operator: &Operator) -> String {
    let spec = operator.deployment.spec.as_ref();
    let labels = spec.and_then(|spec| spec.selector.match_labels.clone());
    let selector: Selector = labels.into_iter().flatten().collect();
    selector.to_string()
}

/// Returns the command that shows an operator's log.
pub(super) fn show_log(operator: &Operator) -> String {
    format!(
        "kubectl logs --namespace {} --selector {} --tail=50",
        operator.namespace,
        selector(operator)
    )
}

fn check_images(operator: &Operator, findings: &mut Vec<Finding>) {
    let running = operator
        .pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let images: BTreeSet<&str> = running
        .filter_map(|pod| pod.spec.as_ref()?.containers.first()?.image.as_deref())
        .collect();
    // A rollout that is under way has two; its own progress is what is not ready.
    let Replicas { wanted, ready } = operator.replicas();
    if images.len() > 1 && ready >= wanted {
        findings.push(Finding::new(
            Fault::OperatorVersions,
            name_of(operator),
            format!(
                "its replicas run {}",
                images.into_iter().collect::<Vec<_>>().join(" and ")
            ),
            format!(
                "kubectl rollout status deployment/{} --namespace {}",
                operator.deployment.name_any(),
                operator.namespace
            ),
        ));
    }
}

fn check_version(operator: &Operator, findings: &mut Vec<Finding>) {
    let own = env!("CARGO_PKG_VERSION");
    if let Some(version) = operator.version().filter(|version| *version != own) {
        findings.push(Finding::new(
            Fault::PluginVersion,
            name_of(operator),
            format!("it is of version {version}, this plugin of {own}: some findings may be wrong"),
            format!("use the plugin of version {version}"),
        ));
    }
}

fn check_leader(snapshot: &Snapshot, operator: &Operator, findings: &mut Vec<Finding>) {
    let ready = operator.replicas().ready > 0;
    let name = &operator.settings.lease_name;
    let object = ObjectName::new("Lease", &operator.namespace, name);
    let why = match &snapshot.installation.lease {
        Sought::Unknown => return,
        Sought::Absent => "it does not exist".to_owned(),
        Sought::Found(lease) => {
            let spec = lease.spec.as_ref();
            let holder = spec
                .and_then(|spec| spec.holder_identity.as_deref())
                .unwrap_or_default();
            let renewed = spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
            let duration = spec
                .and_then(|spec| spec.lease_duration_seconds)
                .unwrap_or_default();
            let age = overdue(snapshot.now, renewed, duration);
            match (holder, age) {
                ("", _) => "no one holds it".to_owned(),
                (_, Some(age)) => format!("{holder} holds it and has not renewed it for {age} s"),
                (_, None) => return,
            }
        }
    };
    // That it does not run at all has been said.
    if ready {
        findings.push(Finding::new(
            Fault::NoLeader,
            object,
            format!("{why}: proxies are not reconciled and certificates not renewed"),
            show_log(operator),
        ));
    }
}

/// Returns the age of a Lease in seconds, if it has run out.
fn overdue(now: Timestamp, renewed: Option<Timestamp>, duration: i32) -> Option<i64> {
    let age = now.duration_since(renewed?);
    let limit = SignedDuration::from_secs(duration.into()) + CLOCKS;
    (age > limit).then(|| age.as_secs())
}
