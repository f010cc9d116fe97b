//! A map that reconciliations share. What the controller remembers lies in such maps; losing it costs requests and
//! Events, nothing else.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A map behind a lock that is held for a moment only.
pub(super) struct SharedMap<K, V>(Mutex<HashMap<K, V>>);

impl<K: Eq + Hash, V: Clone> SharedMap<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, V>> {
        // A map is whole after every step, so a panic elsewhere leaves a good one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a copy of the value.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key).cloned()
    }

    /// Sets the value of a key.
    pub(super) fn set(&self, key: K, value: V) {
        self.lock().insert(key, value);
    }

    /// Removes a key and returns its value.
    pub(super) fn remove(&self, key: &K) -> Option<V> {
        self.lock().remove(key)
    }

    /// Removes every key for which `gone` returns true.
    pub(super) fn remove_where(&self, gone: impl Fn(&K) -> bool) {
        self.lock().retain(|key, _| !gone(key));
    }
}
