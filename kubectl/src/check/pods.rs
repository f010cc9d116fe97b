//! Application pods: has each that is opted in its sidecar, does it run, and do calls pass it.

use std::net::SocketAddr;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use kube::ResourceExt;
use liquid_contract::environment::{SIDECAR_ADMIN, SIDECAR_LISTEN};
use liquid_operator::controller::find_refusal;
use liquid_operator::inject::env::Api;
use liquid_operator::inject::{Decision, Reason};
use liquid_operator::names::{INJECTED_ANNOTATION, SIDECAR_CONTAINER};
use liquid_operator::watchdog::absence::Absence;

use super::finding::{Fault, Finding, ObjectName};
use super::injection::{decide, is_opted_in};
use super::webhook::describe_policy;
use crate::snapshot::namespace::NamespaceState;
use crate::snapshot::{Snapshot, is_of};

/// Where the sidecar listens for the application.
pub(crate) const LOOPBACK: &str = "127.0.0.1:";

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    for namespace in &snapshot.namespaces {
        for deployment in namespace.deployments.iter().flatten() {
            findings.extend(judge_refusal(namespace, deployment));
        }
        for pod in namespace.pods.iter().flatten().filter(|pod| is_alive(pod)) {
            let context = PodCheck {
                snapshot,
                namespace,
                pod,
            };
            match sidecar_of(pod) {
                Some(sidecar) => context.check_injected(sidecar, findings),
                None => findings.extend(context.judge_absence()),
            }
        }
    }
}

/// Returns whether a pod runs or will run.
fn is_alive(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Returns a pod's sidecar.
pub(crate) fn sidecar_of(pod: &Pod) -> Option<&Container> {
    let mut containers = pod.spec.as_ref()?.init_containers.iter().flatten();
    containers.find(|container| container.name == SIDECAR_CONTAINER)
}

/// Returns the port on which a sidecar serves the application.
pub(crate) fn port_of(sidecar: &Container) -> Option<u16> {
    let entry = sidecar
        .env
        .iter()
        .flatten()
        .find(|entry| entry.name == SIDECAR_LISTEN)?;
    entry.value.as_deref()?.strip_prefix(LOOPBACK)?.parse().ok()
}

/// Returns the port on which a sidecar answers the kubelet and Prometheus.
pub(crate) fn admin_port_of(sidecar: &Container) -> Option<u16> {
    let mut entries = sidecar.env.iter().flatten();
    let admin = entries.find(|entry| entry.name == SIDECAR_ADMIN)?;
    let address: SocketAddr = admin.value.as_deref()?.parse().ok()?;
    Some(address.port())
}

/// Returns the port of a base URL that leads to the pod itself.
pub(crate) fn loopback_port(url: &str) -> Option<u16> {
    let url: http::Uri = url.parse().ok()?;
    let own = ["127.0.0.1", "localhost", "[::1]"].contains(&url.host()?);
    own.then(|| url.port_u16().unwrap_or(80))
}

/// Says that the API server refuses a Deployment's pods. That of workers is a proxy's own finding.
fn judge_refusal(namespace: &NamespaceState, deployment: &Deployment) -> Option<Finding> {
    let name = deployment.name_any();
    let of_workers = |proxy: String| liquid_operator::names::workers(&proxy) == name;
    if namespace.proxies.iter().any(|proxy| of_workers(proxy.name_any())) {
        return None;
    }
    let message = find_refusal(deployment)?;
    let remedy = if message.contains("failed calling webhook") {
        "the operator does not answer: see the other findings".to_owned()
    } else {
        format!(
            "change what the message names, then: kubectl rollout restart deployment/{name} --namespace {}",
            namespace.name
        )
    };
    Some(Finding::new(
        Fault::PodsRefused,
        ObjectName::new("Deployment", &namespace.name, &name),
        format!("its pods cannot be created: {message}"),
        remedy,
    ))
}

struct PodCheck<'a> {
    snapshot: &'a Snapshot,
    namespace: &'a NamespaceState,
    pod: &'a Pod,
}

impl PodCheck<'_> {
    fn object(&self) -> ObjectName {
        ObjectName::new("Pod", &self.namespace.name, &self.pod.name_any())
    }

    /// Says that a pod is opted in and has no sidecar.
    fn judge_absence(&self) -> Option<Finding> {
        if !is_opted_in(self.snapshot, self.namespace, self.pod) {
            return None;
        }
        let absence = decide(self.snapshot, self.namespace, self.pod).map(Absence::from);
        let again = match absence {
            // The operator leaves it alone, and says why.
            Some(Absence::LeftAlone(note)) => {
                let note = note?;
                return Some(Finding::event(note.reason, self.object(), note.text));
            }
            // The namespace's own finding.
            Some(Absence::Unserved) => return None,
            Some(Absence::Refused(denial)) => format!("; created again it would be refused: {denial}"),
            Some(Absence::Missed { .. }) | None => String::new(),
        };
        let webhook = self.snapshot.installation.webhook.found();
        let ignores = webhook.map(describe_policy).unwrap_or_default();
        let cause = match ignores.contains("Ignore") {
            true => format!("before the namespace was opted in, or while no operator answered ({ignores})"),
            false => "before the namespace was opted in, or while the webhook was not installed".to_owned(),
        };
        Some(Finding::new(
            Fault::PodNotInjected,
            self.object(),
            format!(
                "it is opted in and has no container {SIDECAR_CONTAINER}: its documents leave whole; it was created {cause}{again}"
            ),
            self.recreate(),
        ))
    }

    /// Returns the command that creates the pod again.
    fn recreate(&self) -> String {
        let namespace = &self.namespace.name;
        let deployments = self.namespace.deployments.iter().flatten();
        let owner = deployments
            .filter(|deployment| is_of(self.pod, deployment))
            .map(ResourceExt::name_any)
            .next();
        if let Some(name) = owner {
            return format!("kubectl rollout restart deployment/{name} --namespace {namespace}");
        }
        let owner = self.pod.owner_references().first();
        match owner {
            Some(owner) if ["StatefulSet", "DaemonSet"].contains(&owner.kind.as_str()) => format!(
                "kubectl rollout restart {}/{} --namespace {namespace}",
                owner.kind.to_lowercase(),
                owner.name
            ),
            _ => format!(
                "kubectl delete pod {} --namespace {namespace}, and create it again",
                self.pod.name_any()
            ),
        }
    }

    fn check_injected(&self, sidecar: &Container, findings: &mut Vec<Finding>) {
        let name = self
            .pod
            .annotations()
            .get(INJECTED_ANNOTATION)
            .cloned()
            .unwrap_or_default();
        let proxy = self.namespace.proxy(&name);
        let malformed = self
            .snapshot
            .malformed
            .iter()
            .any(|one| one.name == name && one.namespace == self.namespace.name);
        if proxy.is_none() && !malformed && self.snapshot.proxies_known {
            findings.push(Finding::new(
                Fault::ProxyDeleted,
                self.object(),
                format!(
                    "its sidecar belongs to LiquidMemoryProxy {name}, which does not exist: it has no workers"
                ),
                format!(
                    "apply LiquidMemoryProxy {name} again, or take the label away and: {}",
                    self.recreate()
                ),
            ));
        }
        if let Some(why) = self.find_sidecar_trouble() {
            findings.push(Finding::new(
                Fault::SidecarNotReady,
                self.object(),
                format!("its container {SIDECAR_CONTAINER} is not ready: {why}"),
                format!(
                    "kubectl logs {} --namespace {} --container {SIDECAR_CONTAINER}; kubectl describe pod {0} --namespace {1}",
                    self.pod.name_any(),
                    self.namespace.name
                ),
            ));
        }
        let own = proxy.and_then(|proxy| proxy.spec.injection.image.as_deref());
        let wanted = own.or_else(|| Some(self.snapshot.operator()?.settings.sidecar_image.as_str()));
        let image = sidecar.image.as_deref().unwrap_or_default();
        if let Some(wanted) = wanted.filter(|wanted| *wanted != image) {
            findings.push(Finding::new(
                Fault::SidecarOutdated,
                self.object(),
                format!("its sidecar runs {image}, and pods that are created now get {wanted}"),
                self.recreate(),
            ));
        }
        self.check_base_urls(sidecar, findings);
        self.check_notes(findings);
    }

    /// Returns why the sidecar does not run.
    fn find_sidecar_trouble(&self) -> Option<String> {
        let mut statuses = self.pod.status.as_ref()?.init_container_statuses.iter().flatten();
        let status = statuses.find(|status| status.name == SIDECAR_CONTAINER)?;
        describe_container(status)
    }

    /// Says where a container's base URL leads to the pod itself, past the sidecar's port.
    fn check_base_urls(&self, sidecar: &Container, findings: &mut Vec<Finding>) {
        let Some(port) = port_of(sidecar) else { return };
        let containers = self.pod.spec.iter().flat_map(|spec| &spec.containers);
        for container in containers {
            for entry in container.env.iter().flatten() {
                let api = Api::ALL
                    .into_iter()
                    .find(|api| api.variables().contains(&entry.name.as_str()));
                let (Some(api), Some(value)) = (api, entry.value.as_deref()) else {
                    continue;
                };
                let right = api.sidecar_url(port);
                if loopback_port(value).is_some_and(|other| other != port) {
                    findings.push(Finding::new(
                        Fault::BaseUrlElsewhere,
                        self.object(),
                        format!(
                            "container {} has {} = {value}, and the sidecar is at {right}",
                            container.name, entry.name
                        ),
                        format!("remove {} from the container: injection sets it", entry.name),
                    ));
                }
            }
        }
    }

    /// Says what the operator said when it made the pod, as far as it is so still.
    fn check_notes(&self, findings: &mut Vec<Finding>) {
        let Some(outcome) = decide(self.snapshot, self.namespace, self.pod) else {
            return;
        };
        for note in outcome.notes.iter().filter(|note| note.is_warning()) {
            let mislead = note.reason == Reason::BaseUrlKept
                && findings.iter().any(|finding| {
                    finding.object == self.object() && finding.fault == Fault::BaseUrlElsewhere.name()
                });
            if !mislead {
                findings.push(Finding::event(note.reason, self.object(), &note.text));
            }
        }
        if let Decision::Patch(patch) = outcome.decision
            && !patch.0.is_empty()
        {
            let paths: Vec<String> = patch
                .0
                .iter()
                .map(|operation| operation.path().to_string())
                .collect();
            findings.push(Finding::new(
                Fault::InjectionIncomplete,
                self.object(),
                format!(
                    "another webhook changed it after the injection; what would be changed: {}",
                    paths.join(", ")
                ),
                self.recreate(),
            ));
        }
    }
}

/// Returns what the first container of a pod that does not run waits for, or how it ended.
pub(crate) fn describe_waiting(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let scheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|one| one.type_ == "PodScheduled");
    if let Some(unscheduled) = scheduled.filter(|one| one.status == "False") {
        return unscheduled.message.clone();
    }
    let containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    containers.filter_map(describe_container).next()
}

/// Returns what a container waits for, or how it ended the last time; none if it runs and is ready, or only starts.
fn describe_container(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref();
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let starting = waiting.and_then(|waiting| waiting.reason.as_deref());
    if let Some(waiting) =
        waiting.filter(|_| !matches!(starting, Some("PodInitializing" | "ContainerCreating")))
    {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let message = waiting.message.as_deref().unwrap_or_default();
        let last = describe_end(status);
        return Some(format!("{reason} {message}{last}").trim().to_owned());
    }
    // One that ended and runs again is well once it is ready.
    let ended = state.is_some_and(|state| state.terminated.as_ref().is_some_and(|end| end.exit_code != 0));
    let again = !status.ready && status.restart_count > 0;
    (ended || again).then(|| {
        format!(
            "it has ended {} times{}",
            status.restart_count.max(1),
            describe_end(status)
        )
    })
}

/// Describes how a container ended: now, or the last time.
fn describe_end(status: &ContainerStatus) -> String {
    let states = [status.state.as_ref(), status.last_state.as_ref()];
    let end = states
        .into_iter()
        .flatten()
        .find_map(|state| state.terminated.as_ref());
    let Some(end) = end else { return String::new() };
    let reason = end.reason.as_deref().unwrap_or("Error");
    let words = end.message.as_deref().unwrap_or_default();
    let last = words
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    format!(
        "; the last time with {} ({reason}): {}",
        end.exit_code,
        last.trim()
    )
    .trim_end_matches(": ")
    .to_owned()
}
