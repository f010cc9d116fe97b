//! The kinds of LLM providers.

use serde::{Deserialize, Serialize};

/// A kind of LLM provider: what it speaks, and where its API is.
///
/// Users write the name in `spec.synthesis.provider` of a `LiquidMemoryProxy` and in the sidecar's configuration. The
/// operator writes it into `sidecar.toml`; the sidecar reads it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
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
    /// The language model of the workers that find the evidence; no server of its own.
    Liquid,
}

impl Provider {
    /// Every kind, in the order in which documentation lists them.
    pub const ALL: [Self; 11] = [
        Self::Openai,
        Self::Azure,
        Self::Anthropic,
        Self::Gemini,
        Self::Deepseek,
        Self::Vllm,
        Self::Tgi,
        Self::Ollama,
        Self::OpenaiCompatible,
        Self::Local,
        Self::Liquid,
    ];

    /// Returns the kind's name in configurations, such as `openai_compatible`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Azure => "azure",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Deepseek => "deepseek",
            Self::Vllm => "vllm",
            Self::Tgi => "tgi",
            Self::Ollama => "ollama",
            Self::OpenaiCompatible => "openai_compatible",
            Self::Local => "local",
            Self::Liquid => "liquid",
        }
    }

    /// Returns the base URL, version included, of an API that is the same for everybody; none for servers that users
    /// run themselves, and for Azure, whose resources have their own.
    pub const fn public_url(self) -> Option<&'static str> {
        match self {
            Self::Openai => Some("https://api.openai.com/v1"),
            Self::Anthropic => Some("https://api.anthropic.com/v1"),
            Self::Gemini => Some("https://generativelanguage.googleapis.com/v1beta/openai"),
            Self::Deepseek => Some("https://api.deepseek.com/v1"),
            Self::Azure
            | Self::Vllm
            | Self::Tgi
            | Self::Ollama
            | Self::OpenaiCompatible
            | Self::Local
            | Self::Liquid => None,
        }
    }

    /// Returns the base URL of a server on this machine with its default port, for servers that have one.
    pub const fn local_url(self) -> Option<&'static str> {
        match self {
            Self::Vllm => Some("http://127.0.0.1:8000/v1"),
            Self::Tgi => Some("http://127.0.0.1:8080/v1"),
            Self::Ollama => Some("http://127.0.0.1:11434/v1"),
            Self::Openai
            | Self::Azure
            | Self::Anthropic
            | Self::Gemini
            | Self::Deepseek
            | Self::OpenaiCompatible
            | Self::Local
            | Self::Liquid => None,
        }
    }

    /// Returns the base URL that the sidecar uses where its configuration gives none: the public one, or the local one.
    pub const fn default_url(self) -> Option<&'static str> {
        match self.public_url() {
            Some(url) => Some(url),
            None => self.local_url(),
        }
    }

    /// Returns the variable that the provider's own tools read their key from. Only the sidecar reads it; the table is
    /// here so that a new provider is one file.
    pub const fn key_variable(self) -> Option<&'static str> {
        match self {
            Self::Openai => Some("OPENAI_API_KEY"),
            Self::Azure => Some("AZURE_API_KEY"),
            Self::Anthropic => Some("ANTHROPIC_API_KEY"),
            Self::Gemini => Some("GEMINI_API_KEY"),
            Self::Deepseek => Some("DEEPSEEK_API_KEY"),
            Self::Vllm | Self::Tgi | Self::Ollama | Self::OpenaiCompatible | Self::Local | Self::Liquid => {
                None
            }
        }
    }

    /// Returns the name that OpenTelemetry's GenAI conventions give the provider, if they give one. The sidecar's
    /// metrics and traces hold it.
    pub const fn genai_name(self) -> Option<&'static str> {
        match self {
            Self::Openai => Some("openai"),
            Self::Azure => Some("azure.ai.openai"),
            Self::Anthropic => Some("anthropic"),
            Self::Gemini => Some("gcp.gemini"),
            Self::Deepseek => Some("deepseek"),
            Self::Vllm | Self::Tgi | Self::Ollama | Self::OpenaiCompatible | Self::Local | Self::Liquid => {
                None
            }
        }
    }

    /// Returns whether a cluster must give the base URL: nothing listens on a pod's own loopback address but its sidecar, so
    /// [`Provider::local_url`] is no help there.
    pub const fn needs_base_url(self) -> bool {
        self.public_url().is_none() && !self.is_inside()
    }

    /// Returns whether the product itself answers, in the sidecar or in a worker: such a kind has neither URL nor key, and
    /// what it is asked does not leave.
    pub const fn is_inside(self) -> bool {
        matches!(self, Self::Local | Self::Liquid)
    }

    /// Lists the kinds that may be named as a provider without an entry in `[upstream.providers]`: all but
    /// [`Provider::OpenaiCompatible`], which says nothing about where to find the server.
    pub fn built_in() -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(|kind| *kind != Self::OpenaiCompatible)
    }

    /// Finds the built-in provider of this name.
    pub fn built_in_named(name: &str) -> Option<Self> {
        Self::built_in().find(|kind| kind.name() == name)
    }
}

impl std::fmt::Display for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::Provider;

    #[test]
    fn the_list_is_complete_and_each_name_is_the_one_that_is_read() {
        for (index, kind) in Provider::ALL.into_iter().enumerate() {
            // The order of the list is the order of the enum, so none can be missing before the last.
            assert_eq!(kind as usize, index);
            let quoted = format!("{:?}", kind.name());
            assert_eq!(serde_json::to_string(&kind).unwrap(), quoted);
            assert_eq!(serde_json::from_str::<Provider>(&quoted).unwrap(), kind);
        }
        let error = serde_json::from_str::<Provider>("\"\"").unwrap_err().to_string();
        assert_eq!(
            error.matches('`').count(),
            2 * (Provider::ALL.len() + 1),
            "{error}"
        );
    }

    #[test]
    fn a_name_alone_is_enough_for_what_is_built_in() {
        assert_eq!(Provider::built_in_named("vllm"), Some(Provider::Vllm));
        assert_eq!(Provider::built_in_named("openai_compatible"), None);
        assert_eq!(Provider::built_in_named("nobody"), None);
        assert_eq!(Provider::built_in().count(), Provider::ALL.len() - 1);
    }

    #[test]
    fn urls_are_public_or_local_and_hold_the_version() {
        for kind in Provider::ALL {
            let (public, local) = (kind.public_url(), kind.local_url());
            assert!(public.is_none() || local.is_none(), "{kind}");
            assert!(public.is_none_or(|url| url.starts_with("https://")), "{kind}");
            assert!(
                local.is_none_or(|url| url.starts_with("http://127.0.0.1:")),
                "{kind}"
            );
            assert!(kind.default_url().is_none_or(|url| url.contains("/v1")), "{kind}");
            assert_eq!(
                kind.needs_base_url(),
                public.is_none() && !kind.is_inside(),
                "{kind}"
            );
        }
    }
}
