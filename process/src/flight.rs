//! Single flight: identical jobs that meet share one computation, which is cancelled with the last one that waits.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::lock;

/// The computations under way, by what they compute.
pub struct SingleFlight<K, V> {
    running: Arc<Mutex<HashMap<K, Computation<V>>>>,
}

struct Computation<V> {
    /// Cancels the computation when the last waiter drops it.
    waiters: Weak<DropGuard>,
    result: watch::Receiver<Option<V>>,
    deadline: Option<Instant>,
}

/// Somebody who waits for a computation. Dropping the last one cancels it.
pub struct Waiter<V> {
    _guard: Arc<DropGuard>,
    result: watch::Receiver<Option<V>>,
}

impl<V: Clone> Waiter<V> {
    /// Waits for the result; `None` if the computation ended without one, by a panic.
    pub async fn result(&mut self) -> Option<V> {
        self.result
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|result| result.clone())
    }
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self {
            running: Arc::default(),
        }
    }
}

impl<K, V> std::fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SingleFlight")
            .field("running", &lock(&self.running).len())
            .finish()
    }
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the computation for `key`, or starts one as a task of the current tokio runtime.
    ///
    /// The computation gets a token that is cancelled when the last waiter is gone. It is not dropped then: work on
    /// another thread has to see the token, and a future that may stop anywhere stops with
    /// [`CancellationToken::run_until_cancelled`].
    ///
    /// A computation whose deadline leaves it less than half of the caller's time is not joined: it may answer with less
    /// than the caller can have.
    pub fn join<F>(
        &self,
        key: K,
        deadline: Option<Instant>,
        start: impl FnOnce(CancellationToken) -> F,
    ) -> Waiter<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = lock(&self.running);
        if let Some(computation) = running
            .get(&key)
            .filter(|computation| leaves_time(computation.deadline, deadline))
            && let Some(guard) = computation.waiters.upgrade()
        {
            return Waiter {
                _guard: guard,
                result: computation.result.clone(),
            };
        }
        let cancel = CancellationToken::new();
        let guard = Arc::new(cancel.clone().drop_guard());
        let (sender, result) = watch::channel(None);
        let computation = Computation {
            waiters: Arc::downgrade(&guard),
            result: result.clone(),
            deadline,
        };
        running.insert(key.clone(), computation);
        drop(running);
        let work = start(cancel);
        let entry = Entry {
            running: Arc::clone(&self.running),
            key,
            result: result.clone(),
        };
        tokio::spawn(async move {
            let entry = entry;
            let value = work.await;
            drop(entry);
            // None may be left to receive it.
            let _ = sender.send(Some(value));
        });
        Waiter {
            _guard: guard,
            result,
        }
    }
}

fn leaves_time(computation: Option<Instant>, caller: Option<Instant>) -> bool {
    let now = Instant::now();
    match (computation, caller) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(computation), Some(caller)) => {
            2 * computation.saturating_duration_since(now) >= caller.saturating_duration_since(now)
        }
    }
}

/// A computation's place in the map. Dropping it, by a panic too, removes it; a later computation for the same key stays.
struct Entry<K: Eq + Hash, V> {
    running: Arc<Mutex<HashMap<K, Computation<V>>>>,
    key: K,
    result: watch::Receiver<Option<V>>,
}

impl<K: Eq + Hash, V> Drop for Entry<K, V> {
    fn drop(&mut self) {
        let mut running = lock(&self.running);
        if running
            .get(&self.key)
            .is_some_and(|computation| computation.result.same_channel(&self.result))
        {
            running.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn identical_jobs_share_one_computation() {
        let flights = SingleFlight::default();
        let runs = Arc::new(AtomicUsize::new(0));
        let join = || {
            let runs = Arc::clone(&runs);
            flights.join("key", None, |_| async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                runs.fetch_add(1, Ordering::SeqCst)
            })
        };
        let (mut first, mut second) = (join(), join());
        assert_eq!((first.result().await, second.result().await), (Some(0), Some(0)));
        assert_eq!(join().result().await, Some(1));
        assert!(lock(&flights.running).is_empty());
    }

    #[tokio::test]
    async fn only_the_last_one_to_leave_cancels() {
        let flights = SingleFlight::default();
        let seen = CancellationToken::new();
        let join = || {
            let seen = seen.clone();
            flights.join("key", None, |cancel| async move {
                cancel.cancelled().await;
                seen.cancel();
            })
        };
        let (first, second) = (join(), join());
        drop(first);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!seen.is_cancelled());
        drop(second);
        tokio::time::timeout(Duration::from_secs(5), seen.cancelled())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn who_comes_after_the_last_one_left_starts_anew() {
        let flights = SingleFlight::default();
        let runs = Arc::new(AtomicUsize::new(0));
        let join = || {
            let runs = Arc::clone(&runs);
            flights.join("key", None, |cancel| async move {
                let run = runs.fetch_add(1, Ordering::SeqCst);
                let time = Duration::from_millis(20);
                let _ = cancel.run_until_cancelled(tokio::time::sleep(time)).await;
                run
            })
        };
        let first = join();
        tokio::task::yield_now().await;
        drop(first);
        // The first computation still has its place, and nobody waits for it.
        let mut second = join();
        assert_eq!(second.result().await, Some(1));
        assert!(lock(&flights.running).is_empty());
    }

    #[tokio::test]
    async fn a_computation_that_panics_leaves_nothing_behind() {
        let flights: SingleFlight<&str, ()> = SingleFlight::default();
        let mut waiter = flights.join("key", None, |_| async { panic!("on purpose") });
        assert_eq!(waiter.result().await, None);
        assert!(lock(&flights.running).is_empty());
    }

    #[test]
    fn a_computation_in_a_hurry_is_not_joined() {
        let now = Instant::now();
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        assert!(leaves_time(None, at(1)) && leaves_time(at(10), at(11)) && leaves_time(at(10), at(1)));
        assert!(!leaves_time(at(1), at(10)) && !leaves_time(at(1), None));
    }
}
