//! What the controller remembers between reconciliations. Losing it costs requests and Events, nothing else.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The first wait after a failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(300);

/// A map behind a lock that is held for a moment only.
pub(super) struct Remembered<K, V>(Mutex<HashMap<K, V>>);

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, V>> {
        // A map is whole after every step, so a panic elsewhere leaves a good one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key).cloned()
    }

    /// Gives back what was there.
    pub(super) fn set(&self, key: K, value: V) -> Option<V> {
        self.lock().insert(key, value)
    }

    pub(super) fn remove(&self, key: &K) {
        self.take(key);
    }

    pub(super) fn take(&self, key: &K) -> Option<V> {
        self.lock().remove(key)
    }

    pub(super) fn forget(&self, gone: impl Fn(&K) -> bool) {
        self.lock().retain(|key, _| !gone(key));
    }
}

/// How long to wait after so many failures in a row: one second, doubled each time, at most five minutes.
pub(super) fn backoff(failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST.saturating_mul(factor).min(LONGEST)
}
