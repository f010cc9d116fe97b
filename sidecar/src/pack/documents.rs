//! Remembers the texts of packed documents, for models that ask for more: bounded in bytes and age, whatever the
//! number of calls. Off where `policy.retrieval` is.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use liquid_process::{Lru, lock};

/// Bytes that a document costs beside its text.
const ENTRY_BYTES: u64 = 256;

/// Texts of documents by their SHA-256.
#[derive(Debug)]
pub struct DocumentStore {
    texts: Mutex<Lru<[u8; 32], ByteString>>,
}

impl DocumentStore {
    /// Makes an empty store for so many bytes, each text for `ttl` after its last use.
    pub fn new(bytes: u64, ttl: Duration) -> Self {
        Self {
            texts: Mutex::new(Lru::new(bytes, ttl)),
        }
    }

    /// Remembers a document, and forgets the ones that were used least recently. One that is larger than the store is
    /// not remembered.
    pub fn put(&self, sha256: [u8; 32], text: &str) {
        let now = Instant::now();
        if lock(&self.texts).get(&sha256, now).is_some() {
            return;
        }
        // A text of its own: one that shares a body's memory keeps the whole body.
        let copy = ByteString::from(text);
        let weight = copy.len() as u64 + ENTRY_BYTES;
        lock(&self.texts).insert(sha256, copy, weight, now);
    }

    /// Returns the text of a document, if it is still remembered.
    pub fn get(&self, sha256: &[u8; 32]) -> Option<ByteString> {
        lock(&self.texts).get(sha256, Instant::now()).cloned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn store(bytes: u64) -> DocumentStore {
        DocumentStore::new(bytes, Duration::from_secs(60))
    }

    #[test]
    fn the_least_recently_used_document_is_forgotten_first() {
        let store = store(2 * (ENTRY_BYTES + 10));
        store.put([1; 32], "0123456789");
        store.put([2; 32], "9876543210");
        assert_eq!(store.get(&[1; 32]).unwrap(), "0123456789");
        store.put([3; 32], "aaaaaaaaaa");
        assert!(store.get(&[2; 32]).is_none());
        assert!(store.get(&[1; 32]).is_some() && store.get(&[3; 32]).is_some());
    }

    #[test]
    fn a_document_larger_than_the_store_is_not_remembered() {
        let store = store(100);
        store.put([1; 32], "0123456789");
        assert!(store.get(&[1; 32]).is_none());
    }
}
