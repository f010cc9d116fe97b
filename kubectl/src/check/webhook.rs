//! The webhook: is it called, does someone answer, can the API server trust the answer.

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use kube::ResourceExt;
use liquid_operator::pki::{Authorities, Facts, bundle};

use super::authority::split_certificates;
use super::finding::{Fault, Finding, ObjectName};
use super::installation::{selector, show_log};
use crate::snapshot::Snapshot;
use crate::snapshot::operators::Operator;
use crate::snapshot::reader::Sought;

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let Some(operator) = snapshot.operator() else {
        return;
    };
    let name = &operator.settings.webhook_name;
    let object = ObjectName::cluster("MutatingWebhookConfiguration", name);
    let webhook = match &snapshot.installation.webhook {
        Sought::Unknown => return,
        Sought::Absent => {
            findings.push(Finding::new(
                Fault::WebhookMissing,
                object,
                "it does not exist: the API server asks no one, and no new pod gets a sidecar",
                install_again(operator),
            ));
            return;
        }
        Sought::Found(webhook) => webhook,
    };
    for entry in webhook.webhooks.iter().flatten() {
        check_target(entry, operator, &object, findings);
    }
    check_endpoints(snapshot, operator, webhook, findings);
    check_bundle(snapshot, operator, webhook, findings);
}

/// Returns the command that makes the release as its chart has it.
fn install_again(operator: &Operator) -> String {
    format!(
        "helm upgrade liquid-memory deploy/charts/liquid-memory --namespace {} --reuse-values",
        operator.namespace
    )
}

fn check_target(
    entry: &MutatingWebhook,
    operator: &Operator,
    object: &ObjectName,
    findings: &mut Vec<Finding>,
) {
    let service = entry.client_config.service.as_ref();
    let seen = service.map(|service| format!("{}/{}", service.namespace, service.name));
    let wanted = format!("{}/{}", operator.namespace, operator.settings.webhook_service);
    if seen.as_deref() != Some(&wanted) {
        findings.push(Finding::new(
            Fault::WebhookMisdirected,
            object.clone(),
            format!(
                "its entry {} calls {}, and the operator is behind Service {wanted}",
                entry.name,
                seen.unwrap_or_else(|| entry.client_config.url.clone().unwrap_or_default())
            ),
            install_again(operator),
        ));
    }
}

fn check_endpoints(
    snapshot: &Snapshot,
    operator: &Operator,
    webhook: &MutatingWebhookConfiguration,
    findings: &mut Vec<Finding>,
) {
    let Some(slices) = &snapshot.installation.endpoints else {
        return;
    };
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    let ready = endpoints.filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    if ready.count() > 0 {
        return;
    }
    findings.push(Finding::new(
        Fault::WebhookWithoutEndpoints,
        ObjectName::new("Service", &operator.namespace, &operator.settings.webhook_service),
        format!("no ready pod is behind it: {}", describe_policy(webhook)),
        format!(
            "kubectl get pods --namespace {} --selector {}",
            operator.namespace,
            selector(operator)
        ),
    ));
}

/// Says what becomes of opted-in pods while no operator answers.
pub(super) fn describe_policy(webhook: &MutatingWebhookConfiguration) -> &'static str {
    let mut entries = webhook.webhooks.iter().flatten();
    if entries.any(|entry| entry.failure_policy.as_deref() == Some("Ignore")) {
        "with failurePolicy Ignore, opted-in pods are created without a sidecar meanwhile, and their documents leave whole"
    } else {
        "with failurePolicy Fail, opted-in pods cannot be created meanwhile"
    }
}

fn check_bundle(
    snapshot: &Snapshot,
    operator: &Operator,
    webhook: &MutatingWebhookConfiguration,
    findings: &mut Vec<Finding>,
) {
    let authorities = snapshot.installation.authority.found();
    let authorities = authorities.and_then(|secret| Authorities::read(secret).ok());
    let why = webhook.webhooks.iter().flatten().find_map(|entry| {
        let why = judge_bundle(snapshot, entry)?;
        Some(format!("its entry {} {why}", entry.name))
    });
    let why = why.or_else(|| {
        let authorities = authorities?;
        let wrong = bundle::build_repair(webhook, &authorities.bundle()).is_some();
        wrong.then(|| {
            "its bundle is not that of the authority which signs the operator's certificate".to_owned()
        })
    });
    if let Some(why) = why {
        findings.push(Finding::new(
            Fault::WebhookBundle,
            ObjectName::cluster("MutatingWebhookConfiguration", &webhook.name_any()),
            format!(
                "{why}: the API server refuses the operator's answers; {}",
                describe_policy(webhook)
            ),
            format!(
                "the leading operator repairs it within seconds; see why it does not: {}",
                show_log(operator)
            ),
        ));
    }
}

/// Returns what is wrong with an entry's bundle by itself.
fn judge_bundle(snapshot: &Snapshot, entry: &MutatingWebhook) -> Option<String> {
    let bundle = entry
        .client_config
        .ca_bundle
        .as_ref()
        .map(|bundle| bundle.0.as_slice())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(bundle);
    let certificates = split_certificates(&text);
    if certificates.is_empty() {
        return Some("has no bundle of authorities".into());
    }
    let facts = certificates
        .iter()
        .map(|pem| Facts::from_pem("certificate authority", pem));
    let facts: Vec<Facts> = match facts.collect() {
        Ok(facts) => facts,
        Err(error) => return Some(format!("has a bundle that cannot be read: {error}")),
    };
    let last = facts.iter().map(|facts| facts.not_after).max()?;
    (last < snapshot.now).then(|| format!("has authorities that have all expired, the last at {last}"))
}
