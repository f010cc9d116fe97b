//! `spec.synthesis`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The CEL rule for base URLs: what the sidecar takes. Keys belong into `secretRef`.
const URL_RULE: &str = "!has(self.baseURL) || self.baseURL.matches('^https?://[^/?#@ ]+(/[^?# ]*)?$')";

/// Which LLM answers.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("size(self.fallbacks) == 0 || has(self.model)")
        .message("spec.synthesis.fallbacks need spec.synthesis.model: name the model that they stand in for"),
    validation = Rule::new(base_url_rule())
        .message("spec.synthesis.baseURL is needed for a provider without a public address: give the URL \
            with the API's version, such as https://llm.example/v1"),
    validation = Rule::new("!(self.provider in ['local', 'liquid']) || !(has(self.baseURL) || has(self.secretRef))")
        .message("spec.synthesis.provider local or liquid has no server of its own: remove baseURL and secretRef"),
    validation = Rule::new(URL_RULE)
        .message("spec.synthesis.baseURL starts with https:// or http:// and a host, such as \
            https://llm.example/v1, and has no user, password or query")
)]
pub struct Synthesis {
    /// Who answers.
    #[serde(default)]
    pub provider: Provider,
    /// The model that answers every call, whatever model the application names. Default: the one that it names; of the
    /// provider `liquid` the only one that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub model: Option<String>,
    /// Where the provider's API is, with its version. Default: the provider's public one.
    #[serde(default, rename = "baseURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2000))]
    pub base_url: Option<String>,
    /// The provider's key, in a Secret of this namespace. Default: the key that the application sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKey>,
    /// Who answers when `model` fails, in order.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub fallbacks: Vec<Fallback>,
}

/// Who answers when the first choice fails.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(base_url_rule())
        .message("spec.synthesis.fallbacks[].baseURL is needed for a provider without a public address: \
            give the URL with the API's version"),
    validation = Rule::new("self.provider != 'liquid' || !(has(self.baseURL) || has(self.secretRef))")
        .message("spec.synthesis.fallbacks[].provider liquid has no server of its own: remove baseURL and secretRef"),
    validation = Rule::new(URL_RULE)
        .message("spec.synthesis.fallbacks[].baseURL starts with https:// or http:// and a host, and has \
            no user, password or query")
)]
pub struct Fallback {
    /// Who answers.
    pub provider: Provider,
    /// The model.
    #[schemars(length(min = 1, max = 253))]
    pub model: String,
    /// Where the provider's API is, with its version. Default: the provider's public one.
    #[serde(default, rename = "baseURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2000))]
    pub base_url: Option<String>,
    /// The provider's key, in a Secret of this namespace. Default: the key that the application sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKey>,
}

/// One key of a Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("size(self.name) > 0 && size(self.key) > 0")
        .message("secretRef names a Secret of this namespace and one of its keys: fill in name and key")
)]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The key in the Secret.
    #[serde(default = "secret_key")]
    #[schemars(length(max = 253))]
    pub key: String,
}

/// A provider, by the name that the sidecar knows it by.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// OpenAI.
    #[default]
    Openai,
    /// Azure OpenAI.
    Azure,
    /// Anthropic.
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
    /// The built-in extractive answer.
    Local,
    /// The workers' own language model, `spec.decoder`: nothing leaves the cluster.
    Liquid,
}

impl Provider {
    /// Returns the provider as the sidecar knows it: name, public URL.
    pub fn to_contract(self) -> liquid_contract::Provider {
        match self {
            Self::Openai => liquid_contract::Provider::Openai,
            Self::Azure => liquid_contract::Provider::Azure,
            Self::Anthropic => liquid_contract::Provider::Anthropic,
            Self::Gemini => liquid_contract::Provider::Gemini,
            Self::Deepseek => liquid_contract::Provider::Deepseek,
            Self::Vllm => liquid_contract::Provider::Vllm,
            Self::Tgi => liquid_contract::Provider::Tgi,
            Self::Ollama => liquid_contract::Provider::Ollama,
            Self::OpenaiCompatible => liquid_contract::Provider::OpenaiCompatible,
            Self::Local => liquid_contract::Provider::Local,
            Self::Liquid => liquid_contract::Provider::Liquid,
        }
    }
}

/// Builds the CEL rule that demands a base URL for providers without a public address.
fn base_url_rule() -> String {
    let public: Vec<String> = liquid_contract::Provider::ALL
        .into_iter()
        .filter(|provider| !provider.needs_base_url())
        .map(|provider| format!("'{}'", provider.name()))
        .collect();
    format!("self.provider in [{}] || has(self.baseURL)", public.join(", "))
}

impl Synthesis {
    /// Lists every Secret key that sidecars need, each once.
    pub fn list_secrets(&self) -> Vec<&SecretKey> {
        let all = self
            .fallbacks
            .iter()
            .filter_map(|fallback| fallback.secret_ref.as_ref());
        let mut keys: Vec<&SecretKey> = Vec::new();
        for key in self.secret_ref.iter().chain(all) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }
}

fn secret_key() -> String {
    "api-key".into()
}
