//! What the models said about windows that they have read: hidden states, for further questions about the same
//! document, and logits, for the same question about further versions of it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use liquid_process::{Lru, lock};

use crate::model::{Encoded, Ranked};

/// Bytes that an entry takes beside its numbers, about.
const ENTRY_BYTES: usize = 128;

/// What stands between a question and a window in a key: no vocabulary has such an entry.
const BETWEEN: u32 = u32::MAX;

/// What a model said about a window.
enum Said {
    Encoder(Arc<Encoded>),
    Ranker(Arc<Ranked>),
}

/// A cache by the word pieces that the model has read: those of a window, or of a question and a window. Bounded by
/// bytes.
pub(super) struct StateCache(Mutex<Lru<Arc<[u32]>, Said>>);

impl StateCache {
    /// Creates a cache of at most about `limit` bytes; 0 keeps nothing.
    pub(super) fn new(limit: usize) -> Self {
        Self(Mutex::new(Lru::new(limit as u64, Duration::MAX)))
    }

    /// Returns the hidden states of a window, if they are remembered.
    pub(super) fn get(&self, window: &[u32]) -> Option<Arc<Encoded>> {
        match lock(&self.0).get(window, Instant::now()) {
            Some(Said::Encoder(encoded)) => Some(Arc::clone(encoded)),
            _ => None,
        }
    }

    /// Remembers the hidden states of a window; what was unused longest is dropped for it.
    pub(super) fn insert(&self, window: &[u32], encoded: Arc<Encoded>) {
        let numbers = encoded.tokens.len() + encoded.sentence.len();
        self.add(window.into(), Said::Encoder(encoded), numbers);
    }

    /// Returns what the ranker said about a window read with a question, if it is remembered.
    pub(super) fn get_ranked(&self, question: &[u32], window: &[u32]) -> Option<Arc<Ranked>> {
        let key = pair(question, window);
        match lock(&self.0).get(key.as_slice(), Instant::now()) {
            Some(Said::Ranker(ranked)) => Some(Arc::clone(ranked)),
            _ => None,
        }
    }

    /// Remembers what the ranker said about a window read with a question, likewise.
    pub(super) fn insert_ranked(&self, question: &[u32], window: &[u32], ranked: Arc<Ranked>) {
        let numbers = ranked.tokens.len() + 1;
        self.add(pair(question, window).into(), Said::Ranker(ranked), numbers);
    }

    fn add(&self, key: Arc<[u32]>, said: Said, numbers: usize) {
        let bytes = size_of::<f32>() * (key.len() + numbers) + ENTRY_BYTES;
        lock(&self.0).insert(key, said, bytes as u64, Instant::now());
    }
}

fn pair(question: &[u32], window: &[u32]) -> Vec<u32> {
    [question, &[BETWEEN], window].concat()
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

    #[test]
    fn logits_belong_to_one_question_and_one_window() {
        let states = StateCache::new(10_000);
        let ranked = Arc::new(Ranked {
            window: 1.0,
            tokens: vec![0.5; 2],
        });
        states.insert_ranked(&[1], &[2, 3], Arc::clone(&ranked));
        assert_eq!(states.get_ranked(&[1], &[2, 3]), Some(ranked));
        assert_eq!(states.get_ranked(&[1, 2], &[3]), None);
        assert_eq!(states.get_ranked(&[], &[2, 3]), None);
        assert!(states.get(&[2, 3]).is_none());
    }
}
