//! All workers: names looked up again and again, health asked, the less busy of two picked.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures::future::join_all;
use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

use super::error::ExtractError;
use super::tls::{Credentials, load};
use super::worker::Worker;
use super::{Settings, WorkerStatus};

/// All workers that the settings name.
#[derive(Debug)]
pub(super) struct Pool {
    settings: Settings,
    workers: ArcSwap<Vec<Arc<Worker>>>,
    credentials: Mutex<Option<Credentials>>,
    /// Set once all names have been looked up for the first time.
    looked_up: OnceCell<()>,
}

/// The tasks that keep a pool up to date; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Upkeep {
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Pool {
    /// Reads the TLS files, so that a wrong path shows at the start. Connects to nobody.
    pub(super) fn new(settings: Settings) -> Result<Self, ExtractError> {
        let credentials = settings.tls.as_ref().map(load).transpose()?;
        let pool = Self {
            settings,
            workers: ArcSwap::default(),
            credentials: Mutex::new(credentials),
            looked_up: OnceCell::new(),
        };
        // Plain addresses need no lookup: the first call finds them.
        let literal = pool
            .settings
            .workers
            .iter()
            .filter_map(|worker| worker.parse().ok())
            .collect();
        pool.update(&literal, false);
        Ok(pool)
    }

    /// Starts looking names up and asking for health.
    pub(super) fn keep(self: &Arc<Self>) -> Upkeep {
        let (names, health) = (Arc::clone(self), Arc::clone(self));
        let every = |ms| {
            let mut interval = tokio::time::interval(Duration::from_millis(ms));
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            interval
        };
        let mut resolve_at = every(self.settings.resolve_interval_ms);
        let mut check_at = every(self.settings.health_interval_ms);
        let time = Duration::from_millis(self.settings.connect_timeout_ms);
        let names = tokio::spawn(async move {
            names.look_up_once().await;
            resolve_at.reset();
            loop {
                resolve_at.tick().await;
                names.resolve().await;
            }
        });
        let health = tokio::spawn(async move {
            loop {
                check_at.tick().await;
                let workers = health.workers.load_full();
                join_all(workers.iter().map(|worker| worker.check_health(time))).await;
            }
        });
        Upkeep {
            _tasks: [AbortOnDropHandle::new(names), AbortOnDropHandle::new(health)],
        }
    }

    /// The less busy of two workers that are available and not in `tried`.
    pub(super) async fn pick(&self, tried: &[SocketAddr]) -> Option<Arc<Worker>> {
        if self.workers.load().is_empty() {
            self.look_up_once().await;
        }
        let now = Instant::now();
        let workers = self.workers.load();
        let open: Vec<_> = workers
            .iter()
            .filter(|worker| !tried.contains(&worker.address) && worker.is_available(now))
            .collect();
        let one = fastrand::usize(..open.len().max(1));
        let other = (one + 1 + fastrand::usize(..open.len().saturating_sub(1).max(1))) % open.len().max(1);
        let (one, other) = (open.get(one)?, open.get(other)?);
        Some(Arc::clone(if other.load() < one.load() { other } else { one }))
    }

    pub(super) fn len(&self) -> usize {
        self.workers.load().len()
    }

    pub(super) fn status(&self) -> Vec<WorkerStatus> {
        let now = Instant::now();
        self.workers
            .load()
            .iter()
            .map(|worker| worker.status(now))
            .collect()
    }

    /// Waits for the first lookup and for no other: a name server that is out of order must not hold calls up.
    async fn look_up_once(&self) {
        self.looked_up.get_or_init(|| self.resolve()).await;
    }

    /// Looks all names up and reads changed TLS files. What cannot be looked up keeps what it had.
    async fn resolve(&self) {
        let mut addresses = BTreeSet::new();
        for name in &self.settings.workers {
            match tokio::net::lookup_host(name).await {
                Ok(found) => addresses.extend(found),
                Err(error) => {
                    tracing::warn!(worker = %name, %error, "cannot look up the worker; keeping the known ones");
                    addresses.extend(self.workers.load().iter().map(|worker| worker.address));
                }
            }
        }
        let renewed = self.renew_credentials();
        self.update(&addresses, renewed);
    }

    /// True if the TLS files have changed since they were read.
    fn renew_credentials(&self) -> bool {
        let Some(tls) = &self.settings.tls else {
            return false;
        };
        let mut credentials = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        match load(tls) {
            Ok(new)
                if credentials
                    .as_ref()
                    .is_none_or(|old| old.fingerprint != new.fingerprint) =>
            {
                *credentials = Some(new);
                true
            }
            Ok(_) => false,
            Err(error) => {
                tracing::warn!(%error, "cannot read the TLS files again; keeping the old ones");
                false
            }
        }
    }

    /// Keeps the workers that are still there, unless all must connect anew, and adds the new ones.
    fn update(&self, addresses: &BTreeSet<SocketAddr>, anew: bool) {
        let known = self.workers.load_full();
        if !anew && known.len() == addresses.len() && known.iter().all(|w| addresses.contains(&w.address)) {
            return;
        }
        let credentials = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        let tls = credentials.as_ref().map(|credentials| &credentials.config);
        let worker = |address: &SocketAddr| {
            let same = known
                .iter()
                .find(|worker| !anew && worker.address == *address)
                .cloned();
            let new = || {
                Worker::new(*address, &self.settings, tls)
                    .inspect_err(
                        |error| tracing::warn!(worker = %address, %error, "cannot set up the connection"),
                    )
                    .ok()
            };
            same.or_else(|| new().map(Arc::new))
        };
        self.workers
            .store(Arc::new(addresses.iter().filter_map(worker).collect()));
    }
}
