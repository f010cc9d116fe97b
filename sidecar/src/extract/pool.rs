//! All workers: names looked up again and again, health checked, one picked by zone and load.
//!
//! A name may stand for many workers (a headless Service has one A record a pod). Nothing here is needed for
//! the sidecar to start: names that do not resolve yet and certificates that are not written yet are tried
//! again every `resolve_interval_ms`, and until then no worker is available. A call that finds no worker has
//! names looked up soon: in a rollout the last worker that is known may go right when its successor has come.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures::future::join_all;
use liquid_process::lock;
use tokio::sync::{Notify, OnceCell};
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use super::choose::{Candidate, choose};
use super::error::ExtractError;
use super::forward::{PrefixKey, rank};
use super::lookup::Resolver;
use super::tls::{Credentials, load};
use super::worker::Worker;
use super::{Settings, WorkerStatus};

/// The wait between a call that finds no worker and the lookup that it asks for: while none serves, every
/// call asks.
const LOOKUP_PAUSE: Duration = Duration::from_millis(500);

/// The wait between a call that finds no worker and the question for their health.
const CHECK_PAUSE: Duration = Duration::from_millis(100);

/// How often a call that waits for a worker looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The workers that the settings name.
#[derive(Debug)]
pub(super) struct Pool {
    settings: Settings,
    resolver: Arc<dyn Resolver>,
    workers: ArcSwap<Vec<Arc<Worker>>>,
    known: Mutex<PoolState>,
    /// Set once all names have been looked up for the first time.
    looked_up: OnceCell<()>,
    /// Notified when a call has found no worker: look the names up, ask for health.
    none_available: [Notify; 2],
    /// When a worker was last known to serve; at first the start.
    last_served: Mutex<Instant>,
}

/// The addresses and certificates found so far.
#[derive(Debug)]
struct PoolState {
    /// The addresses of each name, as it was last looked up with success.
    names: BTreeMap<String, Vec<SocketAddr>>,
    trust: TransportSecurity,
}

/// How connections to workers are secured.
#[derive(Debug)]
enum TransportSecurity {
    /// Plain HTTP/2.
    Plain,
    /// TLS with these files.
    Files(Credentials),
    /// No connection is possible: the files have not been usable yet.
    Missing(ExtractError),
}

/// The tasks that keep a pool up to date; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Upkeep {
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Pool {
    /// Reads the TLS files for the first time. Opens no connection.
    pub(super) fn new(settings: Settings, resolver: Arc<dyn Resolver>) -> Self {
        let trust = match settings.tls.as_ref().map(load) {
            None => TransportSecurity::Plain,
            Some(Ok(credentials)) => TransportSecurity::Files(credentials),
            Some(Err(error)) => {
                tracing::warn!(%error, "no worker can be asked until the TLS files can be used");
                TransportSecurity::Missing(error)
            }
        };
        // Plain addresses need no lookup: the first call finds them.
        let literal = |name: &String| Some((name.clone(), vec![name.parse().ok()?]));
        let names = settings.workers.iter().filter_map(literal).collect();
        let pool = Self {
            settings,
            resolver,
            workers: ArcSwap::default(),
            known: Mutex::new(PoolState { names, trust }),
            looked_up: OnceCell::new(),
            none_available: [Notify::new(), Notify::new()],
            last_served: Mutex::new(Instant::now()),
        };
        pool.update(false);
        pool
    }

    /// Starts looking names up and asking for health.
    pub(super) fn start_upkeep(self: &Arc<Self>) -> Upkeep {
        let (names, health) = (Arc::clone(self), Arc::clone(self));
        let mut resolve_at = every(self.settings.resolve_interval_ms);
        let mut check_at = every(self.settings.health_interval_ms);
        let time = Duration::from_millis(self.settings.connect_timeout_ms);
        let names = tokio::spawn(async move {
            names.look_up_once().await;
            resolve_at.reset();
            loop {
                tokio::select! {
                    _ = resolve_at.tick() => {}
                    () = names.none_available[0].notified() => tokio::time::sleep(LOOKUP_PAUSE).await,
                }
                names.resolve().await;
            }
        });
        let health = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = check_at.tick() => {}
                    () = health.none_available[1].notified() => tokio::time::sleep(CHECK_PAUSE).await,
                }
                let workers = health.workers.load_full();
                join_all(workers.iter().map(|worker| worker.check_health(time))).await;
                health.note_served();
            }
        });
        Upkeep {
            _tasks: [AbortOnDropHandle::new(names), AbortOnDropHandle::new(health)],
        }
    }

    /// Picks a worker that is available and not in `tried`: one of the own zone first, and after that of another.
    pub(super) async fn pick(&self, tried: &[SocketAddr]) -> Option<Arc<Worker>> {
        let mut open = self.open(tried).await;
        let now = Instant::now();
        let candidate = |worker: &Arc<Worker>| Candidate {
            near: tried.is_empty() == worker.is_in(&self.settings.zone),
            load: worker.load(now),
        };
        let candidates: Vec<_> = open.iter().map(candidate).collect();
        let chosen = choose(&candidates, |below| fastrand::usize(..below))?;
        Some(open.swap_remove(chosen))
    }

    /// Returns the workers that are available, in the order in which a call with this prefix tries them.
    pub(super) async fn rank(&self, prefix: &PrefixKey) -> Vec<Arc<Worker>> {
        let mut open = self.open(&[]).await;
        rank(&mut open, prefix, &self.settings.zone);
        open
    }

    /// Returns the workers that are available and not among those that were tried. If there is none, they are looked up
    /// again soon.
    async fn open(&self, tried: &[SocketAddr]) -> Vec<Arc<Worker>> {
        if self.workers.load().is_empty() {
            self.look_up_once().await;
        }
        let now = Instant::now();
        let workers = self.workers.load();
        let is_open = |worker: &&Arc<Worker>| !tried.contains(&worker.address) && worker.is_available(now);
        let open: Vec<_> = workers.iter().filter(is_open).cloned().collect();
        if open.is_empty() {
            self.none_available.iter().for_each(Notify::notify_one);
        }
        open
    }

    /// Waits until a worker can be asked, at most until `deadline`; returns true if there is one.
    ///
    /// At the start, and where the last worker was just lost, one is likely to come. Where none has served for as
    /// long as a call may wait, no call waits for one.
    pub(super) async fn wait_for_worker(&self, deadline: Instant) -> bool {
        let patience = Duration::from_millis(self.settings.deadline_ms);
        let limit = deadline.min(*lock(&self.last_served) + patience);
        self.look_until(limit, || {}).await
    }

    /// Looks for a worker that can be asked, at most until `limit`; returns true if there is one. Each look in vain is
    /// followed by `meanwhile`.
    pub(super) async fn look_until(&self, limit: Instant, meanwhile: impl Fn()) -> bool {
        while self.pick(&[]).await.is_none() {
            let now = Instant::now();
            if now >= limit {
                return false;
            }
            meanwhile();
            tokio::time::sleep(LOOK_INTERVAL.min(limit - now)).await;
        }
        true
    }

    /// Notes that a worker serves, if one is known to.
    pub(super) fn note_served(&self) {
        if self.has_healthy() {
            *lock(&self.last_served) = Instant::now();
        }
    }

    /// Returns whether any worker can be asked now.
    pub(super) fn has_available(&self) -> bool {
        let now = Instant::now();
        self.workers.load().iter().any(|worker| worker.is_available(now))
    }

    /// Returns whether any worker is known to serve now.
    pub(super) fn has_healthy(&self) -> bool {
        let now = Instant::now();
        self.workers.load().iter().any(|worker| worker.is_healthy(now))
    }

    /// Says why there is no worker to pick.
    pub(super) fn no_worker_error(&self) -> ExtractError {
        let message = match (&self.known().trust, self.workers.load().is_empty()) {
            (TransportSecurity::Missing(error), _) => error.to_string(),
            (_, true) => "none is known yet; check that extract.workers can be looked up".to_owned(),
            (_, false) => "all are ejected after failures, or do not serve".to_owned(),
        };
        ExtractError::unavailable(message)
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

    /// Looks all names up and reads changed TLS files. A name that cannot be looked up keeps the addresses it
    /// had.
    async fn resolve(&self) {
        let names = &self.settings.workers;
        let found = join_all(names.iter().map(|name| self.resolver.lookup(name))).await;
        for (name, found) in names.iter().zip(found) {
            match found {
                Ok(addresses) => drop(self.known().names.insert(name.clone(), addresses)),
                Err(error) => {
                    tracing::warn!(
                        worker = %name,
                        %error,
                        "cannot look up the worker; keeping its known addresses"
                    );
                }
            }
        }
        let renewed = self.renew_trust();
        self.update(renewed);
    }

    /// Returns true if the TLS files have changed since they were read. Files that do not go together, as in
    /// the middle of a renewal, change nothing.
    fn renew_trust(&self) -> bool {
        let Some(tls) = &self.settings.tls else {
            return false;
        };
        let new = load(tls);
        let mut known = self.known();
        match (new, &known.trust) {
            (Ok(new), TransportSecurity::Files(old)) if old.fingerprint == new.fingerprint => false,
            (Ok(new), _) => {
                tracing::info!("the TLS files towards the workers are new, and in use");
                known.trust = TransportSecurity::Files(new);
                true
            }
            (Err(error), TransportSecurity::Files(_)) => {
                tracing::warn!(%error, "cannot read the TLS files again; keeping the old ones");
                false
            }
            (Err(error), _) => {
                known.trust = TransportSecurity::Missing(error);
                false
            }
        }
    }

    /// Keeps the workers that are still there, unless all must connect anew, and adds the new ones.
    fn update(&self, anew: bool) {
        let known = self.known();
        let addresses: BTreeSet<SocketAddr> = known.names.values().flatten().copied().collect();
        let tls = match &known.trust {
            TransportSecurity::Plain => None,
            TransportSecurity::Files(credentials) => Some(&credentials.config),
            TransportSecurity::Missing(_) => return,
        };
        let before = self.workers.load_full();
        if !anew && before.len() == addresses.len() && before.iter().all(|w| addresses.contains(&w.address)) {
            return;
        }
        let worker = |address: &SocketAddr| {
            let same = before
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

    fn known(&self) -> MutexGuard<'_, PoolState> {
        lock(&self.known)
    }
}

fn every(ms: u64) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(Duration::from_millis(ms));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
