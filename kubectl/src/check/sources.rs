//! Workers and their models: the claims that hold them, and what keeps workers from being ready.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use liquid_operator::api::LiquidMemoryProxy;
use liquid_operator::api::reasons::{ConditionReason, ConditionType};
use liquid_operator::controller::{self, PodContext};
use liquid_operator::names::{worker_tls, workers};
use liquid_operator::objects::Component;

use super::finding::{Fault, Finding, ObjectName, Severity};
use super::proxies::{KIND, reason_named};
use crate::snapshot::Snapshot;
use crate::snapshot::namespace::{NamespaceState, list_claims};
use crate::snapshot::reader::Sought;

/// Reasons that pass by themselves, or that somebody wants so.
const PASSING: [ConditionReason; 5] = [
    ConditionReason::AsExpected,
    ConditionReason::Starting,
    ConditionReason::RollingOut,
    ConditionReason::Loading,
    // Said by itself, with the Secret.
    ConditionReason::CertificateMissing,
];

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    for namespace in &snapshot.namespaces {
        for proxy in &namespace.proxies {
            let before = findings.len();
            // A volume may wait for its first pod.
            for claim in list_claims(proxy).filter(|_| proxy.spec.workers.replicas > 0) {
                findings.extend(judge_claim(namespace, proxy, &claim.claim_name));
            }
            let claims_are_well = findings.len() == before;
            findings.extend(judge_gateway(namespace, proxy));
            findings
                .extend(judge_workers(namespace, proxy).filter(|finding| claims_are_well || !waits(finding)));
        }
    }
}

/// Finds what keeps a proxy's gateway from being ready, as the operator has said it.
fn judge_gateway(namespace: &NamespaceState, proxy: &LiquidMemoryProxy) -> Option<Finding> {
    let condition = proxy.status.as_ref()?.condition(ConditionType::GatewayReady)?;
    let reason = reason_named(&condition.reason)?;
    let wrong = proxy.spec.gateway.is_some() && condition.status == "False" && !PASSING.contains(&reason);
    let object = ObjectName::new(KIND, &namespace.name, &proxy.name_any());
    wrong.then(|| {
        Finding::condition(
            Severity::Error,
            reason,
            object,
            format!("its gateway: {}", condition.message),
        )
    })
}

/// Returns whether workers wait for a volume, which a claim's own finding explains.
fn waits(finding: &Finding) -> bool {
    [ConditionReason::Unschedulable, ConditionReason::VolumeNotMounted]
        .iter()
        .any(|reason| reason.as_str() == finding.fault)
}

fn judge_claim(namespace: &NamespaceState, proxy: &LiquidMemoryProxy, name: &str) -> Option<Finding> {
    let object = ObjectName::new("PersistentVolumeClaim", &namespace.name, name);
    let proxy = proxy.name_any();
    match namespace.claims.get(name)? {
        Sought::Unknown => None,
        Sought::Absent => Some(Finding::new(
            Fault::ClaimMissing,
            object,
            format!("it does not exist, and {KIND} {proxy} has its model in it: workers cannot start"),
            "create the claim and put the model into it, or correct spec.model.source.persistentVolumeClaim.claimName",
        )),
        Sought::Found(claim) => judge_phase(claim, object, namespace),
    }
}

fn judge_phase(
    claim: &PersistentVolumeClaim,
    object: ObjectName,
    namespace: &NamespaceState,
) -> Option<Finding> {
    let phase = claim
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending");
    if phase == "Bound" {
        return None;
    }
    let class = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.storage_class_name.as_deref());
    let class = match class {
        Some("") | None => "no storageClassName, and no default class has served it".to_owned(),
        Some(class) => format!("storageClassName {class}"),
    };
    Some(Finding::new(
        Fault::ClaimPending,
        object,
        format!("its phase is {phase}, with {class}: workers wait for the volume"),
        format!(
            "kubectl get storageclass; kubectl describe persistentvolumeclaim {} --namespace {}",
            claim.name_any(),
            namespace.name
        ),
    ))
}

/// Finds what keeps a proxy's workers from being ready: from their pods, where these may be read, else as the operator
/// has said it.
fn judge_workers(namespace: &NamespaceState, proxy: &LiquidMemoryProxy) -> Option<Finding> {
    let name = proxy.name_any();
    let object = ObjectName::new(KIND, &namespace.name, &name);
    let spec = &proxy.spec.workers;
    if spec.replicas == 0 {
        let message = "spec.workers.replicas is 0: documents are not replaced, and calls do what policy.onWorkerUnavailable says";
        let finding = Finding::condition(Severity::Warning, ConditionReason::ScaledToZero, object, message);
        return Some(finding);
    }
    let ready = proxy.status.as_ref().map_or(0, |status| status.ready_replicas);
    let severity = if ready > 0 {
        Severity::Warning
    } else {
        Severity::Error
    };
    let deployment = namespace.deployment(&workers(&name));
    if let (Some(deployment), Some(_)) = (deployment, &namespace.pods) {
        let pods: Vec<_> = namespace.workers(&name).cloned().collect();
        let certificate = !matches!(namespace.secrets.get(&worker_tls(&name)), Some(Sought::Absent));
        let context = PodContext {
            component: Component::Worker,
            certificate,
            gpu: spec.gpu.as_ref().map(|gpu| gpu.resource_name.as_str()),
            limits: &namespace.limits,
        };
        let found = controller::diagnose(deployment, &pods, context)?;
        let reason = if found.model {
            ConditionReason::LoadFailed
        } else {
            found.reason
        };
        return (!PASSING.contains(&reason))
            .then(|| Finding::condition(severity, reason, object, found.message));
    }
    let status = proxy.status.as_ref()?;
    let workers = status.condition(ConditionType::WorkersReady)?;
    let reason = reason_named(&workers.reason)?;
    let wrong = workers.status == "False" && !PASSING.contains(&reason);
    wrong.then(|| Finding::condition(severity, reason, object, &workers.message))
}
