//! `liquid-operator uninstall`: what has to happen before the release's objects are removed.
//!
//! # Expected flow
//! 1. The MutatingWebhookConfiguration goes first: from then on nothing waits for an operator that is gone.
//! 2. The operator is scaled to nothing and has ended: it writes nothing any more.
//! 3. The Lease and the Secret with the authorities go: they were made by the operator, not by the release.
//!
//! # Guarantees
//! Each step may be done already; the whole may be repeated. Proxies and their workers are left alone:
//! removing the operator must not stop what applications use. `kubectl delete lmp --all -A` before it removes
//! them too.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::config::Settings;
use crate::pki::Purpose;
use crate::telemetry::start_log;

/// Longest time that the operator may take to end.
const END: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Selector of the operator's pods.
const PODS: &str = "app.kubernetes.io/name=liquid-memory,app.kubernetes.io/component=operator";

/// Why the operator could not be removed cleanly.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// There is no log, or no runtime.
    #[error("cannot start: {0}")]
    Start(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A request to the API server failed.
    #[error("cannot {what}: {source}")]
    Api {
        /// What was tried.
        what: &'static str,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// Pods of the operator have not ended in time.
    #[error("{0} pods of the operator have not ended within a minute; delete them, then uninstall again")]
    Running(usize),
}

/// Removes what the release does not remove.
///
/// # Errors
/// The first step that failed.
pub fn start(settings: &Settings) -> Result<(), UninstallError> {
    start_log(settings).map_err(UninstallError::Start)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| UninstallError::Start(error.into()))?;
    runtime.block_on(uninstall(settings))
}

fn api_error(what: &'static str) -> impl FnOnce(kube::Error) -> UninstallError {
    move |source| UninstallError::Api {
        what,
        source: Box::new(source),
    }
}

async fn uninstall(settings: &Settings) -> Result<(), UninstallError> {
    let client = Client::try_default()
        .await
        .map_err(api_error("find the API server"))?;
    let own = &*settings.namespace;
    let webhooks = Api::<MutatingWebhookConfiguration>::all(client.clone());
    delete(
        &webhooks,
        &settings.webhook_name,
        "delete the MutatingWebhookConfiguration",
    )
    .await?;
    stop(&client, settings).await?;
    let leases = Api::<Lease>::namespaced(client.clone(), own);
    delete(&leases, &settings.lease_name, "delete the Lease").await?;
    let secrets = Api::<Secret>::namespaced(client, own);
    for purpose in Purpose::ALL {
        let what = "delete a Secret with certificate authorities";
        delete(&secrets, purpose.secret(), what).await?;
    }
    Ok(())
}

/// Deletes an object, which may be gone already.
async fn delete<K>(objects: &Api<K>, name: &str, what: &'static str) -> Result<(), UninstallError>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    match objects.delete(name, &DeleteParams::default()).await {
        Ok(_) => tracing::info!(name, "{what}: done"),
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            tracing::info!(name, "{what}: gone already")
        }
        Err(error) => return Err(api_error(what)(error)),
    }
    Ok(())
}

/// Ends the operator, so that it does not restore what is deleted next.
async fn stop(client: &Client, settings: &Settings) -> Result<(), UninstallError> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), &settings.namespace);
    let none = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    match deployments
        .patch_scale(settings.deployment(), &PatchParams::default(), &none)
        .await
    {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        Err(error) => return Err(api_error("scale the operator's Deployment to 0")(error)),
    }
    let pods = Api::<Pod>::namespaced(client.clone(), &settings.namespace);
    let ours = ListParams::default().labels(PODS);
    let waited = tokio::time::Instant::now();
    loop {
        let left = pods
            .list(&ours)
            .await
            .map_err(api_error("list the operator's pods"))?
            .items
            .len();
        if left == 0 {
            tracing::info!("the operator has ended");
            return Ok(());
        }
        if waited.elapsed() > END {
            return Err(UninstallError::Running(left));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
