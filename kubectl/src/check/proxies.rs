//! Proxies: are they accepted, and are the Secrets there that they name.

use kube::ResourceExt;
use liquid_operator::api::LiquidMemoryProxy;
use liquid_operator::api::reasons::{ConditionReason, ConditionType};
use liquid_operator::api::synthesis::SecretKey;

use super::finding::{Fault, Finding, ObjectName, Severity};
use crate::snapshot::Snapshot;
use crate::snapshot::namespace::NamespaceState;
use crate::snapshot::reader::Sought;

/// The kind of the resource.
pub(crate) const KIND: &str = "LiquidMemoryProxy";

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    for proxy in &snapshot.malformed {
        findings.push(Finding::new(
            Fault::ProxyMalformed,
            ObjectName::new(KIND, &proxy.namespace, &proxy.name),
            format!("its stored form cannot be read: {}", proxy.error),
            format!(
                "kubectl edit liquidmemoryproxy {} --namespace {}",
                proxy.name, proxy.namespace
            ),
        ));
    }
    for namespace in &snapshot.namespaces {
        for proxy in &namespace.proxies {
            check_accepted(proxy, &namespace.name, findings);
            let keys = proxy
                .spec
                .synthesis
                .iter()
                .flat_map(|synthesis| synthesis.list_secrets());
            for key in keys {
                findings.extend(judge_key(namespace, proxy, key));
            }
        }
    }
}

/// Finds the reason of a condition by its name; none for one of another version.
pub(super) fn reason_named(name: &str) -> Option<ConditionReason> {
    let mut all = ConditionReason::ALL.iter();
    all.find(|reason| reason.as_str() == name).copied()
}

fn check_accepted(proxy: &LiquidMemoryProxy, namespace: &str, findings: &mut Vec<Finding>) {
    let status = proxy.status.as_ref();
    let accepted = status.and_then(|status| status.condition(ConditionType::Accepted));
    let Some(accepted) = accepted.filter(|accepted| accepted.status == "False") else {
        return;
    };
    if let Some(reason) = reason_named(&accepted.reason) {
        let object = ObjectName::new(KIND, namespace, &proxy.name_any());
        findings.push(Finding::condition(
            Severity::Error,
            reason,
            object,
            &accepted.message,
        ));
    }
}

fn judge_key(namespace: &NamespaceState, proxy: &LiquidMemoryProxy, key: &SecretKey) -> Option<Finding> {
    let SecretKey { name, key } = key;
    let proxy = proxy.name_any();
    let object = ObjectName::new("Secret", &namespace.name, name);
    let create = format!(
        "kubectl create secret generic {name} --namespace {} --from-literal={key}=YOUR-KEY",
        namespace.name
    );
    match namespace.secrets.get(name)? {
        Sought::Unknown => None,
        Sought::Absent => Some(Finding::new(
            Fault::SecretMissing,
            object,
            format!(
                "it does not exist, and spec.synthesis of {KIND} {proxy} names it: new pods with a sidecar wait for it"
            ),
            create,
        )),
        Sought::Found(secret) => {
            let data = secret.data.as_ref();
            let value = data.and_then(|data| data.get(key));
            if value.is_some_and(|value| !value.0.is_empty()) {
                return None;
            }
            let others = data.into_iter().flatten().map(|(name, _)| name.as_str());
            let others: Vec<&str> = others.filter(|name| name != key).collect();
            let has = match others.is_empty() {
                true => "it has no other".to_owned(),
                false => format!("it has {}", others.join(", ")),
            };
            let state = if value.is_some() { "is empty" } else { "is missing" };
            Some(Finding::new(
                Fault::SecretKeyMissing,
                object,
                format!(
                    "its key {key} {state}, and spec.synthesis of {KIND} {proxy} names it; {has}: calls to the provider have no key"
                ),
                format!(
                    "set secretRef.key of the proxy to a key that there is, or: kubectl delete secret {name} --namespace {}; {create}",
                    namespace.name
                ),
            ))
        }
    }
}
