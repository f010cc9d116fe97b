//! Single flight: identical jobs that meet share one computation.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The computations under way.
pub(super) struct Flights<K, V> {
    flying: Arc<Mutex<HashMap<K, Flight<V>>>>,
}

struct Flight<V> {
    /// Cancels the computation when the last seat is given up.
    passengers: Weak<DropGuard>,
    result: watch::Receiver<Option<V>>,
    deadline: Option<Instant>,
}

/// A place in a computation. Dropping the last one cancels it.
pub(super) struct Seat<V> {
    _passenger: Arc<DropGuard>,
    result: watch::Receiver<Option<V>>,
}

impl<V: Clone> Seat<V> {
    /// The result; `None` if the computation ended without one.
    pub(super) async fn arrival(&mut self) -> Option<V> {
        self.result
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|result| result.clone())
    }
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self {
            flying: Arc::default(),
        }
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the flight for `key`, or starts one. A flight whose deadline leaves it less than half of the
    /// caller's time is not joined: it may answer with less than the caller can have.
    pub(super) fn board<F>(
        &self,
        key: K,
        deadline: Option<Instant>,
        start: impl FnOnce(CancellationToken) -> F,
    ) -> Seat<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut flying = lock(&self.flying);
        if let Some(flight) = flying
            .get(&key)
            .filter(|flight| leaves_time(flight.deadline, deadline))
            && let Some(passenger) = flight.passengers.upgrade()
        {
            return Seat {
                _passenger: passenger,
                result: flight.result.clone(),
            };
        }
        let cancel = CancellationToken::new();
        let passenger = Arc::new(cancel.clone().drop_guard());
        let (sender, result) = watch::channel(None);
        let flight = Flight {
            passengers: Arc::downgrade(&passenger),
            result: result.clone(),
            deadline,
        };
        flying.insert(key.clone(), flight);
        drop(flying);
        let work = start(cancel);
        let landing = Landing {
            flying: Arc::clone(&self.flying),
            key,
            result: result.clone(),
        };
        tokio::spawn(async move {
            let landing = landing;
            let value = work.await;
            drop(landing);
            // Nobody may be left to receive it.
            let _ = sender.send(Some(value));
        });
        Seat {
            _passenger: passenger,
            result,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn leaves_time(flight: Option<Instant>, caller: Option<Instant>) -> bool {
    let now = Instant::now();
    match (flight, caller) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(flight), Some(caller)) => {
            2 * flight.saturating_duration_since(now) >= caller.saturating_duration_since(now)
        }
    }
}

/// Takes a flight off the board when it ends, by a panic too; a later flight for the same key stays.
struct Landing<K: Eq + Hash, V> {
    flying: Arc<Mutex<HashMap<K, Flight<V>>>>,
    key: K,
    result: watch::Receiver<Option<V>>,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let mut flying = lock(&self.flying);
        if flying
            .get(&self.key)
            .is_some_and(|flight| flight.result.same_channel(&self.result))
        {
            flying.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn identical_jobs_share_one_computation() {
        let flights = Flights::default();
        let runs = Arc::new(AtomicUsize::new(0));
        let board = || {
            let runs = Arc::clone(&runs);
            flights.board("key", None, |_| async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                runs.fetch_add(1, Ordering::SeqCst)
            })
        };
        let (mut first, mut second) = (board(), board());
        assert_eq!(
            (first.arrival().await, second.arrival().await),
            (Some(0), Some(0))
        );
        assert_eq!(board().arrival().await, Some(1));
        assert!(lock(&flights.flying).is_empty());
    }

    #[tokio::test]
    async fn only_the_last_one_to_leave_cancels() {
        let flights = Flights::default();
        let seen = CancellationToken::new();
        let board = || {
            let seen = seen.clone();
            flights.board("key", None, |cancel| async move {
                cancel.cancelled().await;
                seen.cancel();
            })
        };
        let (first, second) = (board(), board());
        drop(first);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!seen.is_cancelled());
        drop(second);
        tokio::time::timeout(Duration::from_secs(5), seen.cancelled())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_computation_that_panics_leaves_nothing_behind() {
        let flights: Flights<&str, ()> = Flights::default();
        let mut seat = flights.board("key", None, |_| async { panic!("on purpose") });
        assert_eq!(seat.arrival().await, None);
        assert!(lock(&flights.flying).is_empty());
    }

    #[test]
    fn a_flight_in_a_hurry_is_not_joined() {
        let now = Instant::now();
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        assert!(leaves_time(None, at(1)) && leaves_time(at(10), at(11)) && leaves_time(at(10), at(1)));
        assert!(!leaves_time(at(1), at(10)) && !leaves_time(at(1), None));
    }
}
