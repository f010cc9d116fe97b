//! The workers' Deployment: how many, and how they are replaced.

use std::ops::RangeInclusive;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::keep::TEMPLATE_ANNOTATION;
use super::meta::{Component, ProxyRef, label_selector};
use super::{BuildError, Inputs, Platform, pod};
use crate::api::{LiquidMemoryProxy, Workers};
use crate::names;

/// What a rollout may take beyond the start of a worker, in seconds: scheduling, and pulling the image.
const PROGRESS_MARGIN: i32 = 300;

/// Builds the workers' Deployment.
pub(super) fn build_deployment(
    proxy: &LiquidMemoryProxy,
    owner: &ProxyRef<'_>,
    platform: &Platform,
    inputs: &Inputs,
) -> Result<Deployment, BuildError> {
    let workers = &proxy.spec.workers;
    let template = pod::build_template(proxy, owner, platform, inputs);
    let mut metadata = owner.build_meta(names::workers(owner.name), Component::Worker);
    metadata.annotations = Some(
        [
            (names::INPUTS_ANNOTATION.to_owned(), inputs.sum.clone()),
            (TEMPLATE_ANNOTATION.to_owned(), serde_json::to_string(&template)?),
        ]
        .into(),
    );
    Ok(Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(first_replicas(workers)),
            selector: label_selector(owner.name, Component::Worker),
            strategy: Some(choose_strategy(most_replicas(workers))),
            template,
            revision_history_limit: Some(3),
            progress_deadline_seconds: Some(workers.start_seconds + PROGRESS_MARGIN),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    })
}

/// Returns how many workers there are at first. One that reads its model shows that it can be read, also where none stays.
fn first_replicas(workers: &Workers) -> i32 {
    let scaling = workers.autoscaling.as_ref();
    scaling.map_or(workers.replicas, |scaling| scaling.min_replicas.max(1))
}

/// Returns how many workers there may be.
fn most_replicas(workers: &Workers) -> i32 {
    let scaling = workers.autoscaling.as_ref();
    scaling.map_or(workers.replicas, |scaling| scaling.max_replicas)
}

/// Takes the number of pods from the cluster, as far as it is within these bounds: somebody else decides it.
pub(super) fn keep_replicas(wanted: &mut Deployment, live: Option<&Deployment>, bounds: RangeInclusive<i32>) {
    let present = live.and_then(|live| live.spec.as_ref()?.replicas);
    if let (Some(present), Some(spec)) = (present, wanted.spec.as_mut()) {
        spec.replicas = Some(present.max(*bounds.start()).min(*bounds.end()));
    }
}

/// Chooses a strategy that never runs more workers than asked for: one more may find no GPU, and the rollout
/// would wait for ever. So one stops first.
fn choose_strategy(replicas: i32) -> DeploymentStrategy {
    if replicas <= 1 {
        return DeploymentStrategy {
            type_: Some("Recreate".into()),
            rolling_update: None,
        };
    }
    DeploymentStrategy {
        type_: Some("RollingUpdate".into()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(0)),
            max_unavailable: Some(IntOrString::Int(1)),
        }),
    }
}
