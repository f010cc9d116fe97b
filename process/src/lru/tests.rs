//! Examples, and a list that does the same slowly.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::Lru;

const IDLE: Duration = Duration::from_secs(9);

fn ageless<K: std::hash::Hash + Eq + Clone, V>(limit: u64) -> Lru<K, V> {
    Lru::new(limit, Duration::MAX)
}

#[test]
fn forgets_the_least_recently_used_when_full() {
    let now = Instant::now();
    let mut map = Lru::new(10, IDLE);
    map.insert("a", 1, 4, now);
    map.insert("b", 2, 4, now);
    assert_eq!(map.get(&"a", now), Some(&mut 1));
    map.insert("c", 3, 4, now);
    assert_eq!(map.get(&"b", now), None);
    assert_eq!(map.get(&"a", now), Some(&mut 1));
    assert_eq!((map.weight(), map.len()), (8, 2));
}

#[test]
fn forgets_as_many_as_a_heavy_value_needs() {
    let now = Instant::now();
    let mut map = ageless(30);
    for (key, value) in [("a", 1), ("b", 2), ("c", 3)] {
        map.insert(key, value, 10, now);
    }
    assert_eq!(map.get(&"a", now), Some(&mut 1));
    map.insert("d", 4, 15, now);
    let found = ["a", "b", "c", "d"].map(|key| map.get(&key, now).copied());
    assert_eq!(found, [Some(1), None, None, Some(4)]);
}

#[test]
fn forgets_what_is_too_old_and_refuses_what_is_too_heavy() {
    let now = Instant::now();
    let mut map = Lru::new(10, IDLE);
    map.insert("a", 1, 4, now);
    map.insert("b", 2, 11, now);
    assert_eq!(map.get(&"b", now), None);
    assert_eq!(map.get(&"a", now + IDLE + Duration::from_secs(1)), None);
    assert!(map.is_empty() && map.weight() == 0);
}

#[test]
fn a_use_makes_an_entry_young_again() {
    let now = Instant::now();
    let mut map = Lru::new(10, IDLE);
    map.insert("a", 1, 4, now);
    for round in 1..5 {
        assert_eq!(map.get(&"a", now + IDLE * round), Some(&mut 1), "{round}");
    }
    assert_eq!(map.get(&"a", now + IDLE * 5 + Duration::from_nanos(1)), None);
}

#[test]
fn replaces_under_the_same_key() {
    let now = Instant::now();
    let mut map = Lru::new(10, IDLE);
    map.insert("a", 1, 4, now);
    map.insert("a", 2, 6, now);
    assert_eq!(
        (map.get(&"a", now).copied(), map.weight(), map.len()),
        (Some(2), 6, 1)
    );
    // A value that is too heavy is no reason to keep an outdated one.
    map.insert("a", 3, 11, now);
    assert_eq!((map.get(&"a", now).copied(), map.weight()), (None, 0));
}

#[test]
fn of_no_size_it_keeps_nothing() {
    let mut map = ageless(0);
    map.insert("a", 1, 1, Instant::now());
    assert_eq!(map.get(&"a", Instant::now()), None);
}

#[test]
fn never_holds_more_than_its_limit() {
    let now = Instant::now();
    let mut map = ageless(100);
    for i in 0..1000_u64 {
        map.insert(i % 37, i, i % 61, now);
        let held: u64 = map.entries.values().map(|entry| entry.weight).sum();
        assert!(map.weight() == held && held <= 100 && map.order.len() == map.entries.len());
    }
    map.insert(1, 1, 101, now);
    assert!(map.weight() <= 100);
}

#[test]
fn keys_are_found_by_what_they_borrow() {
    let now = Instant::now();
    let mut map: Lru<Box<[u32]>, u32> = ageless(10);
    map.insert([1, 2].into(), 7, 1, now);
    assert_eq!(map.get([1, 2].as_slice(), now), Some(&mut 7));
    assert_eq!(map.get([1].as_slice(), now), None);
}

/// One step: time passes, then a key is looked up or stored.
#[derive(Clone, Debug)]
struct Step {
    seconds: u64,
    key: u8,
    /// Value and weight to store; none looks up.
    stored: Option<(u16, u64)>,
}

fn step() -> impl Strategy<Value = Step> {
    let stored = prop::option::of((any::<u16>(), 0..14_u64));
    (0..6_u64, 0..8_u8, stored).prop_map(|(seconds, key, stored)| Step { seconds, key, stored })
}

/// The same rules over a list, the least recently used first.
struct Model {
    limit: u64,
    entries: Vec<(u8, u16, u64, Instant)>,
}

impl Model {
    fn get(&mut self, key: u8, now: Instant) -> Option<u16> {
        let place = self.entries.iter().position(|(other, ..)| *other == key)?;
        let (key, value, weight, at) = self.entries.remove(place);
        if now - at > IDLE {
            return None;
        }
        self.entries.push((key, value, weight, now));
        Some(value)
    }

    fn insert(&mut self, key: u8, value: u16, weight: u64, now: Instant) {
        self.entries.retain(|(other, ..)| *other != key);
        if weight > self.limit {
            return;
        }
        while self.weight() + weight > self.limit {
            self.entries.remove(0);
        }
        self.entries.push((key, value, weight, now));
    }

    fn weight(&self) -> u64 {
        self.entries.iter().map(|(_, _, weight, _)| weight).sum()
    }
}

proptest! {
    /// Weight, recency and age at once: after any steps the map holds what the list holds.
    #[test]
    fn does_what_a_list_would_do(limit in 0..20_u64, steps in prop::collection::vec(step(), 0..80)) {
        let mut now = Instant::now();
        let (mut map, mut model) = (Lru::new(limit, IDLE), Model { limit, entries: Vec::new() });
        for Step { seconds, key, stored } in steps {
            now += Duration::from_secs(seconds);
            match stored {
                Some((value, weight)) => {
                    map.insert(key, value, weight, now);
                    model.insert(key, value, weight, now);
                }
                None => prop_assert_eq!(map.get(&key, now).copied(), model.get(key, now)),
            }
            prop_assert!(map.weight() <= limit);
            prop_assert_eq!((map.weight(), map.len()), (model.weight(), model.entries.len()));
            let order: Vec<u8> = map.order.values().copied().collect();
            let expected: Vec<u8> = model.entries.iter().map(|(key, ..)| *key).collect();
            prop_assert_eq!(order, expected);
        }
    }
}
