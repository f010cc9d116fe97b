//! The Secrets of a proxy: certificates of its workers, of its sidecars, of its gateway and for intercepted hosts; the
//! authorities of the last two are published for those who have to trust them.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::{ByteString, Metadata, NamespaceResourceScope};
use kube::api::{Api, Patch, PatchParams};
use liquid_contract::files::AUTHORITIES;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CertificateNeed, Holder, Keeper, KeeperError, api_error};
use crate::names::{self, FIELD_MANAGER, TRUST_BUNDLE, TRUST_STORE};
use crate::pki::Authorities;
use crate::pki::leaf::{Profile, SecretData};
use crate::pki::public_roots::public_roots;
use crate::pki::trust_store::build_trust_store;
use crate::pki::verdict::{LeafVerdict, judge_leaf};

impl Keeper {
    /// Keeps the Secrets of a proxy as they should be.
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
        sidecar.await?;
        let secret = names::gateway_tls(name);
        if !self
            .needs_certificate(holder, holder.needs.gateway, &secret)
            .await?
        {
            return Ok(());
        }
        let gateway = Profile::gateway(namespace, name, &self.settings.cluster_domain);
        self.keep_leaf(holder, secret, &gateway, authorities, now).await?;
        let published = ConfigMap {
            data: Some([(AUTHORITIES.to_owned(), authorities.bundle())].into()),
            ..ConfigMap::default()
        };
        self.publish_authorities(holder, names::gateway_authority(name), published)
            .await
    }

    /// Keeps what intercepted pods of a proxy mount: the certificate of their sidecars, and whom their other containers
    /// trust.
    pub(super) async fn keep_interception(
        &self,
        holder: &Holder,
        authorities: &Authorities,
        now: Timestamp,
    ) -> Result<(), KeeperError> {
        let secret = names::interception_tls(&holder.name);
        let needed = self.needs_certificate(holder, holder.needs.interception, &secret);
        if !needed.await? {
            return Ok(());
        }
        let own = authorities.bundle();
        let all = format!("{}{own}", public_roots());
        let store = ByteString(build_trust_store(&own)?);
        let published = ConfigMap {
            data: Some([(AUTHORITIES.to_owned(), own), (TRUST_BUNDLE.to_owned(), all)].into()),
            binary_data: Some([(TRUST_STORE.to_owned(), store)].into()),
            ..ConfigMap::default()
        };
        self.publish_authorities(holder, names::interception_authorities(&holder.name), published)
            .await?;
        self.keep_leaf(holder, secret, &Profile::interception(), authorities, now)
            .await
    }

    async fn needs_certificate(
        &self,
        holder: &Holder,
        need: CertificateNeed,
        secret: &str,
    ) -> Result<bool, KeeperError> {
        match need {
            CertificateNeed::NotNeeded => Ok(false),
            CertificateNeed::Needed => Ok(true),
            CertificateNeed::AsBefore => {
                let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &holder.namespace);
                let found = secrets.get_metadata_opt(secret).await;
                Ok(found.map_err(api_error("reading a certificate"))?.is_some())
            }
        }
    }

    /// Writes authorities where those find them who have to trust them. A ConfigMap of somebody else is left alone.
    async fn publish_authorities(
        &self,
        holder: &Holder,
        name: String,
        mut wanted: ConfigMap,
    ) -> Result<(), KeeperError> {
        let maps = self.own_objects::<ConfigMap>(holder);
        let found = maps.read(&name, "reading published authorities").await?;
        if found.is_some_and(|found| found.data == wanted.data && found.binary_data == wanted.binary_data) {
            return Ok(());
        }
        wanted.metadata = build_meta(holder, &name);
        maps.write(&name, &wanted, "publishing authorities").await
    }

    fn own_objects<'a, K>(&self, holder: &'a Holder) -> OwnObjects<'a, K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        OwnObjects {
            holder,
            api: Api::namespaced(self.client.clone(), &holder.namespace),
        }
    }

    async fn keep_leaf(
        &self,
        holder: &Holder,
        name: String,
        profile: &Profile,
        authorities: &Authorities,
        now: Timestamp,
    ) -> Result<(), KeeperError> {
        let secrets = self.own_objects::<Secret>(holder);
        let found = secrets.read(&name, "reading a certificate").await?;
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
        secrets.write(&name, &secret, "writing a certificate").await
    }
}

/// Objects of a proxy. Those of somebody else are left alone.
struct OwnObjects<'a, K> {
    holder: &'a Holder,
    api: Api<K>,
}

impl<K> OwnObjects<'_, K>
where
    K: k8s_openapi::Resource + Metadata<Ty = ObjectMeta> + Clone + Debug + DeserializeOwned + Serialize,
{
    /// Reads an object, if it is there.
    async fn read(&self, name: &str, doing: &'static str) -> Result<Option<K>, KeeperError> {
        let found = self.api.get_opt(name).await.map_err(api_error(doing))?;
        match found.as_ref().map(Metadata::metadata) {
            Some(meta) if !is_ours(meta, self.holder) => Err(KeeperError::NotOurs {
                kind: K::KIND,
                namespace: meta.namespace.clone().unwrap_or_default(),
                name: meta.name.clone().unwrap_or_default(),
            }),
            _ => Ok(found),
        }
    }

    /// Applies an object, unless its namespace is being deleted.
    async fn write(&self, name: &str, object: &K, doing: &'static str) -> Result<(), KeeperError> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match self.api.patch(name, &params, &Patch::Apply(object)).await {
            Err(error) if is_ending(&error) => Ok(()),
            result => result.map(|_| ()).map_err(api_error(doing)),
        }
    }
}

fn is_ours(meta: &ObjectMeta, holder: &Holder) -> bool {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
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

/// Builds the Secret as it is applied.
fn build_secret(holder: &Holder, name: &str, data: SecretData) -> Secret {
    Secret {
        metadata: build_meta(holder, name),
        type_: Some("kubernetes.io/tls".into()),
        data: Some(data),
        ..Secret::default()
    }
}

/// Builds the metadata of an object of a proxy, with the labels of all of them.
fn build_meta(holder: &Holder, name: &str) -> ObjectMeta {
    let labels = [
        ("app.kubernetes.io/name", "liquid-memory"),
        ("app.kubernetes.io/instance", holder.name.as_str()),
        ("app.kubernetes.io/managed-by", FIELD_MANAGER),
    ];
    ObjectMeta {
        name: Some(name.into()),
        namespace: Some(holder.namespace.clone()),
        labels: Some(labels.map(|(key, value)| (key.into(), value.into())).into()),
        owner_references: Some(vec![holder.owner.clone()]),
        ..ObjectMeta::default()
    }
}
