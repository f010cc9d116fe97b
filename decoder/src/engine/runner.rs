//! What an engine needs of a model: the border between who reads what when, and how it is computed.

use crate::config::Architecture;
use crate::model::{CacheSize, KvCache, Logits, Model, PassError, Segment};

/// The most that a pass has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerLimits {
    /// Tokens of all segments.
    pub step_tokens: usize,
    /// Segments.
    pub sequences: usize,
}

/// A model that an [`Engine`](super::Engine) runs, wherever its weights are: [`Model`] on burn's devices, or
/// [`CudaModel`](crate::cuda::CudaModel).
pub trait Runner: Send + 'static {
    /// Returns everything about the model but its weights.
    fn architecture(&self) -> &Architecture;

    /// Returns the bytes of a page of keys and values, of [`KvCache::PAGE_TOKENS`] tokens.
    fn page_bytes(&self) -> u64;

    /// Returns the bytes of a slot for the states of a sequence; none without layers of the gated delta rule.
    fn state_bytes(&self) -> u64;

    /// Returns the most that a pass has room for.
    fn limits(&self) -> RunnerLimits;

    /// Takes memory for sequences.
    ///
    /// # Errors
    /// [`PassError::TooLong`] and [`PassError::Memory`].
    fn cache(&mut self, size: CacheSize) -> Result<KvCache, PassError>;

    /// Whether it chooses tokens where [`Wanted::Token`](crate::Wanted::Token) asks for it.
    fn chooses(&self) -> bool;

    /// Reads the tokens of every segment after what its sequence holds, as [`Model::pass`] does. Only one thread calls it,
    /// the engine's, which may be another than the one that loaded the model.
    ///
    /// # Errors
    /// [`PassError`]; then no sequence has grown.
    fn pass(&mut self, cache: &mut KvCache, segments: &mut [Segment<'_>]) -> Result<Vec<Logits>, PassError>;
}

impl Runner for Model {
    fn architecture(&self) -> &Architecture {
        Self::architecture(self)
    }

    fn page_bytes(&self) -> u64 {
        KvCache::page_bytes(self)
    }

    fn state_bytes(&self) -> u64 {
        KvCache::state_bytes(self)
    }

    fn limits(&self) -> RunnerLimits {
        RunnerLimits {
            step_tokens: usize::MAX,
            sequences: usize::MAX,
        }
    }

    fn cache(&mut self, size: CacheSize) -> Result<KvCache, PassError> {
        KvCache::new(self, size)
    }

    fn chooses(&self) -> bool {
        false
    }

    fn pass(&mut self, cache: &mut KvCache, segments: &mut [Segment<'_>]) -> Result<Vec<Logits>, PassError> {
        Self::pass(self, cache, segments)
    }
}
