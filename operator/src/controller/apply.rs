//! Server-side apply of a proxy's objects, with our own field manager.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cache::{self, Cache};
use super::error::Error;
use super::shared_map::SharedMap;
use crate::names::FIELD_MANAGER;
use crate::objects::{BuildError, short_sum};

/// Status code by which the API server refuses an object that breaks its own rules.
const INVALID: u16 = 422;

/// Identifies an object of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ObjectKey {
    kind: &'static str,
    pub(super) namespace: String,
    /// The uid of the proxy.
    pub(super) owner: String,
    name: String,
}

/// The last apply of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LastApply {
    /// Checksum of the object that was applied.
    pub(super) wanted: String,
    /// Version of the object after it.
    pub(super) version: Option<String>,
    /// When the API server last changed something for the operator; an apply without effect leaves the time
    /// alone.
    pub(super) changed: Option<Time>,
}

/// The effect of an apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing changed, or it was the first apply of this process.
    Nothing,
    /// The object was created.
    Created,
    /// The operator applied something else than before.
    Changed,
    /// The operator applied the same as before, and the object differed.
    Repaired,
}

/// An object that was applied, and the effect of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectEffect {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) effect: Effect,
}

/// A kind of object that a proxy owns.
pub(super) trait OwnedObject:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
    /// Name of the kind.
    const KIND: &'static str;

    /// Reads an object's metadata as the watch has shown it; none if it has not.
    fn read_watched<R>(
        cache: &Cache,
        namespace: &str,
        name: &str,
        read: impl FnOnce(&ObjectMeta) -> R,
    ) -> Option<R>;
}

macro_rules! owned {
    ($($type:ty: $kind:literal in $store:ident),* $(,)?) => {
        $(impl OwnedObject for $type {
            const KIND: &'static str = $kind;

            fn read_watched<R>(cache: &Cache, namespace: &str, name: &str, read: impl FnOnce(&ObjectMeta) -> R) -> Option<R> {
                cache::find(&cache.$store, namespace, name).map(|found| read(found.meta()))
            }
        })*
    };
}
owned! {
    k8s_openapi::api::apps::v1::Deployment: "Deployment" in deployments,
    k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler: "HorizontalPodAutoscaler" in autoscalers,
    k8s_openapi::api::core::v1::ConfigMap: "ConfigMap" in config_maps,
    k8s_openapi::api::core::v1::Service: "Service" in services,
    k8s_openapi::api::core::v1::ServiceAccount: "ServiceAccount" in accounts,
    k8s_openapi::api::networking::v1::NetworkPolicy: "NetworkPolicy" in policies,
    k8s_openapi::api::policy::v1::PodDisruptionBudget: "PodDisruptionBudget" in budgets,
}

impl OwnedObject for k8s_openapi::api::core::v1::Secret {
    const KIND: &'static str = "Secret";

    /// Secrets are not watched.
    fn read_watched<R>(_: &Cache, _: &str, _: &str, _: impl FnOnce(&ObjectMeta) -> R) -> Option<R> {
        None
    }
}

/// Applies the objects of one proxy.
pub(super) struct Applier<'a> {
    pub(super) client: &'a Client,
    pub(super) namespace: &'a str,
    /// The uid of the proxy.
    pub(super) owner: &'a str,
    pub(super) memory: &'a SharedMap<ObjectKey, LastApply>,
    pub(super) cache: &'a Cache,
}

impl Applier<'_> {
    fn api<K: OwnedObject>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    fn key<K: OwnedObject>(&self, name: &str) -> ObjectKey {
        ObjectKey {
            kind: K::KIND,
            namespace: self.namespace.to_owned(),
            owner: self.owner.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Reads an object.
    pub(super) async fn get<K: OwnedObject>(&self, name: &str) -> Result<Option<K>, Error> {
        let found = self.api::<K>().get_opt(name).await;
        found.map_err(|error| Error::api("read", K::KIND, name, error))
    }

    /// Returns whether the object was applied as it is wanted, and has not been changed since, as far as the watch shows.
    pub(super) fn is_applied<K: OwnedObject>(&self, wanted: &K) -> bool {
        let name = wanted.name_any();
        let Some(last) = self.memory.get(&self.key::<K>(&name)) else {
            return false;
        };
        let is_untouched = |meta: &ObjectMeta| meta.resource_version == last.version;
        K::read_watched(self.cache, self.namespace, &name, is_untouched) == Some(true)
            && sum_of(wanted).is_ok_and(|sum| sum == last.wanted)
    }

    /// Creates or changes an object; returns it as it is now, and what the apply has done.
    pub(super) async fn apply<K: OwnedObject>(&self, wanted: &K) -> Result<(K, Effect), Error> {
        let name = wanted.name_any();
        let key = self.key::<K>(&name);
        let before = self.memory.get(&key);
        let existed = self.exists::<K>(&name).await?;
        let now = match self.patch(&name, Patch::Apply(wanted)).await {
            Err(Error::Refused { status, .. }) if status.code == INVALID && existed => {
                self.overwrite(&name, wanted).await?
            }
            other => other?,
        };
        let applied = LastApply {
            wanted: sum_of(wanted)?,
            version: now.meta().resource_version.clone(),
            changed: last_change(now.meta()),
        };
        let effect = classify_effect(existed, before.as_ref(), &applied);
        self.memory.set(key, applied);
        Ok((now, effect))
    }

    async fn patch<K: OwnedObject>(&self, name: &str, patch: Patch<&K>) -> Result<K, Error> {
        let parameters = match patch {
            Patch::Apply(_) => PatchParams::apply(FIELD_MANAGER).force(),
            _ => PatchParams {
                field_manager: Some(FIELD_MANAGER.into()),
                ..PatchParams::default()
            },
        };
        let patched = self.api::<K>().patch(name, &parameters, &patch).await;
        patched.map_err(|error| Error::api("apply", K::KIND, name, error))
    }

    /// Server-side apply cannot undo a change of the key of a list's entry: the changed entry stays beside
    /// ours, and the two may not go together (a Service with two ports of one name). A merge patch replaces
    /// lists as a whole.
    async fn overwrite<K: OwnedObject>(&self, name: &str, wanted: &K) -> Result<K, Error> {
        self.patch(name, Patch::Merge(wanted)).await?;
        self.patch(name, Patch::Apply(wanted)).await
    }

    /// Returns true if the object exists, by the watch or else by the API server. Fails if it does not belong to the proxy:
    /// what others made is never taken over.
    async fn exists<K: OwnedObject>(&self, name: &str) -> Result<bool, Error> {
        let is_own = |meta: &ObjectMeta| owns(self.owner, meta);
        if K::read_watched(self.cache, self.namespace, name, is_own) == Some(true) {
            return Ok(true);
        }
        let found = self.api::<K>().get_metadata_opt(name).await;
        let found = found.map_err(|error| Error::api("read", K::KIND, name, error))?;
        match found {
            Some(found) if !owns(self.owner, &found.metadata) => Err(Error::NotOurs {
                kind: K::KIND,
                name: name.to_owned(),
            }),
            found => Ok(found.is_some()),
        }
    }

    /// Removes an object that is not wanted, once the watch shows it.
    pub(super) async fn remove_watched<K: OwnedObject>(&self, name: &str) -> Result<(), Error> {
        match K::read_watched(self.cache, self.namespace, name, |_| ()) {
            Some(()) => self.remove::<K>(name).await,
            None => Ok(()),
        }
    }

    /// Removes an object that is no longer wanted, if it belongs to the proxy.
    pub(super) async fn remove<K: OwnedObject>(&self, name: &str) -> Result<(), Error> {
        self.memory.remove(&self.key::<K>(name));
        let found = self.api::<K>().get_metadata_opt(name).await;
        let found = found.map_err(|error| Error::api("read", K::KIND, name, error))?;
        let Some(found) = found.filter(|found| owns(self.owner, &found.metadata)) else {
            return Ok(());
        };
        let exactly_this = DeleteParams {
            preconditions: Some(Preconditions {
                uid: found.metadata.uid,
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.api::<K>().delete(name, &exactly_this).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(Error::api("delete", K::KIND, name, error)),
        }
    }
}

fn sum_of<K: Serialize>(wanted: &K) -> Result<String, Error> {
    let bytes = serde_json::to_vec(wanted).map_err(BuildError::from)?;
    Ok(short_sum(&bytes))
}

fn owns(owner: &str, meta: &ObjectMeta) -> bool {
    meta.owner_references
        .iter()
        .flatten()
        .any(|reference| reference.uid == owner)
}

/// Returns when the operator's last apply changed something.
fn last_change(meta: &ObjectMeta) -> Option<Time> {
    let entries = meta.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.is_none()
    });
    ours.filter_map(|entry| entry.time.clone()).next()
}

/// Classifies what an apply has done, from what is known of the one before.
pub(super) fn classify_effect(existed: bool, before: Option<&LastApply>, now: &LastApply) -> Effect {
    match before {
        None if existed => Effect::Nothing,
        None => Effect::Created,
        Some(before) if before.wanted != now.wanted => Effect::Changed,
        Some(before) if before.changed != now.changed => Effect::Repaired,
        Some(_) => Effect::Nothing,
    }
}
