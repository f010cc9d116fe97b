//! What the watch of pods' metadata has shown: the pods that may lack the sidecar, and the successor of an evicted one.
//!
//! A pod with the annotation that injection sets is forgotten at once, so that memory grows with the pods that have no
//! sidecar, not with all.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;

use crate::names::{INJECT_LABEL, INJECTED_ANNOTATION};

/// A pod without its content.
pub(super) type PodMetadata = PartialObjectMeta<Pod>;

/// A pod that may lack the sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Value of the pod's own label that opts in or out.
    pub(super) label: Option<String>,
    /// The controller that creates the pod again.
    pub(super) controller: Option<Controller>,
}

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Controller {
    pub(super) uid: String,
    pub(super) kind: String,
    pub(super) name: String,
    /// Whether it is one of Kubernetes' own that keep as many pods running as asked for. A Job's pod has a work to end, and
    /// what a controller that is not known does with a pod that goes is not known either.
    pub(super) replaces_pods: bool,
}

impl Controller {
    pub(super) fn of_meta(meta: &ObjectMeta) -> Option<Self> {
        let mut owners = meta.owner_references.iter().flatten();
        let owner = owners.find(|owner| owner.controller == Some(true))?;
        Some(Self {
            uid: owner.uid.clone(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            replaces_pods: replaces_pods(owner),
        })
    }
}

fn replaces_pods(owner: &OwnerReference) -> bool {
    let apps = ["ReplicaSet", "StatefulSet", "DaemonSet"];
    owner.api_version.starts_with("apps/") && apps.contains(&owner.kind.as_str())
        || owner.api_version == "v1" && owner.kind == "ReplicationController"
}

/// Returns whether a pod has the annotation that injection sets.
fn is_injected(meta: &ObjectMeta) -> bool {
    let annotations = meta.annotations.as_ref();
    annotations.is_some_and(|all| all.contains_key(INJECTED_ANNOTATION))
}

impl Candidate {
    /// Reads a pod's metadata; none of a pod that has the sidecar, has opted out or is being deleted.
    fn from_meta(meta: &ObjectMeta) -> Option<Self> {
        let labels = meta.labels.as_ref();
        let label = labels.and_then(|labels| labels.get(INJECT_LABEL)).cloned();
        if is_injected(meta) || meta.deletion_timestamp.is_some() || label.as_deref() == Some("disabled") {
            return None;
        }
        Some(Self {
            uid: meta.uid.clone()?,
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
            label,
            controller: Controller::of_meta(meta),
        })
    }
}

/// The pod that a controller creates in the place of an evicted one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Successor {
    pub(super) name: String,
    /// Whether it has the annotation that injection sets.
    pub(super) injected: bool,
}

/// What is awaited after an eviction.
#[derive(Debug)]
struct Awaited {
    controller: String,
    /// Pods of the controller that were there before.
    before: HashSet<String>,
    successor: Option<Successor>,
}

/// Pods that may lack the sidecar, by uid.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pods: HashMap<String, Candidate>,
    /// Pods of a list that has begun again.
    incoming: HashMap<String, Candidate>,
    known: bool,
    awaited: Option<Awaited>,
}

impl Candidates {
    /// Takes in what the watch shows.
    pub(super) fn apply(&mut self, event: Event<PodMetadata>) {
        match event {
            Event::Init => self.incoming.clear(),
            Event::InitApply(pod) => {
                self.note_successor(&pod.metadata);
                if let Some(candidate) = Candidate::from_meta(&pod.metadata) {
                    self.incoming.insert(candidate.uid.clone(), candidate);
                }
            }
            Event::InitDone => {
                self.pods = std::mem::take(&mut self.incoming);
                self.known = true;
            }
            Event::Apply(pod) => {
                self.note_successor(&pod.metadata);
                match Candidate::from_meta(&pod.metadata) {
                    Some(candidate) => {
                        self.pods.insert(candidate.uid.clone(), candidate);
                    }
                    None => self.forget(&pod.metadata),
                }
            }
            Event::Delete(pod) => self.forget(&pod.metadata),
        }
    }

    fn forget(&mut self, meta: &ObjectMeta) {
        if let Some(uid) = &meta.uid {
            self.pods.remove(uid);
        }
    }

    /// Returns whether all pods have been seen once.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// Iterates over the pods.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.pods.values()
    }

    /// Returns a pod that is still there.
    pub(super) fn get(&self, uid: &str) -> Option<&Candidate> {
        self.pods.get(uid)
    }

    /// Waits for a pod of a controller that is not among those of before.
    pub(super) fn await_successor(&mut self, controller: &str, before: HashSet<String>) {
        self.awaited = Some(Awaited {
            controller: controller.into(),
            before,
            successor: None,
        });
    }

    /// Returns the awaited pod, once the watch has shown it.
    pub(super) fn successor(&self) -> Option<&Successor> {
        self.awaited.as_ref()?.successor.as_ref()
    }

    fn note_successor(&mut self, meta: &ObjectMeta) {
        let Some(awaited) = &mut self.awaited else { return };
        let (Some(uid), Some(name)) = (&meta.uid, &meta.name) else {
            return;
        };
        let own = Controller::of_meta(meta).is_some_and(|found| found.uid == awaited.controller);
        if own && meta.deletion_timestamp.is_none() && !awaited.before.contains(uid) {
            awaited.successor = Some(Successor {
                name: name.clone(),
                injected: is_injected(meta),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;

    fn pod(uid: &str, more: Value) -> PodMetadata {
        let mut meta = json!({
            "uid": uid, "name": format!("web-{uid}"), "namespace": "shop",
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "owner", "controller": true},
            ],
        });
        let fields = more.as_object().cloned().unwrap_or_default();
        meta.as_object_mut().unwrap().extend(fields);
        serde_json::from_value(json!({ "metadata": meta })).unwrap()
    }

    fn injected(uid: &str) -> PodMetadata {
        pod(uid, json!({"annotations": {INJECTED_ANNOTATION: "docs"}}))
    }

    fn uids(candidates: &Candidates) -> Vec<&str> {
        let mut uids: Vec<&str> = candidates.iter().map(|one| one.uid.as_str()).collect();
        uids.sort_unstable();
        uids
    }

    #[test]
    fn pods_with_the_sidecar_and_those_that_go_are_forgotten() {
        let mut candidates = Candidates::default();
        candidates.apply(Event::Init);
        for event in [pod("a", json!({})), injected("b"), pod("c", json!({}))] {
            candidates.apply(Event::InitApply(event));
        }
        assert!(!candidates.is_known() && uids(&candidates).is_empty());
        candidates.apply(Event::InitDone);
        assert!(candidates.is_known());
        assert_eq!(uids(&candidates), ["a", "c"]);
        let going = json!({"deletionTimestamp": "2026-11-30T12:00:00Z"});
        candidates.apply(Event::Apply(pod("a", going)));
        assert_eq!(uids(&candidates), ["c"]);
        let out = json!({"labels": {INJECT_LABEL: "disabled"}});
        candidates.apply(Event::Apply(pod("e", out)));
        assert_eq!(uids(&candidates), ["c"], "a pod that has opted out");
        candidates.apply(Event::Delete(pod("c", json!({}))));
        candidates.apply(Event::Apply(pod(
            "d",
            json!({"labels": {INJECT_LABEL: "enabled"}}),
        )));
        assert_eq!(candidates.get("d").unwrap().label.as_deref(), Some("enabled"));
        candidates.apply(Event::Init);
        assert_eq!(
            uids(&candidates),
            ["d"],
            "a list that begins again takes nothing away"
        );
        candidates.apply(Event::InitDone);
        assert!(uids(&candidates).is_empty());
    }

    #[test]
    fn a_successor_is_a_new_pod_of_the_same_controller() {
        let mut candidates = Candidates::default();
        candidates.await_successor("owner", ["a".to_owned(), "b".to_owned()].into());
        candidates.apply(Event::Apply(injected("b")));
        let foreign = json!({"ownerReferences": []});
        candidates.apply(Event::Apply(pod("x", foreign)));
        assert_eq!(candidates.successor(), None);
        candidates.apply(Event::Apply(injected("c")));
        let wanted = Successor {
            name: "web-c".into(),
            injected: true,
        };
        assert_eq!(candidates.successor(), Some(&wanted));
        candidates.await_successor("owner", HashSet::new());
        assert_eq!(candidates.successor(), None, "each eviction awaits its own");
        candidates.apply(Event::Apply(pod("d", json!({}))));
        assert_eq!(candidates.successor().map(|found| found.injected), Some(false));
    }

    #[test]
    fn only_controllers_that_keep_pods_running_replace_them() {
        let replaces = |api_version: &str, kind: &str, controller: bool| {
            let owner = json!([{
                "apiVersion": api_version, "kind": kind, "name": "a", "uid": "u", "controller": controller,
            }]);
            let pod = pod("a", json!({"ownerReferences": owner}));
            Controller::of_meta(&pod.metadata).is_some_and(|found| found.replaces_pods)
        };
        assert!(replaces("apps/v1", "ReplicaSet", true));
        assert!(replaces("apps/v1", "StatefulSet", true));
        assert!(replaces("apps/v1", "DaemonSet", true));
        assert!(replaces("v1", "ReplicationController", true));
        assert!(!replaces("apps/v1", "ReplicaSet", false));
        assert!(!replaces("batch/v1", "Job", true));
        assert!(!replaces("tekton.dev/v1", "TaskRun", true));
        assert!(!replaces("v1", "Node", true));
    }
}
