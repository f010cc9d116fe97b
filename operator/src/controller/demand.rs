//! Calls that wait for a worker where there is none: sidecars tell the webhook's listener, and the leader starts one.
//!
//! Nothing is stored: a sidecar asks again as long as calls wait, so that what one replica or one leader forgets costs a
//! second.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use liquid_process::lock;
use tokio::sync::Notify;

use super::context::ProxyKey;

/// What is asked of the leader.
#[derive(Default)]
pub struct Demand {
    leads: AtomicBool,
    waiting: Mutex<HashSet<ProxyKey>>,
    changed: Notify,
}

impl Demand {
    /// Asks for a worker of a proxy. Returns false where this replica does not lead: another one has to be asked.
    pub fn ask(&self, namespace: &str, proxy: &str) -> bool {
        if !self.leads.load(Ordering::Acquire) {
            return false;
        }
        lock(&self.waiting).insert(ProxyKey {
            namespace: namespace.to_owned(),
            name: proxy.to_owned(),
        });
        self.changed.notify_one();
        true
    }

    /// Takes what is asked while the returned value lives.
    pub(super) fn lead(&self) -> Leads<'_> {
        self.leads.store(true, Ordering::Release);
        Leads(self)
    }

    /// Waits until something is asked.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns for which proxies a worker was asked since the last time.
    pub(super) fn take(&self) -> HashSet<ProxyKey> {
        std::mem::take(&mut *lock(&self.waiting))
    }
}

/// The time in which this replica leads.
pub(super) struct Leads<'a>(&'a Demand);

impl Drop for Leads<'_> {
    fn drop(&mut self) {
        self.0.leads.store(false, Ordering::Release);
        self.0.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_leader_takes_what_is_asked() {
        let demand = Demand::default();
        assert!(!demand.ask("shop", "docs"));
        let leads = demand.lead();
        assert!(demand.ask("shop", "docs") && demand.ask("shop", "docs"));
        assert_eq!(demand.take().len(), 1);
        assert_eq!(demand.take().len(), 0);
        drop(leads);
        assert!(!demand.ask("shop", "docs"));
    }
}
