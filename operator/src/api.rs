//! The resource `LiquidMemoryProxy` (`liquidmemory.dev/v1alpha1`): its fields, rules and status.
//!
//! The definition in `crds/` and the reference beside it are generated from these types; `liquid-operator
//! crds` prints the definition. Rules that the API server can check are CEL, each with a message that names
//! the remedy.

// KubeSchema copies each struct, with its visibility, into a function.
#![allow(unreachable_pub)]

use kube::core::DeserializeGuard;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub mod autoscaling;
pub mod decimal;
pub mod decoder;
pub mod definition;
pub mod extraction;
pub mod gateway;
pub mod injection;
pub mod interception;
pub mod model;
pub mod network;
mod pod_user;
pub mod policy;
pub mod price;
mod pull_policy;
pub mod reasons;
pub mod reference;
pub mod status;
pub mod synthesis;
pub mod workers;

#[cfg(test)]
mod tests;

pub use autoscaling::WorkerAutoscaling;
pub use decimal::Decimal;
pub use decoder::Decoder;
pub use extraction::Extraction;
pub use gateway::Gateway;
pub use injection::Injection;
pub use interception::{InterceptedPods, TlsInterception};
pub use model::Model;
pub use network::Network;
pub use pod_user::PodUser;
pub use policy::Policy;
pub use price::Price;
pub use pull_policy::PullPolicy;
pub use status::Status;
pub use synthesis::Synthesis;
pub use workers::{Resources, Workers};

/// The CEL rule that demands a language model where one is to answer.
const LIQUID_RULE: &str = "!has(self.spec.synthesis) || has(self.spec.decoder) || \
    (self.spec.synthesis.provider != 'liquid' && \
    self.spec.synthesis.fallbacks.all(fallback, fallback.provider != 'liquid'))";

/// The CEL rule that lets the model's name be no other than its own: a worker has one model.
const LIQUID_MODEL_RULE: &str = "!has(self.spec.synthesis) || !has(self.spec.decoder) || \
    ((self.spec.synthesis.provider != 'liquid' || !has(self.spec.synthesis.model) || \
    (has(self.spec.decoder.name) && self.spec.synthesis.model == self.spec.decoder.name)) && \
    self.spec.synthesis.fallbacks.all(fallback, fallback.provider != 'liquid' || \
    (has(self.spec.decoder.name) && fallback.model == self.spec.decoder.name)))";

/// The CEL rule that demands a GPU where a number type is chosen: on a processor there is no choice.
const GPU_RULE: &str = "!has(self.spec.decoder) || \
    (!has(self.spec.decoder.precision) && !has(self.spec.decoder.kvPrecision)) || has(self.spec.workers.gpu) || \
    (has(self.spec.workers.resourceClaims) && size(self.spec.workers.resourceClaims) > 0)";

/// A stored proxy, or the error that says why it cannot be read: one malformed resource must not end the
/// watch of all.
pub type GuardedProxy = DeserializeGuard<LiquidMemoryProxy>;

/// A group of workers that find evidence, and what the sidecars of this namespace do with it.
///
/// Every field has a default: `spec: {}` is a proxy with one worker on the CPU and the model that is in its
/// image.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "liquidmemory.dev",
    version = "v1alpha1",
    kind = "LiquidMemoryProxy",
    plural = "liquidmemoryproxies",
    singular = "liquidmemoryproxy",
    shortname = "lmp",
    category = "liquid-memory",
    namespaced,
    doc = "Replaces long documents in LLM calls by their evidence: workers that find it, and the sidecars \
        of this namespace that use them.",
    status = "Status",
    derive = "PartialEq",
    derive = "Default",
    scale(
        spec_replicas_path = ".spec.workers.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Workers", type_ = "string", json_path = ".status.workers"),
    printcolumn(name = "Tier", type_ = "string", json_path = ".spec.extraction.tier"),
    printcolumn(
        name = "Saved",
        type_ = "string",
        description = "Share of the calls' prompt tokens that did not reach an LLM",
        json_path = ".status.usage.saved"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Calls",
        type_ = "integer",
        priority = 1,
        json_path = ".status.usage.calls"
    ),
    printcolumn(
        name = "Cost Saved",
        type_ = "string",
        description = "What those tokens would have cost at spec.price",
        priority = 1,
        json_path = ".status.usage.costSaved"
    ),
    printcolumn(
        name = "Documents",
        type_ = "integer",
        priority = 1,
        json_path = ".status.usage.documents"
    ),
    printcolumn(
        name = "Gateway",
        type_ = "string",
        priority = 1,
        json_path = ".status.gateway.url"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    validation = Rule::new("size(self.metadata.name) <= 40 && \
        self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name names Services and Secrets too: use at most 40 lower-case letters, digits \
            and '-', a letter first"),
    validation = Rule::new(LIQUID_RULE)
        .message("spec.synthesis names the provider liquid, which answers with the workers' language model: add spec.decoder"),
    validation = Rule::new("self.spec.extraction.packStyle == 'Quotes' || has(self.spec.decoder)")
        .message("spec.extraction.packStyle has facts, which the workers' language model writes: add spec.decoder"),
    validation = Rule::new(LIQUID_MODEL_RULE)
        .message("spec.synthesis.model of the provider liquid is spec.decoder.name, also in fallbacks: leave it out, or \
            give both the same name"),
    validation = Rule::new(GPU_RULE)
        .message("spec.decoder.precision and spec.decoder.kvPrecision choose number types of a GPU: leave them out, or set \
            spec.workers.gpu or spec.workers.resourceClaims")
)]
#[serde(rename_all = "camelCase")]
pub struct LiquidMemoryProxySpec {
    /// The workers: how many, where, with what.
    #[serde(default)]
    pub workers: Workers,
    /// What is asked of the workers.
    #[serde(default)]
    pub extraction: Extraction,
    /// Where the workers' model comes from.
    #[serde(default)]
    pub model: Model,
    /// The language model that the workers serve. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder: Option<Decoder>,
    /// When a document is replaced by its evidence.
    #[serde(default)]
    pub policy: Policy,
    /// What the LLM that answers costs. Default: unknown, and nothing is said in money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Which LLM answers. Default: the one that the application calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synthesis: Option<Synthesis>,
    /// The sidecar in application pods.
    #[serde(default)]
    pub injection: Injection,
    /// The sidecar as a service of its own, for applications that are not injected. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// Who may reach the workers.
    #[serde(default)]
    pub network: Network,
}
