//! `spec.gateway`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use kube::KubeSchema;
use liquid_contract::defaults;
use serde::{Deserialize, Serialize};

use super::network::Peer;
use super::{PodUser, Resources};

/// The sidecar as a service of its own, for applications that cannot or need not be injected: one base URL for a namespace
/// or a cluster. It has the policy, the upstreams and the keys of this resource, and lets in none but the clients that are
/// named here.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.clients.tokenSecret) || has(self.clients.certificates)")
        .message("spec.gateway.clients says who may call: name tokenSecret, a Secret with a token for each client, or \
            certificates"),
    validation = Rule::new("!has(self.clients.certificates) || self.tls.enabled")
        .message("spec.gateway.clients.certificates needs TLS, in which clients show them: set spec.gateway.tls.enabled, or \
            name tokenSecret instead"),
    validation = Rule::new("self.replicas >= 1 && self.replicas <= 100")
        .message("spec.gateway.replicas is 1 to 100: remove spec.gateway where none is wanted"),
    validation = Rule::new("!has(self.autoscaling) || (self.autoscaling.maxReplicas >= self.replicas && \
        self.autoscaling.maxReplicas <= 100)")
        .message("spec.gateway.autoscaling.maxReplicas is spec.gateway.replicas, which is the minimum, to 100"),
    validation = Rule::new("!has(self.autoscaling) || (has(self.resources.requests) && 'cpu' in self.resources.requests)")
        .message("spec.gateway.autoscaling measures the share of the CPU that is requested: set \
            spec.gateway.resources.requests.cpu"),
    validation = Rule::new("self.drainSeconds >= 1 && self.drainSeconds <= 3600")
        .message("spec.gateway.drainSeconds is 1 to 3600: what running calls may take when a pod stops")
)]
pub struct Gateway {
    /// Who may call. What is given here has to be shown: with both, a certificate and a token.
    pub clients: Clients,
    /// How many pods: 1 to 100. With `autoscaling` at least so many.
    #[serde(default = "replicas")]
    pub replicas: i32,
    /// More pods under load, by a HorizontalPodAutoscaler. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Encryption between clients and gateway.
    #[serde(default)]
    pub tls: GatewayTls,
    /// Whose pods may connect, beside those of this namespace. `spec.network.policy: false` leaves it to others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub allow_from: Vec<Peer>,
    /// Image of the gateway. Default: the sidecar that belongs to the operator, so that it is replaced with the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    pub image: Option<String>,
    /// As which user the gateway runs. Default: the installation's, `podUser` of the chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<PodUser>,
    /// CPU and memory.
    #[serde(default = "resources")]
    pub resources: Resources,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that do not matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// How long running calls may take when a pod stops, in seconds: 1 to 3600. The pod's grace period is computed from it.
    #[serde(default = "drain_seconds")]
    pub drain_seconds: i32,
}

/// Who may call the gateway.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.tokenSecret) || size(self.tokenSecret) > 0")
        .message("spec.gateway.clients.tokenSecret is empty: name a Secret of this namespace")
)]
pub struct Clients {
    /// A Secret of this namespace: each key is the name of a client, each line of its value a token of at least 16
    /// characters. Applications send their token as the API key; or in `x-liquid-token`, where the key is the provider's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub token_secret: Option<String>,
    /// Certificates that clients show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<ClientCertificates>,
}

/// Which certificates of clients are taken.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("size(self.authoritySecret) > 0")
        .message("spec.gateway.clients.certificates.authoritySecret is empty: name a Secret of this namespace that has the \
            authorities in ca.crt"),
    validation = Rule::new("self.identities.all(uri, uri.contains('://'))")
        .message("spec.gateway.clients.certificates.identities are whole URIs, such as spiffe://example.org/ns/shop/sa/app")
)]
pub struct ClientCertificates {
    /// A Secret of this namespace with the authorities of clients in `ca.crt`, PEM.
    #[schemars(length(max = 253))]
    pub authority_secret: String,
    /// The clients that may call, by a URI in their certificate. Default: every client that an authority vouches for.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(max = 500)))]
    pub identities: Vec<String>,
}

/// When there are more pods.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.cpuUtilization >= 10 && self.cpuUtilization <= 100")
        .message("spec.gateway.autoscaling.cpuUtilization is 10 to 100: percent of the CPU that is requested")
)]
pub struct Autoscaling {
    /// At most so many pods.
    pub max_replicas: i32,
    /// The share of the requested CPU that pods should use, in percent: 10 to 100.
    #[serde(default = "cpu_utilization")]
    pub cpu_utilization: i32,
}

/// Encryption between clients and gateway.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.enabled || !has(self.secretName)")
        .message("spec.gateway.tls.secretName names a certificate, and TLS is not enabled: remove one of both")
)]
pub struct GatewayTls {
    /// `false` only where something else encrypts, such as a mesh: keys and tokens are in every call.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// A Secret of type `kubernetes.io/tls` of this namespace with the gateway's certificate. Default: one that the operator
    /// makes and renews; its authority is in the ConfigMap that `status.gateway.authority` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

impl Gateway {
    /// Returns whether the operator makes the gateway's certificate.
    pub fn has_own_certificate(&self) -> bool {
        self.tls.enabled && self.tls.secret_name.is_none()
    }

    /// Lists the Secrets that the gateway cannot do without, each with the field that names it.
    pub fn list_secrets(&self) -> Vec<(&'static str, &str)> {
        let certificates = self.clients.certificates.as_ref();
        let all = [
            (
                "spec.gateway.clients.tokenSecret",
                self.clients.token_secret.as_deref(),
            ),
            (
                "spec.gateway.clients.certificates.authoritySecret",
                certificates.map(|certificates| certificates.authority_secret.as_str()),
            ),
            ("spec.gateway.tls.secretName", self.tls.secret_name.as_deref()),
        ];
        all.into_iter()
            .filter_map(|(field, name)| Some((field, name?)))
            .collect()
    }
}

impl Default for GatewayTls {
    fn default() -> Self {
        Self {
            enabled: true,
            secret_name: None,
        }
    }
}

fn yes() -> bool {
    true
}

/// One pod serves while another is replaced or drained.
fn replicas() -> i32 {
    2
}

fn cpu_utilization() -> i32 {
    70
}

fn resources() -> Resources {
    Resources::from_pairs(&[("cpu", "100m"), ("memory", "128Mi")], &[("memory", "1Gi")])
}

fn drain_seconds() -> i32 {
    i32::try_from(defaults::DRAIN_SECONDS).unwrap_or(i32::MAX)
}
