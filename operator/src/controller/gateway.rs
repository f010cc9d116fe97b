//! The gateway of a proxy: its objects applied, or removed where the resource no longer has one, and what is seen of it.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::apply::Applier;
use super::error::Error;
use super::reconcile::ApplyOutcome;
use crate::names;
use crate::objects::GatewayObjects;

/// Applies a gateway's objects. Returns its Deployment as it is now, if the API server returned it.
pub(super) async fn apply(
    applier: &Applier<'_>,
    wanted: &GatewayObjects,
    name: &str,
    outcome: &mut ApplyOutcome,
) -> Result<Option<Deployment>, Error> {
    let name = names::gateway(name);
    let mut wanted = wanted.clone();
    if wanted.autoscaler.is_some() {
        wanted.keep_replicas(applier.get::<Deployment>(&name).await?.as_ref());
    }
    outcome.record(applier.apply(&wanted.service_account).await);
    outcome.record(applier.apply(&wanted.config).await);
    outcome.record(applier.apply(&wanted.service).await);
    outcome.record(applier.apply(&wanted.budget).await);
    match &wanted.network {
        Some(network) => drop(outcome.record(applier.apply(network).await)),
        None => outcome.note(applier.remove::<NetworkPolicy>(&name).await),
    }
    match &wanted.autoscaler {
        Some(autoscaler) => drop(outcome.record(applier.apply(autoscaler).await)),
        None => outcome.note(applier.remove::<HorizontalPodAutoscaler>(&name).await),
    }
    Ok(outcome.record(applier.apply(&wanted.deployment).await))
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
