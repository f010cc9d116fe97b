//! Hidden states of windows that the encoder has read, for further questions about the same document.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use liquid_process::{Lru, lock};

use crate::model::Encoded;

/// Bytes that an entry takes beside its numbers, about.
const ENTRY_BYTES: usize = 128;

/// A cache of hidden states by the word pieces of their window, bounded by bytes.
pub(super) struct StateCache(Mutex<Lru<Arc<[u32]>, Arc<Encoded>>>);

impl StateCache {
    /// Creates a cache of at most about `limit` bytes; 0 keeps nothing.
    pub(super) fn new(limit: usize) -> Self {
        Self(Mutex::new(Lru::new(limit as u64, Duration::MAX)))
    }

    /// Returns the hidden states of a window, if they are remembered.
    pub(super) fn get(&self, window: &[u32]) -> Option<Arc<Encoded>> {
        lock(&self.0)
            .get(window, Instant::now())
            .map(|encoded| Arc::clone(encoded))
    }

    /// Remembers the hidden states of a window; those of the windows unused longest are dropped for it.
    pub(super) fn insert(&self, window: &[u32], encoded: Arc<Encoded>) {
        let numbers = window.len() + encoded.tokens.len() + encoded.sentence.len();
        let bytes = size_of::<f32>() * numbers + ENTRY_BYTES;
        lock(&self.0).insert(window.into(), encoded, bytes as u64, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_and_forgets_the_longest_unused() {
        let states = StateCache::new(10_000);
        let encoded = || {
            Arc::new(Encoded {
                tokens: vec![0.0; 100],
                sentence: vec![0.0; 10],
            })
        };
        for id in 0..100 {
            states.insert(&[id], encoded());
            assert!(states.get(&[0]).is_some(), "used again each time");
        }
        let remembered = (0..100).filter(|&id| states.get(&[id]).is_some()).count();
        assert!((2..=17).contains(&remembered), "{remembered}");
        assert!(states.get(&[99]).is_some() && states.get(&[1]).is_none());
    }
}
