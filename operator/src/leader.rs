//! Elects the replica that writes, on a Lease, with the rules and times of client-go's `leaderelection`.
//!
//! [`elector`] decides from what it has observed, without a clock and without a cluster; this file talks to
//! the API server and runs the leader's work.
//!
//! # Why not a library
//! The rules are few, and kubert's `lease` breaks the first guarantee below: it compares its own clock with
//! the expiry that another machine wrote (`Utc::now() < expiry`), so a clock that is ahead takes a Lease that
//! still holds.
//!
//! # Guarantees
//! - A Lease expires when it has not been *seen to change* for its duration. Times that other machines wrote
//!   are never compared with ours: clocks differ.
//! - Every write is bound to the version that was read, so of two candidates one wins.
//! - A leader that could not renew for [`Timings::renew`] stops its work; others take over after the lease's
//!   own duration at the earliest. The difference is the time that its work has to end.
//! - The Lease shows when the cluster's data were restored from an earlier copy: its version is lower than before. The
//!   watches of this process would be told nothing until that version is reached again, so the process has to end.
//! - On shutdown the work ends first, then the Lease is released, and another replica takes over at once.
//!
//! # Caveat
//! Like every lease, this one cannot stop a write that is on its way already. What the leader writes is
//! either bound to a version or the same whoever writes it.

pub mod elector;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::names::FIELD_MANAGER;
pub use elector::SetBack;
use elector::{Elector, NextWrite};

/// Durations of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How long a Lease holds without being renewed.
    pub lease: Duration,
    /// How long the leader tries to renew it before it gives up.
    pub renew: Duration,
    /// Pause between two tries.
    pub retry: Duration,
}

impl Default for Timings {
    /// Returns the durations of client-go.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// A candidate and the Lease that it stands for.
#[derive(Clone)]
pub struct Election {
    /// Client of the API server.
    pub client: Client,
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub lease: String,
    /// Identity of this replica: unique, also among restarts of one pod. See [`make_identity`].
    pub identity: String,
    /// Durations of the election.
    pub timings: Timings,
}

/// Makes a name for this replica that no other one and no earlier one has.
pub fn make_identity(pod: &str) -> String {
    format!("{pod}_{:016x}", fastrand::u64(..))
}

/// Stands for election until `stop`, and runs `lead` for every term. The token that it is given ends with the
/// term; `lead` has the rest of the lease to end after it, then it is dropped. `leading` shows whether this
/// replica leads.
///
/// # Errors
/// The cluster's data were set back, and what this replica remembers is not there any more. One that does not lead says so
/// a lease later: meanwhile it answers reviews, while the leader starts again.
pub async fn run<F, W>(
    election: Election,
    stop: CancellationToken,
    leading: watch::Sender<bool>,
    lead: F,
) -> Result<(), SetBack>
where
    F: Fn(CancellationToken) -> W,
    W: Future<Output = ()>,
{
    let mut candidate = Candidate::new(election);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = candidate.acquire() => {}
        }
        if let Some(set_back) = candidate.elector.set_back() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(candidate.election.timings.lease) => {}
            }
            return Err(set_back);
        }
        tracing::info!(identity = candidate.election.identity, "leading");
        leading.send_replace(true);
        let term = CancellationToken::new();
        let mut work = std::pin::pin!(lead(term.clone()));
        let ended = tokio::select! {
            () = stop.cancelled() => TermEnd::Stopped,
            () = candidate.hold() => TermEnd::Lost,
            () = &mut work => TermEnd::Finished,
        };
        leading.send_replace(false);
        term.cancel();
        if ended != TermEnd::Finished {
            let left = candidate
                .election
                .timings
                .lease
                .saturating_sub(candidate.election.timings.renew);
            if timeout(left, work).await.is_err() {
                tracing::warn!("the leader's work did not end in time and was cut off");
            }
        }
        let set_back = candidate.elector.set_back();
        if ended == TermEnd::Lost && set_back.is_none() {
            tracing::warn!("the Lease was lost");
            continue;
        }
        candidate.release().await;
        return set_back.map_or(Ok(()), Err);
    }
}

/// Why a term as leader has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TermEnd {
    Stopped,
    Lost,
    Finished,
}

/// A replica that stands for election.
struct Candidate {
    election: Election,
    leases: Api<Lease>,
    elector: Elector,
}

impl Candidate {
    fn new(election: Election) -> Self {
        Self {
            leases: Api::namespaced(election.client.clone(), &election.namespace),
            elector: Elector::new(election.identity.clone(), election.timings.lease),
            election,
        }
    }

    /// Tries until this replica holds the Lease, or must not hold it any more.
    async fn acquire(&mut self) {
        loop {
            if self.attempt(self.election.timings.renew).await || self.elector.set_back().is_some() {
                return;
            }
            // Candidates that started together do not ask together for ever.
            let jitter = 1.0 + 0.2 * fastrand::f64();
            tokio::time::sleep(self.election.timings.retry.mul_f64(jitter)).await;
        }
    }

    /// Renews until that has failed for too long, or the cluster's data were set back.
    async fn hold(&mut self) {
        let Timings { renew, retry, .. } = self.election.timings;
        let mut deadline = Instant::now() + renew;
        loop {
            tokio::time::sleep_until(deadline.min(Instant::now() + retry)).await;
            let begun = Instant::now();
            // A call that hangs must not use up the time of all further tries.
            let limit = deadline.saturating_duration_since(begun).min(2 * retry);
            if self.attempt(limit).await {
                deadline = begun + renew;
            } else if self.elector.is_taken()
                || self.elector.set_back().is_some()
                || Instant::now() >= deadline
            {
                return;
            }
        }
    }

    /// Tries once to get or to keep the Lease. Returns true if this replica holds it now.
    async fn attempt(&mut self, limit: Duration) -> bool {
        match timeout(limit, self.exchange()).await {
            Ok(Ok(ours)) => ours,
            Ok(Err(error)) => {
                // Read anew: the version at hand may be old.
                self.elector.forget_version();
                tracing::warn!(%error, lease = self.election.lease, "the Lease could not be read or written");
                false
            }
            Err(_) => {
                self.elector.forget_version();
                tracing::warn!(
                    lease = self.election.lease,
                    "the API server did not answer in time"
                );
                false
            }
        }
    }

    async fn exchange(&mut self) -> Result<bool, kube::Error> {
        if !self.elector.knows_version() {
            let lease = self.leases.get_opt(&self.election.lease).await?;
            self.elector.observe(lease.as_ref(), Instant::now());
        }
        if self.elector.set_back().is_some() {
            return Ok(false);
        }
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        let written = match self.elector.next(Instant::now(), Timestamp::now()) {
            NextWrite::Wait => {
                self.elector.forget_version();
                return Ok(false);
            }
            NextWrite::Create(lease) => {
                let lease = self.set_name(lease);
                self.leases.create(&params, &lease).await
            }
            NextWrite::Write(lease) => {
                let lease = self.set_name(lease);
                self.leases.replace(&self.election.lease, &params, &lease).await
            }
        };
        match written {
            Ok(lease) => {
                self.elector.observe(Some(&lease), Instant::now());
                Ok(true)
            }
            // Another candidate was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.elector.forget_version();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn set_name(&self, mut lease: Lease) -> Lease {
        lease.metadata.name = Some(self.election.lease.clone());
        lease.metadata.namespace = Some(self.election.namespace.clone());
        lease
    }

    /// Releases the Lease, so that no other replica has to wait for it to expire.
    async fn release(&mut self) {
        match timeout(self.election.timings.retry, self.try_release()).await {
            Ok(Ok(())) => tracing::info!("the Lease was released"),
            Ok(Err(error)) => tracing::warn!(%error, "the Lease could not be released; it expires"),
            Err(_) => tracing::warn!("the API server did not answer; the Lease expires"),
        }
    }

    async fn try_release(&mut self) -> Result<(), kube::Error> {
        // A renewal may have been on its way when the work ended, so the version at hand may be old.
        let lease = self.leases.get_opt(&self.election.lease).await?;
        self.elector.observe(lease.as_ref(), Instant::now());
        if let Some(lease) = self.elector.released(Timestamp::now()) {
            let lease = self.set_name(lease);
            let params = PostParams::default();
            self.leases.replace(&self.election.lease, &params, &lease).await?;
        }
        Ok(())
    }
}
