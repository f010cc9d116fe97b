//! The `[upstream]` section: which providers there are, which one answers, and how long it may take.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// Where requests go, and how hard to try.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `provider/model` that answers every compressible call, whatever `model` the client named; `SYNTHESIS_MODEL`
    /// sets it too. Absent: the client's model, at the default provider of its API.
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
    pub kind: Option<Kind>,
    /// Base URL with the version, such as `https://api.openai.com/v1`; for `azure` the resource's endpoint.
    pub base_url: Option<String>,
    /// Environment variable that holds the key.
    pub api_key_env: Option<String>,
    /// File that holds the key; reread when it changes.
    pub api_key_file: Option<PathBuf>,
}

/// What a provider speaks, and how it wants its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// OpenAI itself.
    Openai,
    /// Azure OpenAI, v1 API: `{endpoint}/openai/v1`, header `api-key`.
    Azure,
    /// Anthropic: Messages, header `x-api-key`.
    Anthropic,
    /// Gemini's OpenAI surface.
    Gemini,
    /// DeepSeek.
    Deepseek,
    /// A vLLM server.
    Vllm,
    /// A Text Generation Inference server.
    Tgi,
    /// An Ollama server.
    Ollama,
    /// Anything else that speaks OpenAI's API.
    OpenaiCompatible,
    /// The built-in extractive answer; no server, no model.
    Local,
}

impl Kind {
    /// The kind and base URL behind a built-in provider name.
    pub fn built_in(name: &str) -> Option<(Self, Option<&'static str>)> {
        Some(match name {
            "openai" => (Self::Openai, Some("https://api.openai.com/v1")),
            "azure" => (Self::Azure, None),
            "anthropic" => (Self::Anthropic, Some("https://api.anthropic.com/v1")),
            "gemini" => (
                Self::Gemini,
                Some("https://generativelanguage.googleapis.com/v1beta/openai"),
            ),
            "deepseek" => (Self::Deepseek, Some("https://api.deepseek.com/v1")),
            "vllm" => (Self::Vllm, Some("http://127.0.0.1:8000/v1")),
            "tgi" => (Self::Tgi, Some("http://127.0.0.1:8080/v1")),
            "ollama" => (Self::Ollama, Some("http://127.0.0.1:11434/v1")),
            "local" => (Self::Local, None),
            _ => return None,
        })
    }

    /// The name that OpenTelemetry's GenAI conventions give this provider, where they give one.
    pub fn genai_name(self) -> Option<&'static str> {
        match self {
            Self::Openai => Some("openai"),
            Self::Azure => Some("azure.ai.openai"),
            Self::Anthropic => Some("anthropic"),
            Self::Gemini => Some("gcp.gemini"),
            Self::Deepseek => Some("deepseek"),
            Self::Vllm | Self::Tgi | Self::Ollama | Self::OpenaiCompatible | Self::Local => None,
        }
    }

    /// The variable that this provider's own tools read their key from.
    pub fn usual_key_variable(self) -> Option<&'static str> {
        match self {
            Self::Openai => Some("OPENAI_API_KEY"),
            Self::Azure => Some("AZURE_API_KEY"),
            Self::Anthropic => Some("ANTHROPIC_API_KEY"),
            Self::Gemini => Some("GEMINI_API_KEY"),
            Self::Deepseek => Some("DEEPSEEK_API_KEY"),
            Self::Vllm | Self::Tgi | Self::Ollama | Self::OpenaiCompatible | Self::Local => None,
        }
    }
}
