//! Which pod is evicted next, and what an eviction has come to: pure.
//!
//! One pod of the cluster at a time. The next one goes when a successor with the sidecar is ready; one that comes without
//! it stops all evictions for a while, because the webhook is not at work and the next pods would be evicted for nothing.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::candidates::{Candidate, Controller};

/// How long the successor of an evicted pod may take to be ready.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(600);
/// How long nothing is evicted after a successor came without the sidecar.
pub(super) const PAUSE: Duration = Duration::from_secs(1_800);
/// How long a pod is left alone that could not be evicted, such as for a disruption budget.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// An eviction whose successor is awaited.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) proxy: String,
    pub(super) controller: Controller,
    since: Instant,
}

/// What is known of a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SuccessorState {
    pub(super) injected: bool,
    pub(super) ready: bool,
}

/// What an eviction has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The successor has the sidecar and is ready.
    Replaced,
    /// The successor has no sidecar either.
    WithoutSidecar,
    /// No successor was ready in time.
    NotReady,
}

/// The evictions of one term as leader.
#[derive(Debug, Default)]
pub(super) struct Mender {
    pending: Option<Pending>,
    /// Controllers whose pods are not evicted again, by uid.
    given_up: HashSet<String>,
    /// Pods that could not be evicted, by uid, and when that was tried.
    tried: HashMap<String, Instant>,
    paused: Option<Instant>,
}

impl Mender {
    /// Returns the eviction whose successor is awaited.
    pub(super) fn pending(&self) -> Option<&Pending> {
        self.pending.as_ref()
    }

    /// Chooses the pod to evict, if one may be: the first by name that a controller would replace.
    pub(super) fn choose<'a>(
        &mut self,
        missed: impl Iterator<Item = &'a Candidate>,
        now: Instant,
    ) -> Option<(&'a Candidate, &'a Controller)> {
        self.tried
            .retain(|_, tried| now.duration_since(*tried) < TRY_AGAIN);
        self.paused = self.paused.filter(|since| now.duration_since(*since) < PAUSE);
        if self.pending.is_some() || self.paused.is_some() {
            return None;
        }
        missed
            .filter(|pod| !self.tried.contains_key(&pod.uid))
            .filter_map(|pod| Some((pod, pod.controller.as_ref()?)))
            .filter(|(_, controller)| controller.replaces_pods && !self.given_up.contains(&controller.uid))
            .min_by(|(a, _), (b, _)| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)))
    }

    /// Notes that a pod could not be evicted.
    pub(super) fn note_failure(&mut self, uid: &str, now: Instant) {
        self.tried.insert(uid.into(), now);
    }

    /// Notes that a pod was evicted, and awaits its successor.
    pub(super) fn note_eviction(
        &mut self,
        pod: &Candidate,
        controller: Controller,
        proxy: &str,
        now: Instant,
    ) {
        self.pending = Some(Pending {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            proxy: proxy.into(),
            controller,
            since: now,
        });
    }

    /// Judges the pending eviction; none as long as it is open.
    pub(super) fn judge(&mut self, successor: Option<SuccessorState>, now: Instant) -> Option<Ending> {
        let pending = self.pending.as_ref()?;
        let ending = match successor {
            Some(SuccessorState { injected: false, .. }) => Ending::WithoutSidecar,
            Some(SuccessorState { ready: true, .. }) => Ending::Replaced,
            _ if now.duration_since(pending.since) >= READY_WITHIN => Ending::NotReady,
            _ => return None,
        };
        if ending != Ending::Replaced {
            self.given_up.insert(pending.controller.uid.clone());
        }
        if ending == Ending::WithoutSidecar {
            self.paused = Some(now);
        }
        self.pending = None;
        Some(ending)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn pod(name: &str, controller: &str, replaces_pods: bool) -> Candidate {
        Candidate {
            uid: name.into(),
            namespace: "shop".into(),
            name: name.into(),
            label: None,
            controller: Some(Controller {
                uid: controller.into(),
                kind: "ReplicaSet".into(),
                name: controller.into(),
                replaces_pods,
            }),
        }
    }

    /// Two pods of one controller, and one of another.
    fn three_pods() -> [Candidate; 3] {
        [
            pod("a", "web", true),
            pod("b", "web", true),
            pod("c", "api", true),
        ]
    }

    fn choose(mender: &mut Mender, pods: &[Candidate], now: Instant) -> Option<String> {
        mender.choose(pods.iter(), now).map(|(pod, _)| pod.name.clone())
    }

    fn evict(mender: &mut Mender, pod: &Candidate, now: Instant) {
        mender.note_eviction(pod, pod.controller.clone().unwrap(), "docs", now);
    }

    const READY: SuccessorState = SuccessorState {
        injected: true,
        ready: true,
    };

    #[test]
    fn one_pod_goes_at_a_time_and_the_next_when_its_successor_is_ready() {
        let (mut mender, now) = (Mender::default(), Instant::now());
        let pods = [pod("b", "web", true), pod("a", "web", true)];
        assert_eq!(choose(&mut mender, &pods, now).as_deref(), Some("a"));
        evict(&mut mender, &pods[1], now);
        assert_eq!(choose(&mut mender, &pods[..1], now), None);
        assert_eq!(mender.judge(None, now), None);
        let starting = SuccessorState {
            ready: false,
            ..READY
        };
        assert_eq!(mender.judge(Some(starting), now), None);
        assert_eq!(mender.judge(Some(READY), now), Some(Ending::Replaced));
        assert_eq!(choose(&mut mender, &pods[..1], now).as_deref(), Some("b"));
    }

    #[test]
    fn a_pod_that_nothing_replaces_is_never_chosen() {
        let (mut mender, now) = (Mender::default(), Instant::now());
        let alone = Candidate {
            controller: None,
            ..pod("alone", "", false)
        };
        assert_eq!(choose(&mut mender, &[alone, pod("job", "job", false)], now), None);
    }

    #[test]
    fn a_successor_without_the_sidecar_stops_all_evictions() {
        let (mut mender, now) = (Mender::default(), Instant::now());
        let pods = three_pods();
        evict(&mut mender, &pods[0], now);
        let without = SuccessorState {
            injected: false,
            ready: true,
        };
        assert_eq!(mender.judge(Some(without), now), Some(Ending::WithoutSidecar));
        assert_eq!(choose(&mut mender, &pods[1..], now), None);
        let later = now + PAUSE;
        assert_eq!(choose(&mut mender, &pods[1..], later).as_deref(), Some("c"));
    }

    #[test]
    fn a_controller_whose_pods_do_not_become_ready_is_left_alone() {
        let (mut mender, now) = (Mender::default(), Instant::now());
        let pods = three_pods();
        evict(&mut mender, &pods[0], now);
        assert_eq!(mender.judge(None, now + READY_WITHIN), Some(Ending::NotReady));
        assert_eq!(choose(&mut mender, &pods[1..], now).as_deref(), Some("c"));
    }

    #[test]
    fn a_pod_that_a_budget_keeps_is_tried_again_later() {
        let (mut mender, now) = (Mender::default(), Instant::now());
        let pods = [pod("a", "web", true), pod("b", "api", true)];
        mender.note_failure("a", now);
        assert_eq!(choose(&mut mender, &pods, now).as_deref(), Some("b"));
        assert_eq!(choose(&mut mender, &pods, now + TRY_AGAIN).as_deref(), Some("a"));
    }
}
