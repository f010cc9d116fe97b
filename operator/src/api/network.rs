//! `spec.network`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Who may reach the workers. Certificates decide as well: a peer that is let in here still needs the
/// certificate of this proxy's sidecars.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Make a NetworkPolicy. `false` where another one does.
    #[serde(default = "yes")]
    pub policy: bool,
    /// Who may send documents, beside the pods of this namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub allow_from: Vec<Peer>,
    /// Who may read the metrics of workers and gateway, beside the operator, which reads the workers'; Prometheus, for
    /// example.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub allow_metrics_from: Vec<Peer>,
}

/// Pods, by the labels of their namespace and their own.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.namespaceSelector) || has(self.podSelector)")
        .message("spec.network: an entry without namespaceSelector and podSelector lets nobody in: fill \
            one in or remove the entry")
)]
pub struct Peer {
    /// Which namespaces; `{}` is all. Default: this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Which of their pods; `{}` is all. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            policy: true,
            allow_from: Vec::new(),
            allow_metrics_from: Vec::new(),
        }
    }
}

fn yes() -> bool {
    true
}
