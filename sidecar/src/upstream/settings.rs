//! The `[upstream]` section: which providers there are, which one answers, and how long it may take.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::api::ProviderKind;

/// Where requests go, and how hard to try.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `provider/model` that answers every compressible call, whatever `model` the client named;
    /// `SYNTHESIS_MODEL` sets it too. Absent: the client's model, at the default provider of its API.
    pub model: Option<String>,
    /// `provider/model` choices to try in order after `model` failed. Needs `model`.
    pub fallbacks: Vec<String>,
    /// Provider for OpenAI calls where `model` is absent.
    pub openai: String,
    /// Provider for Anthropic calls where `model` is absent.
    pub anthropic: String,
    /// Providers by name, beside the built-in ones; an entry with a built-in name changes that one.
    pub providers: BTreeMap<String, ProviderSettings>,
    /// Further tries of one provider after 408, 409, 429, 5xx or a failed connection.
    pub retries: u32,
    /// Longest wait that a `retry-after` may ask for, in milliseconds; a longer one ends the tries.
    pub max_retry_wait_ms: u64,
    /// Time to connect, TLS included, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Time to the first byte of an answer's body, in milliseconds, each try for itself.
    pub first_byte_timeout_ms: u64,
    /// Time for the entire answer, all tries and the stream included, in milliseconds.
    pub total_timeout_ms: u64,
    /// PEM file of certificate authorities to trust beside the public ones.
    pub ca_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: None,
            fallbacks: Vec::new(),
            openai: "openai".into(),
            anthropic: "anthropic".into(),
            providers: BTreeMap::new(),
            retries: 2,
            max_retry_wait_ms: 20_000,
            connect_timeout_ms: 5_000,
            first_byte_timeout_ms: 300_000,
            total_timeout_ms: 600_000,
            ca_file: None,
        }
    }
}

/// One provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderSettings {
    /// What it speaks. Default: the kind of the built-in provider of that name, else `openai_compatible`.
    pub kind: Option<ProviderKind>,
    /// Base URL with the version, such as `https://api.openai.com/v1`; for `azure` the resource's endpoint.
    pub base_url: Option<String>,
    /// Environment variable that holds the key.
    pub api_key_env: Option<String>,
    /// File that holds the key; reread when it changes.
    pub api_key_file: Option<PathBuf>,
}
