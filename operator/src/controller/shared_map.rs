//! A map that reconciliations share. What the controller remembers is in such maps; losing it costs
//! requests and Events, nothing else.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;

use liquid_process::lock;

/// A map behind a lock that is held for a moment only.
pub(super) struct SharedMap<K, V>(Mutex<HashMap<K, V>>);

impl<K: Eq + Hash, V: Clone> SharedMap<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// Returns a copy of the value.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        lock(&self.0).get(key).cloned()
    }

    /// Sets the value of a key.
    pub(super) fn set(&self, key: K, value: V) {
        lock(&self.0).insert(key, value);
    }

    /// Removes a key and returns its value.
    pub(super) fn remove(&self, key: &K) -> Option<V> {
        lock(&self.0).remove(key)
    }

    /// Removes every key for which `gone` returns true.
    pub(super) fn remove_where(&self, gone: impl Fn(&K) -> bool) {
        lock(&self.0).retain(|key, _| !gone(key));
    }
}
