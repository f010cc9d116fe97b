//! The settings of the model's way back to a document: section `[policy.retrieval]`.

use std::ops::RangeInclusive;

use liquid_process::Invalid;
use serde::{Deserialize, Serialize};

/// Whether the model may ask for more of a document that was packed, and how much. Section `[policy.retrieval]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retrieval {
    /// Offer the model a tool with which it asks for more, and answer it here. Default false.
    pub enabled: bool,
    /// So many of the model's answers in one call may ask: 1 to 16. Default 3.
    pub max_rounds: u32,
    /// Documents that are remembered, by all calls together. Bytes. Default 67108864 (64 MiB).
    pub store_bytes: u64,
    /// How long a document is remembered after its last use. Seconds. Default 900.
    pub store_ttl_s: u64,
    /// One answer to the model is at most so long. Tokens, estimated: 50 to 100000. Default 1500.
    pub max_answer_tokens: u64,
}

const ROUNDS: RangeInclusive<u32> = 1..=16;
const ANSWER_TOKENS: RangeInclusive<u64> = 50..=100_000;

impl Default for Retrieval {
    fn default() -> Self {
        Self {
            enabled: false,
            max_rounds: 3,
            store_bytes: 64 << 20,
            store_ttl_s: 900,
            max_answer_tokens: 1_500,
        }
    }
}

impl Retrieval {
    /// Lists every value that cannot be used, fields named below `[policy]`.
    pub(super) fn validate(&self) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        if !ROUNDS.contains(&self.max_rounds) {
            wrong.push(Invalid::new("max_rounds", self.max_rounds, "set 1 to 16"));
        }
        for (field, value) in [
            ("store_bytes", self.store_bytes),
            ("store_ttl_s", self.store_ttl_s),
        ] {
            if value == 0 {
                wrong.push(Invalid::new(field, value, "set at least 1"));
            }
        }
        if !ANSWER_TOKENS.contains(&self.max_answer_tokens) {
            let remedy = "set 50 to 100000";
            wrong.push(Invalid::new("max_answer_tokens", self.max_answer_tokens, remedy));
        }
        wrong
            .into_iter()
            .map(|invalid| invalid.within("retrieval"))
            .collect()
    }
}
