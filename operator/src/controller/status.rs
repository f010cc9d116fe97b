//! The status that follows from what was seen: pure.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{Counts, Seen, conditions};
use crate::api::status::{Configuration, Delivery, Part, Usage};
use crate::api::{LiquidMemoryProxy, Status};
use crate::names::{INPUTS_ANNOTATION, ROLLOUT_ANNOTATION};
use crate::objects::{Objects, selector, short_sum};

/// What the status says besides the conditions.
pub(super) struct More<'a> {
    /// The objects that were asked for.
    pub(super) objects: &'a Objects,
    /// The operator's image of workers.
    pub(super) worker_image: &'a str,
    pub(super) usage: Option<Usage>,
}

/// The status.
pub(super) fn status(seen: &Seen<'_>, more: More<'_>, now: Time) -> Status {
    let proxy = seen.proxy;
    let old = proxy.status.as_ref();
    let counts = Counts::of(proxy.spec.workers.replicas, seen.deployment);
    let name = proxy.metadata.name.as_deref().unwrap_or_default();
    let labels = selector(name)
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"));
    Status {
        observed_generation: proxy.metadata.generation,
        conditions: conditions(seen, old.map(|old| &*old.conditions).unwrap_or_default(), now),
        workers: Some(format!("{}/{}", counts.ready, counts.wanted)),
        replicas: counts.present,
        ready_replicas: counts.ready,
        selector: Some(labels.collect::<Vec<_>>().join(",")),
        configuration: Some(configuration(proxy, more.objects, counts, more.worker_image)),
        usage: more.usage.or_else(|| old.and_then(|old| old.usage.clone())),
    }
}

fn configuration(
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
            revision: revision(&objects.deployment),
            delivery: Delivery::Rollout,
            progress: workers(objects, counts, worker_image),
        },
        injection: Part {
            revision: short_sum(&injection),
            delivery: Delivery::NewPods,
            progress: "pods that are made from now on have it; those that run keep what they got".into(),
        },
    }
}

fn revision(deployment: &Deployment) -> String {
    let annotations = deployment.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(INPUTS_ANNOTATION))
        .cloned()
        .unwrap_or_default()
}

fn workers(objects: &Objects, counts: Counts, worker_image: &str) -> String {
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
