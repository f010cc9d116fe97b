//! The gateway of a proxy: its objects applied, or removed where the resource no longer has one, and what is seen of it.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::apply::Applier;
use super::cache;
use super::error::Error;
use super::reconcile::ApplyOutcome;
use crate::names;
use crate::objects::GatewayObjects;

/// Applies a gateway's objects. Returns its Deployment as it is now, unless it could not be applied.
pub(super) async fn apply(
    applier: &Applier<'_>,
    objects: &GatewayObjects,
    name: &str,
    outcome: &mut ApplyOutcome,
) -> Result<Option<Deployment>, Error> {
    let name = names::gateway(name);
    let build = |live: Option<&Deployment>| {
        let mut wanted = objects.clone();
        wanted.keep_replicas(live);
        wanted
    };
    let live = cache::find(&applier.cache.deployments, applier.namespace, &name);
    let mut wanted = build(live.as_deref());
    let settled = applier.is_applied(&wanted.deployment);
    if !settled && wanted.autoscaler.is_some() {
        // The watch may be a moment behind; what is written must not be.
        wanted = build(applier.get(&name).await?.as_ref());
    }
    outcome.apply(applier, &wanted.service_account).await;
    outcome.apply(applier, &wanted.config).await;
    outcome.apply(applier, &wanted.service).await;
    outcome.apply(applier, &wanted.budget).await;
    match &wanted.network {
        Some(network) => outcome.apply(applier, network).await,
        None => outcome.note(applier.remove_watched::<NetworkPolicy>(&name).await),
    }
    match &wanted.autoscaler {
        Some(autoscaler) => outcome.apply(applier, autoscaler).await,
        None => outcome.note(applier.remove_watched::<HorizontalPodAutoscaler>(&name).await),
    }
    match settled {
        true => Ok(live.map(Arc::unwrap_or_clone)),
        false => Ok(outcome.record(applier.apply(&wanted.deployment).await)),
    }
}

/// Removes everything of a gateway that the resource no longer has. What serves goes first.
pub(super) async fn remove(applier: &Applier<'_>, proxy: &str) -> Result<(), Error> {
    let name = names::gateway(proxy);
    applier.remove::<HorizontalPodAutoscaler>(&name).await?;
    applier.remove::<Deployment>(&name).await?;
    applier.remove::<Service>(&name).await?;
    applier.remove::<PodDisruptionBudget>(&name).await?;
    applier.remove::<NetworkPolicy>(&name).await?;
    applier.remove::<ConfigMap>(&name).await?;
    applier.remove::<ServiceAccount>(&name).await?;
    applier
        .remove::<ConfigMap>(&names::gateway_authority(proxy))
        .await?;
    applier.remove::<Secret>(&names::gateway_tls(proxy)).await
}
