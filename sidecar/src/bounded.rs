//! A map that forgets: bounded by weight, least recently used first, and by age. Behind the span cache, the store
//! of manifests and the history of documents.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// A bounded map. Not synchronised: put it behind a mutex.
#[derive(Debug)]
pub struct Bounded<K, V> {
    limit: u64,
    ttl: Duration,
    weight: u64,
    tick: u64,
    entries: HashMap<K, Entry<V>>,
    /// Keys by the time of their last use.
    order: BTreeMap<u64, K>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    weight: u64,
    used: u64,
    at: Instant,
}

impl<K: Hash + Eq + Clone, V> Bounded<K, V> {
    /// Holds entries of at most `limit` weight together, each for `ttl` after its last use.
    pub fn new(limit: u64, ttl: Duration) -> Self {
        Self {
            limit,
            ttl,
            weight: 0,
            tick: 0,
            entries: HashMap::new(),
            order: BTreeMap::new(),
        }
    }

    /// The value under `key`, if it is not older than allowed at `now`. Counts as a use.
    pub fn get(&mut self, key: &K, now: Instant) -> Option<&mut V> {
        if self
            .entries
            .get(key)
            .is_some_and(|entry| now.duration_since(entry.at) > self.ttl)
        {
            self.remove(key);
        }
        let entry = self.entries.get_mut(key)?;
        self.order.remove(&entry.used);
        self.tick += 1;
        self.order.insert(self.tick, key.clone());
        (entry.used, entry.at) = (self.tick, now);
        Some(&mut entry.value)
    }

    /// Puts a value in and forgets what there is no room for. What alone is heavier than the limit is not kept.
    pub fn insert(&mut self, key: K, value: V, weight: u64, now: Instant) {
        self.remove(&key);
        if weight > self.limit {
            return;
        }
        self.tick += 1;
        self.order.insert(self.tick, key.clone());
        self.entries.insert(
            key,
            Entry {
                value,
                weight,
                used: self.tick,
                at: now,
            },
        );
        self.weight += weight;
        while self.weight > self.limit {
            let Some(oldest) = self.order.values().next().cloned() else {
                break;
            };
            self.remove(&oldest);
        }
    }

    /// Weight of all entries.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.weight -= entry.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_least_recently_used_when_full() {
        let now = Instant::now();
        let mut map = Bounded::new(10, Duration::from_secs(9));
        map.insert("a", 1, 4, now);
        map.insert("b", 2, 4, now);
        assert_eq!(map.get(&"a", now), Some(&mut 1));
        map.insert("c", 3, 4, now);
        assert_eq!(map.get(&"b", now), None);
        assert_eq!(map.get(&"a", now), Some(&mut 1));
        assert_eq!((map.weight(), map.len()), (8, 2));
    }

    #[test]
    fn forgets_what_is_too_old_and_refuses_what_is_too_heavy() {
        let now = Instant::now();
        let mut map = Bounded::new(10, Duration::from_secs(9));
        map.insert("a", 1, 4, now);
        map.insert("b", 2, 11, now);
        assert_eq!(map.get(&"b", now), None);
        assert_eq!(map.get(&"a", now + Duration::from_secs(10)), None);
        assert!(map.is_empty() && map.weight() == 0);
    }

    #[test]
    fn replaces_under_the_same_key() {
        let now = Instant::now();
        let mut map = Bounded::new(10, Duration::from_secs(9));
        map.insert("a", 1, 4, now);
        map.insert("a", 2, 6, now);
        assert_eq!(
            (map.get(&"a", now).copied(), map.weight(), map.len()),
            (Some(2), 6, 1)
        );
    }
}
