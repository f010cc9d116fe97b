//! `spec.workers.autoscaling`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// As many workers as the load asks for, by the operator: no metrics server is needed. `spec.workers.replicas` is not used
/// then.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.minReplicas >= 0 && self.maxReplicas >= 1 && self.minReplicas <= self.maxReplicas && \
        self.maxReplicas <= 100")
        .message("spec.workers.autoscaling.minReplicas is 0 to maxReplicas, and maxReplicas 1 to 100"),
    validation = Rule::new("self.tokensInFlight >= 1")
        .message("spec.workers.autoscaling.tokensInFlight is 1 or more: the document tokens that one worker may have under \
            way before there is one more"),
    validation = Rule::new("self.scaleDownSeconds >= 10 && self.scaleDownSeconds <= 86400")
        .message("spec.workers.autoscaling.scaleDownSeconds is 10 to 86400: how long less load lasts before there are fewer \
            workers"),
    validation = Rule::new("self.holdSeconds >= 1 && self.holdSeconds <= 600")
        .message("spec.workers.autoscaling.holdSeconds is 1 to 600: how long calls wait for the first worker")
)]
pub struct WorkerAutoscaling {
    /// At least so many: 0 to `maxReplicas`. With 0 there is no worker while nobody asks; the next call starts one and waits
    /// for it.
    #[serde(default = "one")]
    pub min_replicas: i32,
    /// At most so many: 1 to 100.
    pub max_replicas: i32,
    /// Document tokens under way, running or waiting, that one worker may have before there is one more. What a worker reads
    /// in one or two seconds is a good value.
    #[serde(default = "tokens_in_flight")]
    pub tokens_in_flight: i64,
    /// How long less load has to last before there are fewer workers, in seconds: 10 to 86400.
    #[serde(default = "scale_down_seconds")]
    pub scale_down_seconds: i32,
    /// Where there is no worker: how long a call waits for the first one, in seconds, before
    /// `spec.policy.onWorkerUnavailable` decides: 1 to 600.
    #[serde(default = "hold_seconds")]
    pub hold_seconds: i32,
}

fn one() -> i32 {
    1
}

fn tokens_in_flight() -> i64 {
    50_000
}

fn scale_down_seconds() -> i32 {
    300
}

fn hold_seconds() -> i32 {
    60
}
