//! What a decision is made from: the pod, and what is known of its namespace and of the installation.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::api::{InterceptedPods, PodUser};

/// Everything that a decision about one pod is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The pod as the API server sent it.
    pub pod: &'a Value,
    /// The namespace in which the pod is created.
    pub namespace: &'a str,
    /// Settings of the installation for every sidecar.
    pub defaults: &'a SidecarDefaults,
    /// The proxies of that namespace.
    pub proxies: &'a [Proxy],
    /// The ConfigMaps that the pod's `envFrom` names; see [`list_config_maps`](super::env::list_config_maps).
    pub config_maps: &'a ConfigMaps,
}

/// What the installation decides for every sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarDefaults {
    /// Image of the sidecar.
    pub image: String,
    /// When kubelets pull the image: `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: &'static str,
    /// Secrets to pull the image with; they must exist in the pod's namespace.
    pub pull_secrets: Vec<String>,
    /// As which user the sidecar runs, unless the proxy says so.
    pub user: PodUser,
    /// Address on which the sidecar serves probes and metrics: every address, of the family that pods have
    /// here.
    pub any_address: IpAddr,
    /// Format of the sidecar's log: `text` or `json`.
    pub log_format: &'static str,
}

/// A `LiquidMemoryProxy`, as far as injection needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Name of the resource.
    pub name: String,
    /// Image of the sidecar, if it is not the installation's.
    pub image: Option<String>,
    /// As which user the sidecar runs, if not as the installation says.
    pub user: Option<PodUser>,
    /// When the resource was created; the oldest wins where several are in reach.
    pub created: Option<Timestamp>,
    /// Port on which the sidecar serves the application, on 127.0.0.1.
    pub port: u16,
    /// Port on which the sidecar serves probes and metrics.
    pub admin_port: u16,
    /// CPU and memory of the sidecar.
    pub resources: SidecarResources,
    /// Keys of upstreams to mount.
    pub keys: Vec<MountedKey>,
    /// Which pods have their TLS to providers intercepted; none where the proxy has no certificate for it.
    pub tls_interception: Option<InterceptedPods>,
}

/// Requests and limits of a sidecar, as Kubernetes writes quantities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SidecarResources {
    /// `requests.cpu`.
    pub cpu_request: Option<String>,
    /// `limits.cpu`.
    pub cpu_limit: Option<String>,
    /// `requests.memory`.
    pub memory_request: Option<String>,
    /// `limits.memory`.
    pub memory_limit: Option<String>,
}

/// An upstream's key, mounted as a file in `KEYS_FOLDER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedKey {
    /// Path of the file below the folder.
    pub path: String,
    /// The Secret in the pod's namespace.
    pub secret: String,
    /// The key in the Secret.
    pub key: String,
}

/// ConfigMaps of the pod's namespace, by name. A missing one counts as [`ConfigMapData::Unknown`].
pub type ConfigMaps = BTreeMap<String, ConfigMapData>;

/// What is known of a ConfigMap's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigMapData {
    /// The ConfigMap was read; this is its `data`.
    Known(BTreeMap<String, String>),
    /// The ConfigMap does not exist yet, or the API server did not answer in time.
    Unknown,
}
