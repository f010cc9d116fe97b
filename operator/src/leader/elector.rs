//! Decides what a candidate does next, from what it has observed. Pure: times are arguments.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// What a candidate writes next.
#[derive(Clone, Debug, PartialEq)]
pub enum NextWrite {
    /// Nothing: the Lease is held by another candidate, and has not expired.
    Wait,
    /// A new Lease: there is none.
    Create(Lease),
    /// The Lease over the version that was read: it is held by this candidate, free or expired.
    Write(Lease),
}

/// A Lease as it was seen, and since when it is known not to have changed.
#[derive(Clone, Debug)]
struct ObservedLease {
    spec: LeaseSpec,
    /// Version of the whole object; none once it may be old.
    version: Option<String>,
    since: Instant,
}

/// What a candidate has observed of the Lease.
#[derive(Clone, Debug)]
pub struct Elector {
    identity: String,
    duration: Duration,
    observed: Option<ObservedLease>,
    /// Whether the Lease was looked for and not found.
    absent: bool,
    /// The newest version that was seen.
    newest: u64,
    set_back: Option<SetBack>,
}

/// The cluster's data were set back to an earlier state: versions only grow otherwise. A watch that goes on from a later
/// version is told nothing until that one is reached again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the Lease has version {version}, and had {newest} before: the cluster's data were restored from an earlier copy; this \
     replica ends, and knows the present state after its next start"
)]
pub struct SetBack {
    version: u64,
    newest: u64,
}

impl Elector {
    /// Creates an elector that has observed nothing yet.
    pub fn new(identity: String, duration: Duration) -> Self {
        Self {
            identity,
            duration,
            observed: None,
            absent: false,
            newest: 0,
            set_back: None,
        }
    }

    /// Records the Lease as it was read or written.
    pub fn observe(&mut self, lease: Option<&Lease>, now: Instant) {
        self.absent = lease.is_none();
        let Some(lease) = lease else {
            self.observed = None;
            return;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let version = lease.metadata.resource_version.clone();
        if let Some(version) = version.as_ref().and_then(|version| version.parse().ok()) {
            let newest = self.newest.max(version);
            if version < newest {
                self.set_back = Some(SetBack { version, newest });
            }
            self.newest = newest;
        }
        match &mut self.observed {
            // Labels may change and the holder sleep: only what the holder writes proves that it lives.
            Some(observed) if observed.spec == spec => observed.version = version,
            _ => {
                self.observed = Some(ObservedLease {
                    spec,
                    version,
                    since: now,
                });
            }
        }
    }

    /// Makes the next try read anew, because the version that was read last may be old.
    pub fn forget_version(&mut self) {
        self.absent = false;
        if let Some(observed) = &mut self.observed {
            observed.version = None;
        }
    }

    /// Returns true if a write can be tried without reading.
    pub fn knows_version(&self) -> bool {
        self.observed
            .as_ref()
            .is_some_and(|observed| observed.version.is_some())
    }

    /// Returns how far the cluster's data were set back, once they were.
    pub fn set_back(&self) -> Option<SetBack> {
        self.set_back
    }

    /// Returns true if another candidate was seen to hold the Lease.
    pub fn is_taken(&self) -> bool {
        let holder = self.observed.as_ref().and_then(|observed| holder(&observed.spec));
        holder.is_some_and(|holder| *holder != self.identity)
    }

    /// Decides what to write now. `wall` is only written for people to read.
    pub fn next(&self, now: Instant, wall: Timestamp) -> NextWrite {
        let Some(observed) = &self.observed else {
            return match self.absent {
                true => NextWrite::Create(self.lease(self.claim(None, wall), None)),
                false => NextWrite::Wait,
            };
        };
        let Some(version) = observed.version.clone() else {
            return NextWrite::Wait;
        };
        if self.is_taken() && now < observed.since + duration(&observed.spec) {
            return NextWrite::Wait;
        }
        NextWrite::Write(self.lease(self.claim(Some(&observed.spec), wall), Some(version)))
    }

    /// Returns the Lease as it is released, if this candidate holds it.
    pub fn released(&self, wall: Timestamp) -> Option<Lease> {
        let observed = self.observed.as_ref()?;
        let version = observed.version.clone()?;
        if holder(&observed.spec) != Some(&self.identity) {
            return None;
        }
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            // The shortest that is valid, as client-go does.
            lease_duration_seconds: Some(1),
            renew_time: Some(MicroTime(wall)),
            acquire_time: Some(MicroTime(wall)),
            ..observed.spec.clone()
        };
        Some(self.lease(spec, Some(version)))
    }

    fn claim(&self, before: Option<&LeaseSpec>, wall: Timestamp) -> LeaseSpec {
        let ours = before.is_some_and(|spec| holder(spec) == Some(&self.identity));
        let transitions = before.and_then(|spec| spec.lease_transitions);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: match (ours, before) {
                (true, Some(spec)) => spec.acquire_time.clone(),
                _ => Some(MicroTime(wall)),
            },
            renew_time: Some(MicroTime(wall)),
            lease_transitions: match (ours, before) {
                (true, _) => transitions,
                (false, Some(_)) => Some(transitions.unwrap_or(0).saturating_add(1)),
                (false, None) => Some(0),
            },
            ..LeaseSpec::default()
        }
    }

    fn lease(&self, spec: LeaseSpec, version: Option<String>) -> Lease {
        let mut lease = Lease {
            spec: Some(spec),
            ..Lease::default()
        };
        lease.metadata.resource_version = version;
        lease
    }
}

fn holder(spec: &LeaseSpec) -> Option<&String> {
    spec.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

fn duration(spec: &LeaseSpec) -> Duration {
    let seconds = spec.lease_duration_seconds.unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
