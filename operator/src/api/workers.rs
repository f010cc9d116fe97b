//! `spec.workers`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, PodResourceClaim, Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use liquid_contract::defaults;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PodUser, WorkerAutoscaling};

/// The workers: how many, where, with what.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.replicas >= 0 && self.replicas <= 100")
        .message("spec.workers.replicas is 0 to 100: ask for at most 100 workers, or make a second proxy"),
    validation = Rule::new("!(has(self.gpu) && has(self.resourceClaims) && size(self.resourceClaims) > 0)")
        .message("spec.workers takes gpu or resourceClaims: keep the one that your cluster's GPUs are \
            offered by"),
    validation = Rule::new("self.startSeconds >= 10 && self.startSeconds <= 7200")
        .message("spec.workers.startSeconds is 10 to 7200: give a worker the time that reading its model \
            takes"),
    validation = Rule::new("self.drainSeconds >= 1 && self.drainSeconds <= 3600")
        .message("spec.workers.drainSeconds is 1 to 3600: give running extractions the time that they may take")
)]
pub struct Workers {
    /// How many workers: 0 to 100. One is replaced by stopping it first, more one after the other.
    #[serde(default = "one")]
    pub replicas: i32,
    /// As many as the load asks for, down to none. Default: `replicas`, which counts only without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<WorkerAutoscaling>,
    /// Image of the workers. Default: the one that belongs to the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    pub image: Option<String>,
    /// As which user the workers run. Default: the installation's, `podUser` of the chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<PodUser>,
    /// CPU and memory. The memory's limit has to hold the model and `limits` of the worker's configuration, and without a
    /// GPU the decoder and its memory.
    #[serde(default = "resources")]
    pub resources: Resources,
    /// GPUs from a device plugin. Not together with `resourceClaims`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Devices by dynamic resource allocation. Not together with `gpu`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub resource_claims: Vec<PodResourceClaim>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that do not matter. With `gpu`, the taint of its resource is tolerated without an
    /// entry here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Which nodes and neighbours are preferred or required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How workers spread over nodes and zones. Default: over nodes, where that is possible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// The container runtime's class, such as `nvidia`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// How important the pods are to the scheduler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// How long a worker may take until it is ready, in seconds: 10 to 7200.
    #[serde(default = "start_seconds")]
    pub start_seconds: i32,
    /// How long running extractions may take when a worker stops, in seconds: 1 to 3600. The pod's grace
    /// period is computed from it.
    #[serde(default = "drain_seconds")]
    pub drain_seconds: i32,
}

/// CPU, memory and other resources of a container.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the scheduler sets aside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Quantity>,
    /// What the container cannot exceed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
}

/// GPUs from a device plugin.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.count >= 1 && self.count <= 16")
        .message("spec.workers.gpu.count is 1 to 16 for each worker: leave gpu out for workers on the CPU"),
    validation = Rule::new("self.resourceName.contains('/')")
        .message("spec.workers.gpu.resourceName is what the device plugin offers on nodes, such as \
            nvidia.com/gpu: kubectl describe node shows it")
)]
pub struct Gpu {
    /// What the device plugin offers on nodes.
    #[serde(default = "gpu_resource")]
    #[schemars(length(max = 253))]
    pub resource_name: String,
    /// How many GPUs for each worker: 1 to 16.
    #[serde(default = "one")]
    pub count: i32,
}

impl Workers {
    /// Returns how long calls wait for the first worker, in seconds, where there may be none.
    pub fn hold_seconds(&self) -> Option<i32> {
        let scaling = self
            .autoscaling
            .as_ref()
            .filter(|scaling| scaling.min_replicas == 0);
        scaling.map(|scaling| scaling.hold_seconds)
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            replicas: one(),
            autoscaling: None,
            image: None,
            user: None,
            resources: resources(),
            gpu: None,
            resource_claims: Vec::new(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            affinity: None,
            topology_spread_constraints: Vec::new(),
            runtime_class_name: None,
            priority_class_name: None,
            start_seconds: start_seconds(),
            drain_seconds: drain_seconds(),
        }
    }
}

impl Resources {
    /// Builds requests and limits from pairs of a name and a quantity.
    pub(crate) fn from_pairs(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Self {
        let map = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, quantity)| ((*name).into(), Quantity((*quantity).into())))
                .collect()
        };
        Self {
            requests: map(requests),
            limits: map(limits),
        }
    }
}

fn one() -> i32 {
    1
}

/// Returns the default resources. The model (92 MB), the documents that may be under way (512 MiB) and the
/// caches (128 MiB) fit.
fn resources() -> Resources {
    Resources::from_pairs(&[("cpu", "500m"), ("memory", "1Gi")], &[("memory", "2Gi")])
}

fn gpu_resource() -> String {
    "nvidia.com/gpu".into()
}

fn start_seconds() -> i32 {
    300
}

fn drain_seconds() -> i32 {
    i32::try_from(defaults::DRAIN_SECONDS).unwrap_or(i32::MAX)
}
