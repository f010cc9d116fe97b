//! One answer for one ask: from the cache, from a call that already runs, or from the workers with retries, a
//! hedge and a deadline.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::{Either, FutureExt, select};
use liquid_process::flight::{SingleFlight, Waiter};
use liquid_process::{Lru, lock};
use tokio::sync::Semaphore;

use super::error::{AttemptFailure, ExtractError};
use super::lookup::{Resolver, SystemResolver};
use super::pool::{Pool, Upkeep};
use super::query::{Query, QueryKey};
use super::wake::Waker;
use super::worker::FailedAttempt;
use super::{CallTotals, Extraction, ReportOutcome, Settings, WorkerStatus};
use crate::api::Tier;

type ExtractResult = Result<Arc<Extraction>, ExtractError>;

/// A client of all workers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<State>,
    _upkeep: Arc<Upkeep>,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    pool: Arc<Pool>,
    waker: Option<Arc<Waker>>,
    slots: Semaphore,
    cache: Mutex<Lru<QueryKey, Arc<Extraction>>>,
    running: SingleFlight<QueryKey, ExtractResult>,
}

/// An answer and where it came from.
#[derive(Debug, Clone)]
pub struct ExtractAnswer {
    /// The evidence.
    pub extraction: Arc<Extraction>,
    /// Whether it came from the cache.
    pub cached: bool,
}

impl Client {
    /// Starts the background tasks; they end with the last clone. Must be called inside a tokio runtime. Does
    /// not wait for workers, their names and the TLS files may come later.
    pub fn start(settings: Settings) -> Self {
        Self::with_resolver(settings, Arc::new(SystemResolver))
    }

    /// Starts as [`Client::start`] does, with another resolver.
    pub(super) fn with_resolver(settings: Settings, resolver: Arc<dyn Resolver>) -> Self {
        let pool = Arc::new(Pool::new(settings.clone(), resolver));
        let upkeep = pool.start_upkeep();
        let ttl = Duration::from_secs(settings.cache_ttl_s);
        let wake = settings.wake.clone();
        let state = State {
            waker: wake.map(|wake| Waker::new(wake, settings.tls.clone())),
            slots: Semaphore::new(settings.max_in_flight.min(Semaphore::MAX_PERMITS)),
            cache: Mutex::new(Lru::new(settings.cache_bytes, ttl)),
            running: SingleFlight::default(),
            settings,
            pool,
        };
        Self {
            shared: Arc::new(state),
            _upkeep: Arc::new(upkeep),
        }
    }

    /// Finds the evidence. Callers that ask the same at the same time share one call; when all of them have
    /// gone away, the call is cancelled.
    ///
    /// # Errors
    /// [`ExtractError`] when no worker gave a usable answer in time.
    pub async fn extract(&self, query: Query) -> Result<ExtractAnswer, ExtractError> {
        let key = query.key();
        if let Some(extraction) = self.cached(&key) {
            return Ok(ExtractAnswer {
                extraction,
                cached: true,
            });
        }
        let answer = self.join(key, query).result().await;
        let extraction = answer.unwrap_or_else(|| Err(ExtractError::aborted()))?;
        Ok(ExtractAnswer {
            extraction,
            cached: false,
        })
    }

    /// Returns an earlier answer, if it is still known.
    pub fn cached(&self, key: &QueryKey) -> Option<Arc<Extraction>> {
        lock(&self.shared.cache).get(key, Instant::now()).cloned()
    }

    /// Returns the workers as the sidecar sees them now.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.shared.pool.status()
    }

    /// Reports what calls have come to, to the less busy of two workers. Takes `extract.connect_timeout_ms` at most.
    pub async fn report(&self, totals: CallTotals) -> ReportOutcome {
        let State { pool, settings, .. } = self.shared.as_ref();
        let time = Duration::from_millis(settings.connect_timeout_ms);
        let deadline = Instant::now() + time;
        match tokio::time::timeout(time, pool.pick(&[])).await {
            Ok(Some(worker)) => worker.report(totals, deadline).await,
            Ok(None) | Err(_) => ReportOutcome::NotCounted,
        }
    }

    /// Returns until when a call that begins now is held where there is no worker.
    pub fn hold_limit(&self) -> Instant {
        let waker = self.shared.waker.as_ref();
        waker.map_or_else(Instant::now, |waker| waker.limit())
    }

    /// Asks workers by `ask`, which forwards a call. Where there is none and one can be started, the call is held until it
    /// serves, at most until `limit`; `is_lost` says of an error that no worker answered.
    ///
    /// # Errors
    /// Those of `ask`, and [`ExtractError::Unavailable`] where the call was held in vain.
    pub async fn ask_or_hold<T, E, F>(
        &self,
        limit: Instant,
        ask: impl Fn() -> F,
        is_lost: impl Fn(&E) -> bool,
    ) -> Result<T, E>
    where
        E: From<ExtractError>,
        F: Future<Output = Result<T, E>>,
    {
        match &self.shared.waker {
            None => ask().await,
            Some(waker) => waker.ask_or_hold(&self.shared.pool, limit, ask, is_lost).await,
        }
    }

    /// Returns the workers.
    pub(super) fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    /// Returns how many workers a call tries.
    pub(super) fn attempts(&self) -> usize {
        self.shared.settings.attempts as usize
    }

    /// Joins the call that already runs for `key`, or starts one.
    fn join(&self, key: QueryKey, query: Query) -> Waiter<ExtractResult> {
        let state = Arc::clone(&self.shared);
        self.shared.running.join(key, None, |cancel| async move {
            let answer = cancel.run_until_cancelled(state.answer(&query)).await;
            let answer = answer
                .unwrap_or_else(|| Err(ExtractError::aborted()))
                .map(Arc::new);
            if let Ok(extraction) = &answer
                && !extraction.provisional
            {
                let weight = extraction.weight();
                lock(&state.cache).insert(key, Arc::clone(extraction), weight, Instant::now());
            }
            answer
        })
    }
}

impl State {
    /// Asks workers; where there is none and one can be started, once it is there.
    async fn answer(&self, query: &Query) -> Result<Extraction, ExtractError> {
        let Some(waker) = &self.waker else {
            return self.answer_in_time(query).await;
        };
        let ask = || self.answer_in_time(query);
        let is_lost = |error: &_| matches!(error, ExtractError::Unavailable { .. } | ExtractError::Timeout);
        waker.ask_or_hold(&self.pool, waker.limit(), ask, is_lost).await
    }

    /// Asks workers within the deadline.
    async fn answer_in_time(&self, query: &Query) -> Result<Extraction, ExtractError> {
        let time = self.settings.deadline(query.document.len());
        let deadline = Instant::now() + time;
        let work = async {
            let _slot = self.slots.acquire().await;
            self.hedged(query, deadline, time.mul_f64(self.settings.hedge_after.min(1.0)))
                .await
        };
        match tokio::time::timeout(time, work).await {
            Ok(answer) => answer,
            Err(_) if self.pool.has_available() => Err(ExtractError::Timeout),
            Err(_) => Err(self.pool.no_worker_error()),
        }
    }

    /// Asks one worker after the other, and from `after` on a second line of them beside the first.
    async fn hedged(
        &self,
        query: &Query,
        deadline: Instant,
        after: Duration,
    ) -> Result<Extraction, ExtractError> {
        let tried = Mutex::default();
        let first = self.attempts(query, deadline, &tried).boxed();
        let wait = tokio::time::sleep(after).boxed();
        let first = match select(first, wait).await {
            Either::Left((answer, _)) => return answer,
            Either::Right(((), first)) => first,
        };
        // Facts keep a worker's model busy for seconds; a second one would write the same.
        let facts = query.tier == Some(Tier::Decoder);
        if self.pool.len() < 2 || self.settings.hedge_after >= 1.0 || facts {
            return first.await;
        }
        let second = self.attempts(query, deadline, &tried).boxed();
        match select(first, second).await.factor_first() {
            (Ok(answer), _) => Ok(answer),
            (Err(_), other) => other.await,
        }
    }

    /// Tries workers until one answers, none is left or all attempts are spent.
    async fn attempts(
        &self,
        query: &Query,
        deadline: Instant,
        tried: &Mutex<Vec<SocketAddr>>,
    ) -> Result<Extraction, ExtractError> {
        let (mut last, mut left) = (None, self.settings.attempts);
        while left > 0 {
            let seen = lock(tried).clone();
            let Some(worker) = self.pool.pick(&seen).await else {
                if !self.wait(last.as_ref(), deadline).await {
                    break;
                }
                lock(tried).clear();
                continue;
            };
            left -= 1;
            lock(tried).push(worker.address);
            match worker.extract(query, deadline).await {
                Ok(extraction) => {
                    self.pool.note_served();
                    return Ok(extraction);
                }
                Err(FailedAttempt {
                    error,
                    failure: AttemptFailure::Refused,
                }) => return Err(error),
                Err(FailedAttempt { error, .. }) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| self.pool.no_worker_error()))
    }

    /// Waits for room at a full worker, or for a worker where there is none. False if it is not to be waited for.
    async fn wait(&self, last: Option<&ExtractError>, deadline: Instant) -> bool {
        if wait_for_room(last, deadline).await {
            return true;
        }
        // What failed on all workers that are there fails again.
        !self.pool.has_available()
            && self
                .pool
                .wait_for_worker(deadline.checked_sub(LAST_MOMENT).unwrap_or(deadline))
                .await
    }
}

/// What is left of a call's deadline when it stops waiting for a worker, so that it can say that there was none.
const LAST_MOMENT: Duration = Duration::from_millis(20);

/// Waits as long as a full worker asked for. False if it did not ask, or if that is too long.
async fn wait_for_room(last: Option<&ExtractError>, deadline: Instant) -> bool {
    let Some(ExtractError::Unavailable {
        retry_after: Some(wait),
        ..
    }) = last
    else {
        return false;
    };
    let fits = Instant::now() + *wait < deadline;
    if fits {
        tokio::time::sleep(*wait).await;
    }
    fits
}
