//! What the extractors of a process remember between requests. Answers never depend on it; only their cost
//! does.

use std::sync::Arc;

use super::speed::EncoderSpeed;
use super::states::StateCache;

/// The memory that extractors share: hidden states of windows that were read, and how fast the encoder is.
/// Clones are the same memory.
#[derive(Clone)]
pub struct Memory {
    pub(super) states: Arc<StateCache>,
    pub(super) speed: Arc<EncoderSpeed>,
}

impl Memory {
    /// Creates a memory for about `limit` bytes of hidden states; 0 keeps none.
    pub fn new(limit: usize) -> Self {
        Self {
            states: Arc::new(StateCache::new(limit)),
            speed: Arc::default(),
        }
    }

    /// Sets the encoder's speed to what was measured before the first request, in tokens per second.
    pub(crate) fn set_speed(&self, tokens_per_second: f64) {
        self.speed.set(tokens_per_second);
    }
}
