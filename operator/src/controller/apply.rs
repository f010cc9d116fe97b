//! Server-side apply of a proxy's objects, with our own field manager.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Error;
use super::memory::Remembered;
use crate::names::FIELD_MANAGER;
use crate::objects::short_sum;

/// The API server's code for an object that breaks its own rules.
const INVALID: u16 = 422;

/// An object of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    kind: &'static str,
    pub(super) namespace: String,
    /// The uid of the proxy.
    pub(super) owner: String,
    name: String,
}

/// What was applied last to an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Applied {
    /// Sum of what was asked for.
    pub(super) wanted: String,
    /// When the API server last changed something for us; it leaves the time alone when nothing was to change.
    pub(super) changed: Option<Time>,
}

/// What an apply has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing, or the first apply of this process.
    Nothing,
    /// The object was made.
    Created,
    /// We asked for something else than before.
    Changed,
    /// We asked for the same as before, and it was not so.
    Repaired,
}

/// Kinds of objects that a proxy has.
pub(super) trait Owned:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
    /// The kind's name.
    const KIND: &'static str;
}

macro_rules! owned {
    ($($type:ty: $kind:literal),* $(,)?) => { $(impl Owned for $type { const KIND: &'static str = $kind; })* };
}
owned! {
    k8s_openapi::api::apps::v1::Deployment: "Deployment",
    k8s_openapi::api::core::v1::ConfigMap: "ConfigMap",
    k8s_openapi::api::core::v1::Service: "Service",
    k8s_openapi::api::core::v1::ServiceAccount: "ServiceAccount",
    k8s_openapi::api::networking::v1::NetworkPolicy: "NetworkPolicy",
    k8s_openapi::api::policy::v1::PodDisruptionBudget: "PodDisruptionBudget",
}

/// Applies the objects of one proxy.
pub(super) struct Applier<'a> {
    pub(super) client: &'a Client,
    pub(super) namespace: &'a str,
    /// The proxy's uid.
    pub(super) owner: &'a str,
    pub(super) memory: &'a Remembered<Key, Applied>,
}

impl Applier<'_> {
    fn api<K: Owned>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    fn key<K: Owned>(&self, name: &str) -> Key {
        Key {
            kind: K::KIND,
            namespace: self.namespace.to_owned(),
            owner: self.owner.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The object as it is.
    pub(super) async fn get<K: Owned>(&self, name: &str) -> Result<Option<K>, Error> {
        let found = self.api::<K>().get_opt(name).await;
        found.map_err(|error| Error::api("read", K::KIND, name, error))
    }

    /// Makes or changes an object; gives it back as it is now.
    pub(super) async fn apply<K: Owned>(&self, wanted: &K) -> Result<(K, Effect), Error> {
        let name = wanted.name_any();
        let key = self.key::<K>(&name);
        let before = self.memory.get(&key);
        let existed = before.is_some() || self.is_there::<K>(&name).await?;
        let now = match self.patch(&name, Patch::Apply(wanted)).await {
            Err(Error::Refused { status, .. }) if status.code == INVALID && existed => {
                self.overwrite(&name, wanted).await?
            }
            other => other?,
        };
        let sum = serde_json::to_vec(wanted).map(|bytes| short_sum(&bytes));
        let applied = Applied {
            wanted: sum.map_err(crate::objects::BuildError::from)?,
            changed: changed(now.meta()),
        };
        let effect = effect(existed, before.as_ref(), &applied);
        self.memory.set(key, applied);
        Ok((now, effect))
    }

    async fn patch<K: Owned>(&self, name: &str, patch: Patch<&K>) -> Result<K, Error> {
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

    /// Server-side apply cannot undo a change of the key of a list's entry: the changed entry stays beside ours, and
    /// the two may not go together (a Service with two ports of one name). A merge patch replaces lists as a whole.
    async fn overwrite<K: Owned>(&self, name: &str, wanted: &K) -> Result<K, Error> {
        self.patch(name, Patch::Merge(wanted)).await?;
        self.patch(name, Patch::Apply(wanted)).await
    }

    /// Whether the object exists. Never takes over what somebody else has made.
    async fn is_there<K: Owned>(&self, name: &str) -> Result<bool, Error> {
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

    /// Removes an object that is no longer wanted, if it is ours.
    pub(super) async fn remove<K: Owned>(&self, name: &str) -> Result<(), Error> {
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

fn owns(owner: &str, meta: &ObjectMeta) -> bool {
    meta.owner_references
        .iter()
        .flatten()
        .any(|reference| reference.uid == owner)
}

/// When our last apply changed something.
fn changed(meta: &ObjectMeta) -> Option<Time> {
    let entries = meta.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.is_none()
    });
    ours.filter_map(|entry| entry.time.clone()).next()
}

pub(super) fn effect(existed: bool, before: Option<&Applied>, now: &Applied) -> Effect {
    match before {
        None if existed => Effect::Nothing,
        None => Effect::Created,
        Some(before) if before.wanted != now.wanted => Effect::Changed,
        Some(before) if before.changed != now.changed => Effect::Repaired,
        Some(_) => Effect::Nothing,
    }
}
