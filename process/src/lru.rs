//! A map that forgets: bounded by weight, least recently used first, and by age.
//!
//! The caches of sidecar and worker stand on it. Why not a crate: moka bounds weight and age, but evicts in the
//! background, by frequency too, and by a clock of its own, so that a cache may be above its limit and a test cannot say
//! what is left; quick_cache has no age; lru has neither. All three are made for contention, of which there is little: a
//! lookup is a small part of a call.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// A map bounded by weight and age. Not synchronised: put it behind a mutex.
///
/// The weight of all entries together is never above the limit. Every use costs O(log n). Where an entry goes depends on
/// nothing but the calls and the times that they name.
#[derive(Debug)]
pub struct Lru<K, V> {
    limit: u64,
    max_idle: Duration,
    weight: u64,
    uses: u64,
    entries: HashMap<K, Entry<V>>,
    /// Keys by the number of their last use.
    order: BTreeMap<u64, K>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    weight: u64,
    used: u64,
    at: Instant,
}

impl<K: Hash + Eq + Clone, V> Lru<K, V> {
    /// Creates an empty map for entries of at most `limit` weight together, each for `max_idle` after its last use
    /// ([`Duration::MAX`]: whatever its age).
    pub fn new(limit: u64, max_idle: Duration) -> Self {
        Self {
            limit,
            max_idle,
            weight: 0,
            uses: 0,
            entries: HashMap::new(),
            order: BTreeMap::new(),
        }
    }

    /// Looks up the value under `key`, if it has been used within `max_idle` before `now`. Counts as a use.
    pub fn get<Q>(&mut self, key: &Q, now: Instant) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let idle = now.saturating_duration_since(self.entries.get(key)?.at);
        if idle > self.max_idle {
            self.remove(key);
            return None;
        }
        let entry = self.entries.get_mut(key)?;
        if let Some(key) = self.order.remove(&entry.used) {
            self.uses += 1;
            self.order.insert(self.uses, key);
            (entry.used, entry.at) = (self.uses, now);
        }
        Some(&mut entry.value)
    }

    /// Stores a value, in place of the one under the same key, and drops the least recently used for it. What alone is
    /// heavier than the limit is not stored.
    pub fn insert(&mut self, key: K, value: V, weight: u64, now: Instant) {
        self.remove(&key);
        if weight > self.limit {
            return;
        }
        while self.weight > self.limit - weight {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.weight -= entry.weight;
            }
        }
        self.uses += 1;
        self.weight += weight;
        self.order.insert(self.uses, key.clone());
        let entry = Entry {
            value,
            weight,
            used: self.uses,
            at: now,
        };
        self.entries.insert(key, entry);
    }

    /// Returns the weight of all entries, those included that are too old to be found.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// Returns the number of entries, those included that are too old to be found.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.weight -= entry.weight;
        }
    }
}

#[cfg(test)]
mod tests;
