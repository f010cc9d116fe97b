//! Keeps recent manifests for `GET /liquid/packs/{id}`: bounded in bytes and age, and never any document text.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use liquid_process::{Lru, lock};

use super::{ByteRange, KeptSpan, Manifest, PackRecord, Settings};

/// Recent manifests by id.
#[derive(Debug)]
pub struct ManifestStore {
    manifests: Mutex<Lru<String, Arc<Manifest>>>,
}

impl ManifestStore {
    /// Makes an empty store.
    pub fn new(settings: &Settings) -> Self {
        let ttl = Duration::from_secs(settings.store_ttl_s);
        Self {
            manifests: Mutex::new(Lru::new(settings.store_bytes, ttl)),
        }
    }

    /// Keeps a manifest, and forgets the ones that were used least recently.
    pub fn put(&self, manifest: Arc<Manifest>) {
        let lists = |pack: &PackRecord| {
            let spans = pack.kept.len() + pack.further.len();
            spans * size_of::<KeptSpan>()
                + pack.dropped.len() * size_of::<ByteRange>()
                + size_of::<PackRecord>()
                + 512
        };
        let weight = (manifest.packs.iter().map(lists).sum::<usize>() + size_of::<Manifest>()) as u64;
        let id = manifest.id.clone();
        lock(&self.manifests).insert(id, manifest, weight, Instant::now());
    }

    /// Returns the manifest with this id.
    pub fn get(&self, id: &str) -> Option<Arc<Manifest>> {
        lock(&self.manifests).get(id, Instant::now()).cloned()
    }
}
