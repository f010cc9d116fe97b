//! A verdict about a pod, what it is made from, and how it is said: pure.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;
use kube::api::DynamicObject;

use super::absence::Absence;
use super::candidates::Candidate;
use super::selection::{Labels, is_opted_in, opts_in};
use crate::inject::choose::choose_proxy;
use crate::inject::{ConfigMaps, Input, Proxy, SidecarDefaults, inject};
use crate::names::{PROXY_ANNOTATION, SIDECAR_CONTAINER};

#[cfg(test)]
mod tests;

/// What a verdict is made from besides the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Basis {
    pub(super) labels: Labels,
    pub(super) proxies: Vec<String>,
    /// Version of the webhook configuration.
    pub(super) webhook: Option<String>,
}

/// What is known of a pod.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) candidate: Candidate,
    /// None if the webhook's selectors do not select it.
    pub(super) absence: Option<Absence>,
    /// The proxy that should serve it.
    pub(super) proxy: Option<String>,
}

impl Verdict {
    /// Returns whether the pod should have the sidecar.
    pub(super) fn is_missed(&self) -> bool {
        matches!(self.absence, Some(Absence::Missed { .. } | Absence::Refused(_)))
    }
}

/// What is known of a namespace that has a proxy.
pub(super) struct Surroundings {
    pub(super) labels: Labels,
    pub(super) proxies: Vec<Proxy>,
}

impl Surroundings {
    /// Returns whether a pod may be missed, by what is known without reading it.
    pub(super) fn may_miss(&self, pod: &Candidate) -> bool {
        opts_in(&self.labels, pod.label.as_deref())
    }

    pub(super) fn to_basis(&self, webhook: Option<String>) -> Basis {
        let mut proxies: Vec<String> = self.proxies.iter().map(|proxy| proxy.name.clone()).collect();
        proxies.sort_unstable();
        Basis {
            labels: self.labels.clone(),
            proxies,
            webhook,
        }
    }
}

/// Judges a pod that was read. ConfigMaps decide about variables only, so none is read.
pub(super) fn judge_pod(
    candidate: Candidate,
    pod: &DynamicObject,
    around: &Surroundings,
    webhook: Option<&MutatingWebhookConfiguration>,
    defaults: &SidecarDefaults,
) -> Verdict {
    let mut verdict = Verdict {
        candidate,
        absence: None,
        proxy: None,
    };
    if !is_opted_in(webhook, &around.labels, &pod.metadata) {
        return verdict;
    }
    let Ok(value) = serde_json::to_value(pod) else {
        return verdict;
    };
    let absence = Absence::from(inject(&Input {
        pod: &value,
        namespace: &verdict.candidate.namespace,
        defaults,
        proxies: &around.proxies,
        config_maps: &ConfigMaps::new(),
    }));
    let named = pod.annotations().get(PROXY_ANNOTATION).map(String::as_str);
    verdict.proxy = match &absence {
        Absence::Missed { proxy } => proxy.clone(),
        _ => {
            let choice = choose_proxy(&verdict.candidate.namespace, named, &around.proxies);
            choice.ok().map(|choice| choice.proxy.name.clone())
        }
    };
    verdict.absence = Some(absence);
    verdict
}

/// Says what is wrong with a missed pod, and what to do.
pub(super) fn describe(verdict: &Verdict) -> String {
    let seen = format!(
        "opted in and without the container {SIDECAR_CONTAINER}: its documents leave whole; it was created before its \
         namespace opted in, or while no operator answered"
    );
    if let Some(Absence::Refused(denial)) = &verdict.absence {
        return format!("{seen}. Created again it would be refused: {denial}");
    }
    match &verdict.candidate.controller {
        Some(controller) if controller.replaces_pods => format!(
            "{seen}. Restart what owns it, {} {}, so that it is created again",
            controller.kind, controller.name
        ),
        _ => format!("{seen}. Delete it and create it again"),
    }
}

/// Builds the reference by which Events name a pod.
pub(super) fn build_reference(pod: &Candidate) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    }
}
