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

impl Usage {
    /// Takes over every count that `later` has.
    pub(crate) fn merge(&mut self, later: Self) {
        self.input = later.input.or(self.input);
        self.output = later.output.or(self.output);
        self.cached = later.cached.or(self.cached);
    }
}
