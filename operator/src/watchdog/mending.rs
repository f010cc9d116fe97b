//! Evicts the pods that [`Mender`](super::mender::Mender) chooses, and follows their successors.

use std::collections::HashSet;
use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::Value;

use super::absence::Absence;
use super::candidates::{Candidate, Candidates, Controller, PodMetadata};
use super::mender::{Ending, PAUSE, Pending, READY_WITHIN, SuccessorState};
use super::verdict::{Verdict, build_reference};
use super::{Watchdog, find_by_name};
use crate::api::reasons::EventReason;
use crate::controller::is_ready;
use crate::webhook::source::Source;

/// What an eviction was answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EvictionOutcome {
    /// The pod goes.
    Evicted,
    /// A disruption budget keeps the pod for now.
    Budget,
    /// The pod is gone already, or another one has its name.
    Gone,
    /// The API server refused or failed.
    Failed,
}

impl EvictionOutcome {
    /// Returns the stable name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Budget => "budget",
            Self::Gone => "gone",
            Self::Failed => "failed",
        }
    }

    fn from_failure(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                404 | 409 => Self::Gone,
                429 => Self::Budget,
                _ => Self::Failed,
            },
            _ => Self::Failed,
        }
    }
}

impl Watchdog {
    /// Follows the pending eviction, or evicts one pod. Without a webhook nothing is evicted: the successor would have no
    /// sidecar either.
    pub(super) async fn mend(
        &mut self,
        candidates: &mut Candidates,
        webhook: bool,
    ) -> Result<(), kube::Error> {
        if let Some(pending) = self.mender.pending().cloned() {
            return self.follow(&pending, candidates).await;
        }
        if !webhook {
            return Ok(());
        }
        let missed = self.verdicts.values().filter(|verdict| self.may_evict(verdict));
        let missed: Vec<Candidate> = missed.map(|verdict| verdict.candidate.clone()).collect();
        // It may have gone since it was read.
        let missed = missed.iter().filter(|pod| candidates.get(&pod.uid).is_some());
        let Some((pod, controller)) = self.mender.choose(missed, Instant::now()) else {
            return Ok(());
        };
        let before = self.list_siblings(pod, controller).await?;
        candidates.await_successor(&controller.uid, before);
        self.evict(pod, controller).await;
        Ok(())
    }

    /// Returns whether a pod would get the sidecar of a proxy that serves calls.
    fn may_evict(&self, verdict: &Verdict) -> bool {
        let Some(Absence::Missed { proxy: Some(proxy) }) = &verdict.absence else {
            return false;
        };
        self.cluster.is_proxy_ready(&verdict.candidate.namespace, proxy)
    }

    /// Lists the uids of a controller's pods.
    async fn list_siblings(
        &self,
        pod: &Candidate,
        controller: &Controller,
    ) -> Result<HashSet<String>, kube::Error> {
        let pods = Api::<PodMetadata>::namespaced(self.client.clone(), &pod.namespace);
        let all = pods.list(&ListParams::default()).await?.items.into_iter();
        let own = all.filter(|one| {
            Controller::of_meta(&one.metadata).is_some_and(|found| found.uid == controller.uid)
        });
        Ok(own.filter_map(|one| one.metadata.uid).collect())
    }

    async fn evict(&mut self, pod: &Candidate, controller: &Controller) {
        let verdict = self.verdicts.get(&pod.uid);
        let proxy = verdict
            .and_then(|verdict| verdict.proxy.clone())
            .unwrap_or_default();
        let outcome = match self.ask_to_evict(pod).await {
            Ok(_) => EvictionOutcome::Evicted,
            Err(error) => {
                let outcome = EvictionOutcome::from_failure(&error);
                tracing::info!(%error, namespace = pod.namespace, pod = pod.name, outcome = outcome.name(), "not evicted");
                outcome
            }
        };
        self.metrics.count_eviction(outcome.name());
        if outcome != EvictionOutcome::Evicted {
            self.mender.note_failure(&pod.uid, Instant::now());
            return;
        }
        tracing::info!(namespace = pod.namespace, pod = pod.name, proxy, "evicted");
        self.mender
            .note_eviction(pod, controller.clone(), &proxy, Instant::now());
        let note = format!(
            "opted in and without a sidecar: evicted, so that {} {} creates it again with the sidecar of {proxy}",
            controller.kind, controller.name
        );
        self.send(EventReason::PodEvicted, note, &build_reference(pod))
            .await;
    }

    /// Asks for the eviction of this pod, and of no other that may have its name by now.
    ///
    /// It is not `Api::evict`: kube 5.0 writes the options under a name that the API server does not know.
    async fn ask_to_evict(&self, pod: &Candidate) -> Result<Value, kube::Error> {
        let eviction = Eviction {
            metadata: ObjectMeta {
                name: Some(pod.name.clone()),
                namespace: Some(pod.namespace.clone()),
                ..ObjectMeta::default()
            },
            delete_options: Some(DeleteOptions {
                preconditions: Some(Preconditions {
                    uid: Some(pod.uid.clone()),
                    ..Preconditions::default()
                }),
                ..DeleteOptions::default()
            }),
        };
        let pods = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace);
        pods.create_subresource("eviction", &pod.name, &PostParams::default(), &eviction)
            .await
    }

    /// Looks at the successor of an evicted pod.
    async fn follow(&mut self, pending: &Pending, candidates: &Candidates) -> Result<(), kube::Error> {
        let state = match candidates.successor() {
            None => None,
            Some(successor) => {
                let pods = Api::<Pod>::namespaced(self.client.clone(), &pending.namespace);
                let found = find_by_name(&pods, &successor.name).await?;
                Some(SuccessorState {
                    injected: successor.injected,
                    ready: found.as_ref().is_some_and(is_ready),
                })
            }
        };
        let (namespace, pod) = (&pending.namespace, &pending.pod);
        let owner = format!("{} {}", pending.controller.kind, pending.controller.name);
        let note = match self.mender.judge(state, Instant::now()) {
            None => return Ok(()),
            Some(Ending::Replaced) => {
                tracing::info!(%namespace, pod, owner, "replaced by a pod with the sidecar");
                return Ok(());
            }
            Some(Ending::WithoutSidecar) => format!(
                "{owner} has replaced the evicted pod {pod} by one without a sidecar: nothing is evicted for {} minutes",
                PAUSE.as_secs() / 60
            ),
            Some(Ending::NotReady) => format!(
                "{owner} has not replaced the evicted pod {pod} by one that is ready within {} minutes: its other pods are \
                 left alone",
                READY_WITHIN.as_secs() / 60
            ),
        };
        tracing::warn!(%namespace, note);
        let proxy = self.cluster.reference(namespace, &pending.proxy);
        self.send(EventReason::EvictionsStopped, note, &proxy).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::EvictionOutcome;

    #[test]
    fn the_api_servers_answer_says_what_became_of_an_eviction() {
        let outcome = |code: u16| {
            let status = Status::failure("words", "reason").with_code(code);
            EvictionOutcome::from_failure(&kube::Error::Api(status.boxed())).name()
        };
        assert_eq!(outcome(429), "budget");
        assert_eq!(outcome(404), "gone");
        assert_eq!(outcome(409), "gone");
        assert_eq!(outcome(403), "failed");
    }
}
