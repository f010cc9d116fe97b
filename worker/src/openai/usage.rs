//! Tokens of a request, as OpenAI counts them.

use liquid_decoder::Usage;
use serde::Serialize;

/// The field `usage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct UsageObject {
    pub(super) prompt_tokens: usize,
    pub(super) completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptDetails,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct PromptDetails {
    cached_tokens: usize,
}

impl UsageObject {
    /// Adds an answer. `first` is true for the first one to its prompt, which counts once.
    pub(super) fn add(&mut self, usage: Usage, first: bool) {
        if first {
            self.prompt_tokens += usage.prompt_tokens;
            self.prompt_tokens_details.cached_tokens += usage.cached_tokens;
        }
        self.completion_tokens += usage.completion_tokens;
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
    }
}
