//! The status that follows from an observation: pure.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{Counts, Observation, ObservedGateway, build_conditions};
use crate::api::price::Cost;
use crate::api::status::{Configuration, Delivery, GatewayStatus, Part, Usage};
use crate::api::{LiquidMemoryProxy, Status};
use crate::names::{self, INPUTS_ANNOTATION, ROLLOUT_ANNOTATION};
use crate::objects::{Component, Objects, Platform, gateway_url, pod_selector, short_sum};

/// What the status is made from besides the observation.
pub(super) struct StatusInputs<'a> {
    /// The objects as they were applied.
    pub(super) objects: &'a Objects,
    /// What the installation decides.
    pub(super) platform: &'a Platform,
    pub(super) usage: Option<Usage>,
    /// A gateway of before could not be removed.
    pub(super) gateway_remains: bool,
}

/// Builds the status of a proxy.
pub(super) fn build_status(observation: &Observation<'_>, inputs: StatusInputs<'_>, now: Time) -> Status {
    let proxy = observation.proxy;
    let old = proxy.status.as_ref();
    let counts = Counts::of_workers(proxy, observation.deployment);
    let name = proxy.metadata.name.as_deref().unwrap_or_default();
    Status {
        observed_generation: proxy.metadata.generation,
        conditions: build_conditions(
            observation,
            old.map(|old| &*old.conditions).unwrap_or_default(),
            now,
        ),
        workers: Some(format!("{}/{}", counts.ready, counts.wanted)),
        replicas: counts.present,
        ready_replicas: counts.ready,
        selector: Some(pod_selector(name, Component::Worker).to_string()),
        configuration: Some(describe_configuration(
            proxy,
            inputs.objects,
            counts,
            &inputs.platform.worker_image,
        )),
        gateway: describe_gateway(observation, &inputs),
        usage: inputs
            .usage
            .or_else(|| old.and_then(|old| old.usage.clone()))
            .map(|usage| Usage {
                cost_saved: compute_cost(proxy, &usage).map(|cost| cost.to_string()),
                ..usage
            }),
    }
}

/// Computes what a proxy's savings come to, if it has a price.
pub(super) fn compute_cost(proxy: &LiquidMemoryProxy, usage: &Usage) -> Option<Cost> {
    proxy.spec.price.as_ref()?.cost_of(usage.tokens_saved)
}

/// Describes the gateway. One that the resource no longer has stays until it could be removed.
fn describe_gateway(observation: &Observation<'_>, inputs: &StatusInputs<'_>) -> Option<GatewayStatus> {
    let proxy = observation.proxy;
    let Some(gateway) = &proxy.spec.gateway else {
        let before = proxy.status.as_ref().and_then(|status| status.gateway.clone());
        return before.filter(|_| inputs.gateway_remains);
    };
    let meta = &proxy.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = meta.name.as_deref().unwrap_or_default();
    let counts = observation
        .gateway
        .map(ObservedGateway::count)
        .unwrap_or_default();
    Some(GatewayStatus {
        url: gateway_url(gateway, namespace, name, &inputs.platform.cluster_domain),
        authority: gateway
            .has_own_certificate()
            .then(|| names::gateway_authority(name)),
        pods: format!("{}/{}", counts.ready, counts.wanted),
        ready_replicas: counts.ready,
    })
}

fn describe_configuration(
    proxy: &LiquidMemoryProxy,
    objects: &Objects,
    counts: Counts,
    worker_image: &str,
) -> Configuration {
    let text = objects
        .sidecar_config
        .data
        .iter()
        .flatten()
        .map(|(_, text)| text.as_str());
    let injection = serde_json::to_vec(&proxy.spec.injection).unwrap_or_default();
    Configuration {
        sidecars: Part {
            revision: short_sum(text.collect::<String>().as_bytes()),
            delivery: Delivery::WatchedFile,
            progress: "running sidecars read it within two minutes, without a restart".into(),
        },
        workers: Part {
            revision: read_revision(&objects.deployment),
            delivery: Delivery::Rollout,
            progress: describe_progress(objects, counts, worker_image),
        },
        injection: Part {
            revision: short_sum(&injection),
            delivery: Delivery::NewPods,
            progress: "pods that are made from now on have it; those that run keep what they got".into(),
        },
    }
}

fn read_revision(deployment: &Deployment) -> String {
    let annotations = deployment.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(INPUTS_ANNOTATION))
        .cloned()
        .unwrap_or_default()
}

fn describe_progress(objects: &Objects, counts: Counts, worker_image: &str) -> String {
    let updated = if counts.observed { counts.updated } else { 0 };
    let mut text = format!("{updated} of {} workers have it", counts.wanted);
    let pod = objects
        .deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let image = pod.and_then(|pod| pod.containers.first()?.image.as_deref());
    let own = objects.own_worker_image;
    if let Some(image) = image.filter(|image| !own && *image != worker_image) {
        text.push_str(&format!(
            "; they run {image}, this operator brings {worker_image}: they take it with the next change that \
             replaces them, or by the annotation {ROLLOUT_ANNOTATION}"
        ));
    }
    text
}
