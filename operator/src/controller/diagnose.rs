//! Why workers are not ready: a pure reading of their Deployment and pods.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};

use crate::api::reasons::ConditionReason as Reason;

/// The worker's exit codes for a model that it cannot load; see `worker/src/cli.rs`.
const EXIT_MODEL: i32 = 66;
/// Longest quotation of a worker's last words, in bytes.
const QUOTE: usize = 300;

/// What stands in the way of a ready worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) reason: Reason,
    pub(super) message: String,
    /// The model is what stands in the way.
    pub(super) model: bool,
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

/// What is known besides the pods.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    /// The workers' certificate is there.
    pub(super) certificate: bool,
    /// The resource of GPUs that they ask for.
    pub(super) gpu: Option<&'a str>,
}

/// The most telling obstacle among the pods that are not ready; none if nothing speaks against waiting.
pub(super) fn diagnose(deployment: &Deployment, pods: &[Pod], around: Around<'_>) -> Option<Finding> {
    if let Some(refused) = condition(deployment, "ReplicaFailure").filter(|found| found.status == "True") {
        let message = refused.message.clone().unwrap_or_default();
        return Some(Finding::new(Reason::NotCreated, message));
    }
    let waiting = pods.iter().filter(|pod| !ready(pod));
    let findings = waiting.filter_map(|pod| of_pod(pod, around));
    // A worker that says what is wrong is worth more than one that waits for it.
    findings.max_by_key(|finding| weight(finding.reason))
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

pub(super) fn condition<'a>(deployment: &'a Deployment, name: &str) -> Option<&'a DeploymentCondition> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == name)
}

/// True if the pod's own condition says so and it is not being removed.
pub(super) fn ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod_condition(pod, "Ready").is_some_and(|(status, ..)| status == "True")
}

/// Status, reason and message of a pod's condition.
fn pod_condition<'a>(pod: &'a Pod, name: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == name)?;
    Some((
        &found.status,
        found.reason.as_deref().unwrap_or_default(),
        found.message.as_deref().unwrap_or_default(),
    ))
}

fn of_pod(pod: &Pod, around: Around<'_>) -> Option<Finding> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    if let Some(("False", _, message)) = pod_condition(pod, "PodScheduled") {
        return Some(unscheduled(message, around.gpu));
    }
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    if let Some(finding) = containers.flat_map(of_container).next() {
        return Some(finding);
    }
    if let Some(("False", ..)) = pod_condition(pod, "PodReadyToStartContainers") {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        return Some(if around.certificate {
            let message = format!(
                "{name} waits for its volumes or network; kubectl describe pod {name} says for which"
            );
            Finding::new(Reason::VolumeNotMounted, message)
        } else {
            Finding::new(
                Reason::CertificateMissing,
                format!("{name} waits for the workers' certificate"),
            )
        });
    }
    None
}

fn unscheduled(message: &str, gpu: Option<&str>) -> Finding {
    let lacks_gpu = gpu.is_some_and(|gpu| message.contains(&format!("Insufficient {gpu}")));
    let reason = if lacks_gpu {
        Reason::NoGpu
    } else {
        Reason::Unschedulable
    };
    Finding::new(reason, message)
}

fn of_container(container: &ContainerStatus) -> Option<Finding> {
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
    ended(state)
        .or_else(|| ended(container.last_state.as_ref()?))
        .filter(|end| end.exit_code != 0)
        .map(crashed)
}

fn ended(state: &ContainerState) -> Option<&ContainerStateTerminated> {
    state.terminated.as_ref()
}

fn crashed(end: &ContainerStateTerminated) -> Finding {
    let words = end.message.as_deref().map(last_line).unwrap_or_default();
    let reason = end.reason.as_deref().unwrap_or("Error");
    let message = if reason == "OOMKilled" {
        "the worker needed more memory than spec.workers.resources.limits gives it".to_owned()
    } else {
        format!("the worker ended with {} ({reason}): {words}", end.exit_code)
    };
    Finding {
        model: end.exit_code == EXIT_MODEL,
        ..Finding::new(Reason::Crashing, message)
    }
}

/// The last line with content, cut to a length that fits a condition.
fn last_line(text: &str) -> &str {
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
