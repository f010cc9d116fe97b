//! Tokens as the upstream billed them.

/// The token counts that an upstream reported for one call; `None` where it reported none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// All input tokens, cached ones included.
    pub input: Option<u64>,
    /// All output tokens, reasoning included.
    pub output: Option<u64>,
    /// The part of `input` that came from the provider's cache.
    pub cached: Option<u64>,
}
