//! What a decision is made from, apart from the pod: the platform, the proxies, the ConfigMaps.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::jiff::Timestamp;

/// What holds for every pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The sidecar's image.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: &'static str,
    /// Secrets to pull it with; they must exist in the pod's namespace.
    pub pull_secrets: Vec<String>,
    /// What the sidecar's probes and metrics listen on: every address, of the family that pods have here.
    pub any_address: IpAddr,
    /// `text` or `json`.
    pub log_format: &'static str,
}

/// One `LiquidMemoryProxy`, as far as injection needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its name.
    pub name: String,
    /// The sidecar's image, if it is not the platform's.
    pub image: Option<String>,
    /// When it was created; the oldest wins where several are in reach.
    pub created: Option<Timestamp>,
    /// Where the sidecar serves the application, on 127.0.0.1.
    pub port: u16,
    /// Where it serves probes and metrics.
    pub admin_port: u16,
    /// What it asks for.
    pub resources: Resources,
    /// Keys of upstreams to mount.
    pub keys: Vec<Key>,
}

/// Requests and limits, as Kubernetes writes quantities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
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
pub struct Key {
    /// The file's path below the folder.
    pub path: String,
    /// The Secret in the pod's namespace.
    pub secret: String,
    /// The key in it.
    pub key: String,
}

/// ConfigMaps of the pod's namespace, by name. One that is not here is as one that cannot be read.
pub type ConfigMaps = BTreeMap<String, Keys>;

/// What is known of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Its `data`.
    Known(BTreeMap<String, String>),
    /// It is not there yet, or the API server did not answer in time.
    Unknown,
}
