//! The two Secrets of a proxy: certificates of its workers and of its sidecars.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};

use super::{Holder, Keeper, KeeperError, api_error};
use crate::names::{self, FIELD_MANAGER};
use crate::pki::Authorities;
use crate::pki::leaf::{Profile, SecretData};
use crate::pki::verdict::{LeafVerdict, judge_leaf};

impl Keeper {
    /// Keeps both Secrets of a proxy as they should be.
    pub(super) async fn keep_proxy(
        &self,
        holder: &Holder,
        authorities: &Authorities,
        now: Timestamp,
    ) -> Result<(), KeeperError> {
        let Holder { namespace, name, .. } = holder;
        let worker = Profile::worker(namespace, name, &self.settings.cluster_domain);
        let worker = self.keep_leaf(holder, names::worker_tls(name), &worker, authorities, now);
        let sidecar = Profile::sidecar(namespace, name);
        let sidecar = self.keep_leaf(holder, names::sidecar_tls(name), &sidecar, authorities, now);
        worker.await?;
        sidecar.await
    }

    async fn keep_leaf(
        &self,
        holder: &Holder,
        name: String,
        profile: &Profile,
        authorities: &Authorities,
        now: Timestamp,
    ) -> Result<(), KeeperError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &holder.namespace);
        let found = secrets.get_opt(&name).await;
        let found = found.map_err(api_error("reading a certificate"))?;
        if let Some(found) = found.as_ref().filter(|found| !is_ours(found, holder)) {
            let (namespace, name) = (found.metadata.namespace.clone(), found.metadata.name.clone());
            return Err(KeeperError::NotOurs {
                namespace: namespace.unwrap_or_default(),
                name: name.unwrap_or_default(),
            });
        }
        let data = found.as_ref().and_then(|found| found.data.as_ref());
        let leaf = match judge_leaf(data, profile, authorities, now) {
            LeafVerdict::Keep => return Ok(()),
            LeafVerdict::Rebundle(leaf) => leaf,
            LeafVerdict::Issue(why) => {
                tracing::info!(
                    namespace = holder.namespace,
                    secret = name,
                    why,
                    "issuing a certificate"
                );
                authorities
                    .current
                    .issue(profile, now, self.settings.times.leaf)?
            }
        };
        let secret = build_secret(holder, &name, leaf.to_data(&authorities.bundle()));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match secrets.patch(&name, &params, &Patch::Apply(&secret)).await {
            Err(error) if is_ending(&error) => Ok(()),
            result => result.map(|_| ()).map_err(api_error("writing a certificate")),
        }
    }
}

fn is_ours(secret: &Secret, holder: &Holder) -> bool {
    let owners = secret.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.uid == holder.owner.uid)
}

/// Returns true if the namespace is being deleted: what lies in it needs no certificates any more.
fn is_ending(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

/// Builds the Secret as it is applied, with the labels of a proxy's objects.
fn build_secret(holder: &Holder, name: &str, data: SecretData) -> Secret {
    let mut secret = Secret {
        type_: Some("kubernetes.io/tls".into()),
        data: Some(data),
        ..Secret::default()
    };
    let labels = [
        ("app.kubernetes.io/name", "liquid-memory"),
        ("app.kubernetes.io/instance", holder.name.as_str()),
        ("app.kubernetes.io/managed-by", FIELD_MANAGER),
    ];
    secret.metadata.name = Some(name.into());
    secret.metadata.namespace = Some(holder.namespace.clone());
    secret.metadata.labels = Some(labels.map(|(key, value)| (key.into(), value.into())).into());
    secret.metadata.owner_references = Some(vec![holder.owner.clone()]);
    secret
}
