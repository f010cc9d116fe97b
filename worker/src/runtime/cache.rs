//! Remembers values up to a number of bytes and forgets the least recently used first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A cache for several threads.
pub(super) struct ByteCache<K, V> {
    limit: usize,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Keys by the time of their last use.
    order: BTreeMap<u64, K>,
    clock: u64,
    bytes: usize,
}

struct Entry<V> {
    value: V,
    bytes: usize,
    used: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> ByteCache<K, V> {
    /// Keeps at most `limit` bytes; 0 keeps nothing.
    pub(super) fn new(limit: usize) -> Self {
        let state = State {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            clock: 0,
            bytes: 0,
        };
        Self {
            limit,
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let mut state = self.lock();
        state.clock += 1;
        let now = state.clock;
        let entry = state.entries.get_mut(key)?;
        let before = std::mem::replace(&mut entry.used, now);
        let value = entry.value.clone();
        if let Some(key) = state.order.remove(&before) {
            state.order.insert(now, key);
        }
        Some(value)
    }

    /// Remembers a value that counts as `bytes`; one that is larger than the whole cache is not kept.
    pub(super) fn insert(&self, key: K, value: V, bytes: usize) {
        if bytes > self.limit {
            return;
        }
        let mut state = self.lock();
        state.remove(&key);
        while state.bytes + bytes > self.limit {
            let Some((_, oldest)) = state.order.first_key_value() else {
                break;
            };
            let oldest = oldest.clone();
            state.remove(&oldest);
        }
        state.clock += 1;
        let used = state.clock;
        state.bytes += bytes;
        state.order.insert(used, key.clone());
        state.entries.insert(key, Entry { value, bytes, used });
    }
}

impl<K: Clone + Eq + Hash, V> State<K, V> {
    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_least_recently_used_first() {
        let cache = ByteCache::new(30);
        cache.insert("a", 1, 10);
        cache.insert("b", 2, 10);
        cache.insert("c", 3, 10);
        assert_eq!(cache.get(&"a"), Some(1));
        cache.insert("d", 4, 15);
        assert_eq!(
            (cache.get(&"a"), cache.get(&"b"), cache.get(&"c"), cache.get(&"d")),
            (Some(1), None, None, Some(4))
        );
    }

    #[test]
    fn never_holds_more_than_its_limit() {
        let cache = ByteCache::new(100);
        for i in 0..1000_usize {
            cache.insert(i % 37, i, i % 61);
            let state = cache.lock();
            let held: usize = state.entries.values().map(|entry| entry.bytes).sum();
            assert!(state.bytes == held && held <= 100 && state.order.len() == state.entries.len());
        }
        cache.insert(1, 1, 101);
        assert!(cache.lock().bytes <= 100);
    }

    #[test]
    fn of_no_size_it_keeps_nothing() {
        let cache = ByteCache::new(0);
        cache.insert("a", 1, 1);
        assert_eq!(cache.get(&"a"), None);
    }
}
