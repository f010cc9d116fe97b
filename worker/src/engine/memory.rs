//! What the extractors of a process remember between requests. Answers never depend on it; only their cost
//! does.

use std::sync::Arc;

use super::speed::ReadingSpeed;
use super::states::StateCache;

/// The memory that extractors share: what the models said about windows, and how fast they read. Clones are the
/// same memory.
#[derive(Clone)]
pub struct Memory {
    pub(super) states: Arc<StateCache>,
    pub(super) encoder_speed: Arc<ReadingSpeed>,
    pub(super) ranker_speed: Arc<ReadingSpeed>,
}

impl Memory {
    /// Creates a memory for about `limit` bytes of what the models said; 0 keeps none.
    pub fn new(limit: usize) -> Self {
        Self {
            states: Arc::new(StateCache::new(limit)),
            encoder_speed: Arc::default(),
            ranker_speed: Arc::default(),
        }
    }

    /// Sets the encoder's speed to what was measured before the first request, in tokens per second.
    pub(crate) fn set_encoder_speed(&self, tokens_per_second: f64) {
        self.encoder_speed.set(tokens_per_second);
    }

    /// Sets the ranker's speed likewise.
    pub(crate) fn set_ranker_speed(&self, tokens_per_second: f64) {
        self.ranker_speed.set(tokens_per_second);
    }
}
