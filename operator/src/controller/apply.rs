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

/// An object: kind, namespace, name.
pub(super) type Key = (&'static str, String, String);

/// What was applied last to an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Applied {
    /// Sum of what was asked for.
    wanted: String,
    /// When the API server last changed something for us; it leaves the time alone when nothing was to change.
    changed: Option<Time>,
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

/// The kind of an object.
pub(super) fn kind_of<K: Owned>(_: &K) -> &'static str {
    K::KIND
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
        (K::KIND, self.namespace.to_owned(), name.to_owned())
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
        if before.is_none() {
            self.check_owner::<K>(&name).await?;
        }
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patched = self
            .api::<K>()
            .patch(&name, &parameters, &Patch::Apply(wanted))
            .await;
        let now = patched.map_err(|error| Error::api("apply", K::KIND, &name, error))?;
        let sum = serde_json::to_vec(wanted).map(|bytes| short_sum(&bytes));
        let applied = Applied {
            wanted: sum.map_err(crate::objects::BuildError::from)?,
            changed: changed(now.meta()),
        };
        let effect = effect(before.as_ref(), &applied, now.meta());
        self.memory.set(key, applied);
        Ok((now, effect))
    }

    /// Never takes over what somebody else has made.
    async fn check_owner<K: Owned>(&self, name: &str) -> Result<(), Error> {
        let found = self.api::<K>().get_metadata_opt(name).await;
        let found = found.map_err(|error| Error::api("read", K::KIND, name, error))?;
        match found {
            Some(found) if !owns(self.owner, &found.metadata) => Err(Error::NotOurs {
                kind: K::KIND,
                name: name.to_owned(),
            }),
            _ => Ok(()),
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

fn effect(before: Option<&Applied>, now: &Applied, meta: &ObjectMeta) -> Effect {
    match before {
        None if now.changed.is_some() && now.changed == meta.creation_timestamp => Effect::Created,
        None => Effect::Nothing,
        Some(before) if before.wanted != now.wanted => Effect::Changed,
        Some(before) if before.changed != now.changed => Effect::Repaired,
        Some(_) => Effect::Nothing,
    }
}
