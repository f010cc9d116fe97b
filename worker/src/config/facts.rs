//! Section `[facts]`.

use liquid_decoder::facts::MOST_FACTS;
use liquid_process::Invalid;
use serde::{Deserialize, Serialize};

/// Section `[facts]`: the decoder tier, which needs `decoder.folder`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    /// Most passages of a document that the model reads: those that hold the most evidence. Default 4, at most 64.
    pub passages: usize,
    /// Most tokens of a passage, by the model's tokenizer. Default 768, at least 64; fewer where the context leaves less.
    pub passage_tokens: usize,
    /// Most facts for each passage and each thing that is asked. Default 3, at most 16.
    pub per_passage: usize,
    /// True if answers are held to their form, so that quotes are copied. False has the model write freely: its answer is
    /// read as far as it can be, and quotes that are not in the passage are left out. Default true.
    pub constrained: bool,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            passages: 4,
            passage_tokens: 768,
            per_passage: 3,
            constrained: true,
        }
    }
}

impl Facts {
    pub(super) fn validate(&self) -> Vec<Invalid> {
        let bounds = [
            ("passages", self.passages, 1..=64),
            ("passage_tokens", self.passage_tokens, 64..=1 << 20),
            ("per_passage", self.per_passage, 1..=MOST_FACTS),
        ];
        let wrong = bounds
            .into_iter()
            .filter(|(_, value, range)| !range.contains(value));
        let remedy =
            |range: &std::ops::RangeInclusive<usize>| format!("set {} to {}", range.start(), range.end());
        wrong
            .map(|(field, value, range)| Invalid::new(field, value, remedy(&range)))
            .collect()
    }
}
