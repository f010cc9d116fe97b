//! The operator's own settings: flags, each by environment too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args};
use liquid_contract::ports;
use liquid_process::logs::LogFormat;
use liquid_signing::PublicKey;

use crate::api::{PodUser, PullPolicy};
use crate::inject::SidecarDefaults;
use crate::pki::{Times, TimesError};

#[cfg(test)]
pub(crate) mod tests;

/// Settings of `liquid-operator serve`, `uninstall` and `check`.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// The operator's own namespace: Lease, certificate authority, webhook service.
    #[arg(long, env = "LIQUID_OPERATOR_NAMESPACE", default_value = "liquid-memory")]
    pub namespace: String,
    /// Image of the injected sidecar.
    #[arg(long, env = "LIQUID_OPERATOR_SIDECAR_IMAGE")]
    pub sidecar_image: String,
    /// Image of the workers, unless the resource names one.
    #[arg(long, env = "LIQUID_OPERATOR_WORKER_IMAGE")]
    pub worker_image: String,
    /// When kubelets pull those images.
    #[arg(
        long,
        env = "LIQUID_OPERATOR_IMAGE_PULL_POLICY",
        value_enum,
        default_value_t = PullPolicy::IfNotPresent
    )]
    pub image_pull_policy: PullPolicy,
    /// Secrets to pull them with, in the namespaces where the pods run; several with commas.
    #[arg(long, env = "LIQUID_OPERATOR_IMAGE_PULL_SECRETS", value_delimiter = ',')]
    pub image_pull_secrets: Vec<String>,
    /// As which user workers and sidecars run, unless the resource says so: user and group 65532, or whom the
    /// platform assigns.
    #[arg(
        long,
        env = "LIQUID_OPERATOR_POD_USER",
        value_enum,
        default_value_t = PodUser::Fixed
    )]
    pub pod_user: PodUser,
    /// Public key of who signs models: Ed25519, PEM or the line within it. With it workers take no other model.
    #[arg(long, env = "LIQUID_OPERATOR_MODEL_PUBLIC_KEY")]
    pub model_public_key: Option<PublicKey>,
    /// The Service in front of the webhook.
    #[arg(
        long,
        env = "LIQUID_OPERATOR_WEBHOOK_SERVICE",
        default_value = "liquid-operator"
    )]
    pub webhook_service: String,
    /// The MutatingWebhookConfiguration whose bundle of authorities is kept right.
    #[arg(long, env = "LIQUID_OPERATOR_WEBHOOK_NAME", default_value = "liquid-operator")]
    pub webhook_name: String,
    /// The address of the operator's own pod. It shows whether pods of this cluster have IPv4 or IPv6
    /// addresses.
    #[arg(long, env = "LIQUID_OPERATOR_POD_IP")]
    pub pod_ip: Option<IpAddr>,
    /// Port on which the API server calls [default: 9443].
    #[arg(long, env = "LIQUID_OPERATOR_WEBHOOK_PORT")]
    pub webhook_port: Option<u16>,
    /// Port of probes and metrics [default: 8080].
    #[arg(long, env = "LIQUID_OPERATOR_ADMIN_PORT")]
    pub admin_port: Option<u16>,
    /// Where the API server calls [default: the webhook's port of every address].
    #[arg(long, env = "LIQUID_OPERATOR_WEBHOOK_LISTEN")]
    pub webhook_listen: Option<SocketAddr>,
    /// Where probes and Prometheus connect: /livez, /readyz, /metrics [default: the admin port of
    /// every address].
    #[arg(long, env = "LIQUID_OPERATOR_ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,
    /// The cluster's DNS domain.
    #[arg(long, env = "LIQUID_OPERATOR_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// The Lease on which the replica that writes is elected.
    #[arg(long, env = "LIQUID_OPERATOR_LEASE_NAME", default_value = "liquid-operator")]
    pub lease_name: String,
    /// The operator's own Deployment, which `uninstall` ends first [default: the name of the webhook's
    /// Service].
    #[arg(long, env = "LIQUID_OPERATOR_DEPLOYMENT")]
    pub deployment: Option<String>,
    /// Whether opted-in pods without a sidecar are evicted, so that their controllers create them again: true or false.
    #[arg(
        long,
        env = "LIQUID_OPERATOR_EVICT_PODS",
        default_value = "false",
        action = ArgAction::Set
    )]
    pub evict_pods: bool,
    /// How a log line looks.
    #[arg(long, env = "LIQUID_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    /// What is logged: a filter, such as info or warn,liquid_operator=debug.
    #[arg(long, env = "LIQUID_OPERATOR_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// How long a certificate authority is valid.
    #[arg(long, env = "LIQUID_OPERATOR_CA_LIFETIME", default_value = "365d")]
    pub ca_lifetime: Lifetime,
    /// How long the certificates of workers, sidecars and the webhook are valid.
    #[arg(long, env = "LIQUID_OPERATOR_LEAF_LIFETIME", default_value = "24h")]
    pub leaf_lifetime: Lifetime,
    /// How long a changed Secret may take to reach every pod that mounts it: the kubelets' period of sync and
    /// more.
    #[arg(long, env = "LIQUID_OPERATOR_CERT_PROPAGATION", default_value = "150s")]
    pub cert_propagation: Lifetime,
}

impl Settings {
    /// Returns the lives of certificates.
    ///
    /// # Errors
    /// The times do not fit each other.
    pub fn times(&self) -> Result<Times, TimesError> {
        let times = Times {
            ca: self.ca_lifetime.0,
            leaf: self.leaf_lifetime.0,
            propagation: self.cert_propagation.0,
        };
        times.check()
    }

    /// Returns the address on which operator, workers and sidecars listen: every address of a pod of this
    /// cluster.
    ///
    /// `::` takes IPv4 connections too, but cannot be listened on where a node has IPv6 switched off.
    pub fn any_address(&self) -> IpAddr {
        match self.pod_ip {
            Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
            Some(IpAddr::V4(_)) | None => Ipv4Addr::UNSPECIFIED.into(),
        }
    }

    /// Returns the address on which the webhook listens.
    pub fn webhook_address(&self) -> SocketAddr {
        let port = self.webhook_port.unwrap_or(ports::OPERATOR_WEBHOOK);
        self.webhook_listen
            .unwrap_or_else(|| (self.any_address(), port).into())
    }

    /// Returns the address of probes and metrics.
    pub fn admin_address(&self) -> SocketAddr {
        let port = self.admin_port.unwrap_or(ports::OPERATOR_ADMIN);
        self.admin_listen
            .unwrap_or_else(|| (self.any_address(), port).into())
    }

    /// Returns what the installation decides for every sidecar.
    pub fn sidecar_defaults(&self) -> SidecarDefaults {
        SidecarDefaults {
            image: self.sidecar_image.clone(),
            pull_policy: self.image_pull_policy.as_str(),
            pull_secrets: self
                .image_pull_secrets
                .iter()
                .filter(|name| !name.is_empty())
                .cloned()
                .collect(),
            user: self.pod_user,
            any_address: self.any_address(),
            log_format: self.log_format.name(),
        }
    }

    /// Returns the name of the operator's own Deployment.
    pub fn deployment(&self) -> &str {
        self.deployment.as_deref().unwrap_or(&self.webhook_service)
    }
}

/// A time written as `90s`, `15m`, `24h` or `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(pub Duration);

/// A text that is not a [`Lifetime`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time: write a whole number and s, m, h or d, such as 24h")]
pub struct LifetimeError(String);

impl FromStr for Lifetime {
    type Err = LifetimeError;

    fn from_str(text: &str) -> Result<Self, LifetimeError> {
        let refuse = || LifetimeError(text.into());
        let unit = text.chars().last().ok_or_else(refuse)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(refuse()),
        };
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| refuse())?;
        let total = number.checked_mul(seconds).filter(|total| *total > 0);
        total
            .map(|total| Self(Duration::from_secs(total)))
            .ok_or_else(refuse)
    }
}
