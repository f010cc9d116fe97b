//! Diagnoses why workers or gateway are not ready, from their Deployment and pods: pure.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, LimitRange, Pod};

use liquid_contract::exit;

use super::refusal::explain_refusal;
use crate::api::reasons::ConditionReason as Reason;
use crate::objects::Component;

/// Longest quotation of a worker's log, in bytes.
const QUOTE: usize = 300;

/// What keeps a worker from being ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The reason of the condition WorkersReady.
    pub reason: Reason,
    /// What was seen: the words of the scheduler, the kubelet or the worker.
    pub message: String,
    /// Whether it is the model.
    pub model: bool,
}

impl Finding {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            model: false,
        }
    }
}

/// What is known of a pod besides its status.
#[derive(Clone, Copy, Debug)]
pub struct PodContext<'a> {
    /// What the pod does.
    pub component: Component,
    /// Whether the Secret with its certificate exists.
    pub certificate: bool,
    /// The GPU resource that workers ask for.
    pub gpu: Option<&'a str>,
    /// The LimitRanges of the namespace, if one of them refuses pods.
    pub limits: &'a [LimitRange],
}

/// Finds the most telling obstacle among the pods that are not ready; none if nothing speaks against waiting.
pub fn diagnose(deployment: &Deployment, pods: &[Pod], around: PodContext<'_>) -> Option<Finding> {
    if let Some(message) = find_refusal(deployment) {
        return Some(Finding::new(
            Reason::NotCreated,
            explain_refusal(message, around.limits),
        ));
    }
    let waiting = pods.iter().filter(|pod| !is_ready(pod));
    let findings = waiting.filter_map(|pod| diagnose_pod(pod, around));
    // A worker that says what is wrong is worth more than one that waits for it.
    findings.max_by_key(|finding| weight(finding.reason))
}

/// Returns the API server's words, if it refuses to create pods of the Deployment.
pub fn find_refusal(deployment: &Deployment) -> Option<&str> {
    let refused = find_condition(deployment, "ReplicaFailure").filter(|found| found.status == "True")?;
    Some(refused.message.as_deref().unwrap_or_default())
}

fn weight(reason: Reason) -> u8 {
    match reason {
        Reason::Crashing => 5,
        Reason::ImageNotPulled => 4,
        Reason::NoGpu | Reason::Unschedulable => 3,
        Reason::CertificateMissing => 2,
        _ => 1,
    }
}

/// Finds a condition of a Deployment.
pub(super) fn find_condition<'a>(deployment: &'a Deployment, name: &str) -> Option<&'a DeploymentCondition> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == name)
}

/// Returns true if the pod's own condition says that it is ready, and it is not being deleted.
pub fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && find_pod_condition(pod, "Ready").is_some_and(|(status, ..)| status == "True")
}

/// Returns status, reason and message of a pod's condition.
fn find_pod_condition<'a>(pod: &'a Pod, name: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == name)?;
    Some((
        &found.status,
        found.reason.as_deref().unwrap_or_default(),
        found.message.as_deref().unwrap_or_default(),
    ))
}

fn diagnose_pod(pod: &Pod, around: PodContext<'_>) -> Option<Finding> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    if let Some(("False", _, message)) = find_pod_condition(pod, "PodScheduled") {
        return Some(describe_unscheduled(message, around.gpu));
    }
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    let diagnose = |container| diagnose_container(container, around.component);
    if let Some(finding) = containers.flat_map(diagnose).next() {
        return Some(finding);
    }
    if let Some(("False", ..)) = find_pod_condition(pod, "PodReadyToStartContainers") {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        return Some(if around.certificate {
            let message = format!(
                "{name} waits for its volumes or network; kubectl describe pod {name} says for which"
            );
            Finding::new(Reason::VolumeNotMounted, message)
        } else {
            Finding::new(
                Reason::CertificateMissing,
                match around.component {
                    Component::Worker => format!("{name} waits for the workers' certificate"),
                    Component::Gateway => format!("{name} waits for the gateway's certificate"),
                },
            )
        });
    }
    None
}

fn describe_unscheduled(message: &str, gpu: Option<&str>) -> Finding {
    let lacks_gpu = gpu.is_some_and(|gpu| message.contains(&format!("Insufficient {gpu}")));
    let reason = if lacks_gpu {
        Reason::NoGpu
    } else {
        Reason::Unschedulable
    };
    Finding::new(reason, message)
}

fn diagnose_container(container: &ContainerStatus, component: Component) -> Option<Finding> {
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let message = waiting.message.as_deref().unwrap_or(reason);
        match reason {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull"
            | "ImageInspectError" => {
                return Some(Finding::new(Reason::ImageNotPulled, message));
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                return Some(Finding::new(Reason::Crashing, message));
            }
            _ => {}
        }
    }
    let last = container.last_state.as_ref();
    let mut ends = [Some(state), last].into_iter().flatten();
    ends.find_map(|state| state.terminated.as_ref())
        .filter(|end| end.exit_code != 0)
        .map(|end| describe_crash(end, component))
}

fn describe_crash(end: &ContainerStateTerminated, component: Component) -> Finding {
    let (who, field) = match component {
        Component::Worker => ("worker", "spec.workers"),
        Component::Gateway => ("gateway", "spec.gateway"),
    };
    let words = end.message.as_deref().map(quote_last_line).unwrap_or_default();
    let reason = end.reason.as_deref().unwrap_or("Error");
    let message = if reason == "OOMKilled" {
        format!("the {who} needed more memory than {field}.resources.limits gives it")
    } else {
        format!("the {who} ended with {} ({reason}): {words}", end.exit_code)
    };
    Finding {
        model: end.exit_code == i32::from(exit::MODEL),
        ..Finding::new(Reason::Crashing, message)
    }
}

/// Returns the last line with content, cut to a length that fits a condition.
fn quote_last_line(text: &str) -> &str {
    let line = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .trim();
    let mut end = line.len().min(QUOTE);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}
