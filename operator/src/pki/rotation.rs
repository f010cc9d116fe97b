//! When authorities and certificates are renewed: pure, the time is an argument.

use k8s_openapi::jiff::Timestamp;

use super::Times;

/// Between when and when something is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From.
    pub not_before: Timestamp,
    /// Until.
    pub not_after: Timestamp,
}

/// The authorities, as far as their rotation depends on them. Never `next` and `old` at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The one that signs.
    pub current: Validity,
    /// The one that is announced.
    pub next: Option<Validity>,
    /// The one that signed before.
    pub old: Option<Validity>,
    /// When everything was first seen to be as this phase wants it.
    pub complete_since: Option<Timestamp>,
}

/// What to do with the authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Keep,
    /// Make the next one and put it into every bundle.
    Announce,
    /// Note that everything is as this phase wants it.
    Complete,
    /// Let the next one sign and keep the current one in the bundles.
    Promote,
    /// Take the old one out of the bundles.
    Drop,
    /// Start anew: the current one has expired and there is no other.
    Replace,
}

/// Decides. `complete`: every bundle and every certificate is as this phase wants it.
pub fn step(state: &State, times: &Times, complete: bool, now: Timestamp) -> Step {
    let arrived = state
        .complete_since
        .is_some_and(|since| now.duration_since(since) >= signed(times));
    if state.old.is_some_and(|old| old.not_after <= now) {
        return Step::Drop;
    }
    if let Some(next) = state.next {
        // Better a pod that has not heard of the next one than all without a valid certificate.
        let hurry = state.current.not_after.duration_since(now) <= signed(times);
        return match () {
            () if next.not_after <= now => Step::Replace,
            () if arrived || hurry => Step::Promote,
            () if complete && state.complete_since.is_none() => Step::Complete,
            () => Step::Keep,
        };
    }
    if state.current.not_after <= now {
        return Step::Replace;
    }
    if state.old.is_some() {
        return match () {
            () if arrived => Step::Drop,
            () if complete && state.complete_since.is_none() => Step::Complete,
            () => Step::Keep,
        };
    }
    match is_due(state.current.not_before, state.current.not_after, now) {
        true => Step::Announce,
        false => Step::Keep,
    }
}

fn signed(times: &Times) -> k8s_openapi::jiff::SignedDuration {
    times
        .propagation
        .try_into()
        .unwrap_or(k8s_openapi::jiff::SignedDuration::MAX)
}

/// Whether two thirds of a life are over.
pub fn is_due(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> bool {
    let life = not_after.duration_since(not_before);
    not_after.duration_since(now) <= life / 3
}
