//! The kinds of upstream providers.

use serde::Deserialize;

/// What a provider speaks, and how it wants its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
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

impl ProviderKind {
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
