//! Certificates of the webhook, of workers and of sidecars, and what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::ByteString;
use liquid_contract::InterceptedHost;
use liquid_contract::files::{AUTHORITIES, CERTIFICATE, KEY};

use crate::names;

/// The use that a certificate is issued for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// TLS server.
    Server,
    /// TLS client.
    Client,
}

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum San {
    /// A host name.
    Dns(String),
    /// An identity, as SPIFFE writes it.
    Uri(String),
}

/// What a certificate says about its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Common name, for people.
    pub common_name: &'static str,
    /// Subject alternative names, for verifiers.
    pub names: BTreeSet<San>,
    /// Use of the certificate.
    pub usage: Usage,
}

impl Profile {
    /// Returns the profile of the webhook behind a Service.
    pub fn webhook(service: &str, namespace: &str, domain: &str) -> Self {
        Self {
            common_name: "liquid-memory webhook",
            names: list_hosts(service, namespace, domain),
            usage: Usage::Server,
        }
    }

    /// Returns the profile of a proxy's workers.
    pub fn worker(namespace: &str, proxy: &str, domain: &str) -> Self {
        let mut names = list_hosts(&names::workers(proxy), namespace, domain);
        names.insert(San::Uri(names::worker_identity(namespace, proxy)));
        Self {
            common_name: "liquid-memory worker",
            names,
            usage: Usage::Server,
        }
    }

    /// Returns the profile of a proxy's gateway.
    pub fn gateway(namespace: &str, proxy: &str, domain: &str) -> Self {
        Self {
            common_name: "liquid-memory gateway",
            names: list_hosts(&names::gateway(proxy), namespace, domain),
            usage: Usage::Server,
        }
    }

    /// Returns the profile of a sidecar for the hosts whose TLS it ends.
    pub fn interception() -> Self {
        let hosts = InterceptedHost::ALL.map(|host| San::Dns(host.name().into()));
        Self {
            common_name: "liquid-memory interception",
            names: hosts.into(),
            usage: Usage::Server,
        }
    }

    /// Returns the profile of a proxy's sidecars.
    pub fn sidecar(namespace: &str, proxy: &str) -> Self {
        Self {
            common_name: "liquid-memory sidecar",
            names: [San::Uri(names::sidecar_identity(namespace, proxy))].into(),
            usage: Usage::Client,
        }
    }

    /// Returns true if a certificate with these names fits the profile.
    pub(super) fn matches(&self, names: &BTreeSet<String>) -> bool {
        let own = self.names.iter().map(|name| match name {
            San::Dns(name) => format!("DNS:{name}"),
            San::Uri(name) => format!("URI:{name}"),
        });
        own.collect::<BTreeSet<_>>() == *names
    }
}

fn list_hosts(service: &str, namespace: &str, domain: &str) -> BTreeSet<San> {
    [
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.{domain}"),
    ]
    .map(San::Dns)
    .into()
}

/// A certificate with its key, PEM. The key is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// The data of a Secret.
pub type SecretData = BTreeMap<String, ByteString>;

impl Leaf {
    /// Returns the data of a Secret with this leaf and this bundle.
    pub fn to_data(&self, bundle: &str) -> SecretData {
        let entry = |key: &str, text: &str| (key.to_owned(), ByteString(text.as_bytes().to_vec()));
        [
            entry(CERTIFICATE, &self.certificate),
            entry(KEY, &self.key),
            entry(AUTHORITIES, bundle),
        ]
        .into()
    }

    /// Reads a leaf from the data of a Secret.
    pub(super) fn from_data(data: &SecretData) -> Option<Self> {
        let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
        Some(Self {
            certificate: text(CERTIFICATE)?,
            key: text(KEY)?,
        })
    }
}
