//! Certificates of the webhook, of workers and of sidecars: what they say, and when one has to be made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData};

use super::{Authorities, Facts, rotation};
use crate::names;

/// Keys in the Secret of a leaf, as Kubernetes names them for TLS.
pub const CERTIFICATE: &str = "tls.crt";
/// The leaf's own key.
pub const KEY: &str = "tls.key";
/// The authorities to trust.
pub const BUNDLE: &str = "ca.crt";

/// What a certificate is for.
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
    /// A host.
    Dns(String),
    /// An identity.
    Uri(String),
}

/// What a certificate says about its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// For people.
    pub common_name: &'static str,
    /// For verifiers.
    pub names: BTreeSet<San>,
    /// What it is for.
    pub usage: Usage,
}

impl Profile {
    /// The webhook behind a Service.
    pub fn webhook(service: &str, namespace: &str, domain: &str) -> Self {
        Self {
            common_name: "liquid-memory webhook",
            names: hosts(service, namespace, domain),
            usage: Usage::Server,
        }
    }

    /// The workers of a proxy.
    pub fn worker(namespace: &str, proxy: &str, domain: &str) -> Self {
        let mut names = hosts(&names::workers(proxy), namespace, domain);
        names.insert(San::Uri(names::worker_identity(namespace, proxy)));
        Self {
            common_name: "liquid-memory worker",
            names,
            usage: Usage::Server,
        }
    }

    /// The sidecars of a proxy.
    pub fn sidecar(namespace: &str, proxy: &str) -> Self {
        Self {
            common_name: "liquid-memory sidecar",
            names: [San::Uri(names::sidecar_identity(namespace, proxy))].into(),
            usage: Usage::Client,
        }
    }

    fn matches(&self, names: &BTreeSet<String>) -> bool {
        let own = self.names.iter().map(|name| match name {
            San::Dns(name) => format!("DNS:{name}"),
            San::Uri(name) => format!("URI:{name}"),
        });
        own.collect::<BTreeSet<_>>() == *names
    }
}

fn hosts(service: &str, namespace: &str, domain: &str) -> BTreeSet<San> {
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
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Data of a Secret.
pub type Data = BTreeMap<String, ByteString>;

impl Leaf {
    /// What a Secret with this leaf holds.
    pub fn data(&self, bundle: &str) -> Data {
        let entry = |key: &str, text: &str| (key.to_owned(), ByteString(text.as_bytes().to_vec()));
        [
            entry(CERTIFICATE, &self.certificate),
            entry(KEY, &self.key),
            entry(BUNDLE, bundle),
        ]
        .into()
    }

    fn of(data: &Data) -> Option<Self> {
        let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
        Some(Self {
            certificate: text(CERTIFICATE)?,
            key: text(KEY)?,
        })
    }
}

/// What has to happen with a stored leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be.
    Keep,
    /// Only its bundle is not.
    Rebundle(Leaf),
    /// A new one is needed, because of this.
    Issue(&'static str),
}

/// Judges a stored leaf.
pub fn judge(data: Option<&Data>, profile: &Profile, authorities: &Authorities, now: Timestamp) -> Verdict {
    let Some(data) = data else {
        return Verdict::Issue("it is missing");
    };
    let Some(leaf) = Leaf::of(data) else {
        return Verdict::Issue("it is incomplete");
    };
    let Ok(facts) = Facts::of_pem("certificate", &leaf.certificate) else {
        return Verdict::Issue("it cannot be read");
    };
    let key = KeyPair::from_pem(&leaf.key).ok();
    if key.is_none_or(|key| key.subject_public_key_info() != facts.public_key) {
        return Verdict::Issue("its key belongs to another certificate");
    }
    if facts.signer != authorities.current.facts().key_id {
        return Verdict::Issue("another authority signs now");
    }
    if !profile.matches(&facts.names) {
        return Verdict::Issue("its names have changed");
    }
    if rotation::is_due(facts.not_before, facts.not_after, now) {
        return Verdict::Issue("two thirds of its life are over");
    }
    match data
        .get(BUNDLE)
        .is_some_and(|bundle| bundle.0 == authorities.bundle().as_bytes())
    {
        true => Verdict::Keep,
        false => Verdict::Rebundle(leaf),
    }
}
