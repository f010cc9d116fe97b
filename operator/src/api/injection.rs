//! `spec.injection`.

use kube::KubeSchema;
use liquid_contract::{defaults, ports};
use serde::{Deserialize, Serialize};

use super::{PodUser, Resources, TlsInterception};

/// The sidecar in application pods. Changes of these fields reach pods that are made after them; the sidecars
/// that run keep what they have.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.port >= 1024 && self.port <= 65535 && self.adminPort >= 1024 && \
        self.adminPort <= 65535")
        .message("spec.injection.port and adminPort are 1024 to 65535: the sidecar runs without privileges"),
    validation = Rule::new("self.port != self.adminPort")
        .message("spec.injection.port and adminPort are the same: choose two free ports of the \
            application's pods"),
    validation = Rule::new("self.port == oldSelf.port && self.adminPort == oldSelf.adminPort")
        .message("spec.injection.port and adminPort cannot change: running pods have them in their \
            environment; override one pod by the annotation liquidmemory.dev/port, or make a new proxy"),
    validation = Rule::new("self.drainSeconds >= 1 && self.drainSeconds <= 3600")
        .message("spec.injection.drainSeconds is 1 to 3600: what running calls may take when a pod stops")
)]
pub struct Injection {
    /// Where applications reach the sidecar, on the pod's loopback address: 1024 to 65535. Cannot change.
    #[serde(default = "port")]
    pub port: i32,
    /// Where the kubelet and Prometheus reach the sidecar: 1024 to 65535. Cannot change.
    #[serde(default = "admin_port")]
    pub admin_port: i32,
    /// Image of the sidecar. Default: the one that belongs to the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    pub image: Option<String>,
    /// As which user the sidecar runs. Default: the installation's, `podUser` of the chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<PodUser>,
    /// CPU and memory. Annotations of a pod override it. In a pod with resources of its own (`spec.resources`)
    /// the sidecar gets no more of them than is left.
    #[serde(default = "resources")]
    pub resources: Resources,
    /// How long running calls may take when the pod stops, in seconds: 1 to 3600.
    #[serde(default = "drain_seconds")]
    pub drain_seconds: i32,
    /// Interception of TLS, for applications that have a provider's URL in their code. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_interception: Option<TlsInterception>,
}

impl Default for Injection {
    fn default() -> Self {
        Self {
            port: port(),
            admin_port: admin_port(),
            image: None,
            user: None,
            resources: resources(),
            drain_seconds: drain_seconds(),
            tls_interception: None,
        }
    }
}

fn port() -> i32 {
    ports::SIDECAR.into()
}

fn admin_port() -> i32 {
    ports::SIDECAR_ADMIN.into()
}

fn resources() -> Resources {
    Resources::from_pairs(&[("cpu", "50m"), ("memory", "64Mi")], &[("memory", "512Mi")])
}

fn drain_seconds() -> i32 {
    i32::try_from(defaults::DRAIN_SECONDS).unwrap_or(i32::MAX)
}
