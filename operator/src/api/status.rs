//! `status`: what the operator has seen and done.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reasons::ConditionType;

/// What the operator has seen and done.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The `metadata.generation` that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Accepted, WorkersReady, ModelLoaded, PodsInjected, Degraded; GatewayReady where there is a gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Ready workers of those asked for, such as `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<String>,
    /// How many workers there are; for the scale subresource.
    #[serde(default)]
    pub replicas: i32,
    /// How many of them are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// The labels of worker pods; for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// How far the configuration has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Configuration>,
    /// The gateway, where the resource has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayStatus>,
    /// What was saved: what the workers have counted, and what sidecars have reported to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl Status {
    /// Returns the condition of this name.
    pub fn condition(&self, name: ConditionType) -> Option<&Condition> {
        let mut conditions = self.conditions.iter();
        conditions.find(|condition| condition.type_ == name.as_str())
    }
}

/// The gateway, for those who call it.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// The base URL, for SDKs of OpenAI and of Anthropic; the former may write `/v1` behind it.
    pub url: String,
    /// The ConfigMap of this namespace that holds the authority of the gateway's certificate in `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Ready pods of those asked for, such as `2/2`.
    pub pods: String,
    /// How many pods are ready.
    #[serde(default)]
    pub ready_replicas: i32,
}

/// How far the configuration has come.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// The configuration of running sidecars.
    pub sidecars: Part,
    /// The configuration of the workers.
    pub workers: Part,
    /// What new pods get: image, resources and ports of the sidecar.
    pub injection: Part,
}

/// One part of the configuration.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// A short checksum of its content.
    pub revision: String,
    /// How a change arrives.
    pub delivery: Delivery,
    /// How far the last change has come, in words.
    pub progress: String,
}

/// How a change of the configuration arrives.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// The file is watched: nothing restarts.
    WatchedFile,
    /// Pods are replaced, one after the other.
    Rollout,
    /// Pods that are made after the change have it.
    NewPods,
}

/// What was saved since the proxy was created: what the workers have counted, and what sidecars have reported to them.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// The sum over all workers.
    #[serde(flatten)]
    pub total: Figures,
    /// Prompt tokens of calls that did not reach an LLM; as long as no sidecar has reported calls, tokens of documents
    /// that were left out.
    pub tokens_saved: i64,
    /// The share of the calls' prompt tokens that did not reach an LLM, such as `82%`; as long as no sidecar has reported
    /// calls, the share of the documents' tokens that was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<String>,
    /// What `tokensSaved` would have cost at `spec.price` as it is now, such as `12.34 USD`; rounded down. None without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_saved: Option<String>,
    /// When the figures last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Time>,
    /// Figures of workers that are gone.
    #[serde(default)]
    pub gone: Figures,
    /// Figures of each worker at the last reading; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<WorkerUsage>,
}

/// Counters of one worker since its start, or of several.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Calls to LLMs that sidecars have read, sent on and reported.
    #[serde(default)]
    pub calls: i64,
    /// Prompt tokens of those calls as they came from the applications; estimated.
    #[serde(default)]
    pub call_tokens_before: i64,
    /// Prompt tokens of those calls as they went on to the LLMs; estimated.
    #[serde(default)]
    pub call_tokens_after: i64,
    /// Documents answered.
    #[serde(default)]
    pub documents: i64,
    /// Tokens of those documents.
    #[serde(default)]
    pub tokens_in: i64,
    /// Tokens of the evidence returned.
    #[serde(default)]
    pub tokens_out: i64,
}

/// Tokens as they came, and as they went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCounts {
    /// As they came.
    pub before: i64,
    /// As they went on.
    pub after: i64,
}

impl Figures {
    /// Returns the tokens of which something was saved: of calls, once sidecars have reported any. How often a document was
    /// sent that a worker was asked about, the worker does not know.
    pub fn token_counts(&self) -> TokenCounts {
        if self.calls > 0 {
            TokenCounts {
                before: self.call_tokens_before,
                after: self.call_tokens_after,
            }
        } else {
            TokenCounts {
                before: self.tokens_in,
                after: self.tokens_out,
            }
        }
    }
}

/// Computes the whole percent that `saved` is of `tokens`, rounded down: nothing is promised that was not saved. None of no
/// tokens.
pub fn compute_percent(saved: i64, tokens: i64) -> Option<i64> {
    let percent = (tokens > 0).then(|| i128::from(saved) * 100 / i128::from(tokens))?;
    i64::try_from(percent.max(0)).ok()
}

/// The figures of one worker.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerUsage {
    /// Name of the worker's pod.
    pub pod: String,
    /// The worker's counters since its start.
    #[serde(flatten)]
    pub figures: Figures,
}
