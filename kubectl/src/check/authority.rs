//! The certificate authorities, and the certificates of workers, sidecars and gateways.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use liquid_contract::files::{AUTHORITIES, CERTIFICATE};
use liquid_operator::api::LiquidMemoryProxy;
use liquid_operator::pki::{Authorities, Facts, Purpose};

use super::finding::{Fault, Finding, ObjectName};
use super::installation::show_log;
use crate::snapshot::Snapshot;
use crate::snapshot::namespace::{Holder, NamespaceState, list_certificates};
use crate::snapshot::operators::Operator;
use crate::snapshot::reader::Sought;

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    if let Some(operator) = snapshot.operator() {
        for purpose in Purpose::ALL {
            check_authority(purpose, snapshot, operator, findings);
        }
    }
    let log = snapshot.operator().map_or_else(
        || "look at the log of the operator that leads".to_owned(),
        show_log,
    );
    for namespace in &snapshot.namespaces {
        for proxy in &namespace.proxies {
            let context = ProxyCertificates {
                now: snapshot.now,
                namespace,
                log: &log,
            };
            context.check(proxy, findings);
        }
    }
}

fn check_authority(purpose: Purpose, snapshot: &Snapshot, operator: &Operator, findings: &mut Vec<Finding>) {
    let what = match purpose {
        Purpose::Internal => "the authority",
        Purpose::Interception => "the authority for interception",
    };
    let object = ObjectName::new("Secret", &operator.namespace, purpose.secret());
    let restart = format!(
        "kubectl rollout restart deployment/{} --namespace {}",
        operator.deployment.name_any(),
        operator.namespace
    );
    match snapshot.installation.authority_for(purpose) {
        Sought::Unknown => {}
        Sought::Absent => findings.push(Finding::new(
            Fault::AuthorityMissing,
            object,
            "it does not exist: no certificate can be renewed, and a new authority replaces every certificate",
            format!("the operator that leads makes it again; if none runs: {restart}"),
        )),
        Sought::Found(secret) => match Authorities::read(secret) {
            Err(error) => findings.push(Finding::new(
                Fault::AuthorityMissing,
                object,
                error.to_string(),
                format!("kubectl delete secret {} --namespace {}", purpose.secret(), operator.namespace),
            )),
            Ok(found) => {
                let facts = found.current.facts();
                findings.extend(judge_life(snapshot.now, facts, object, what, &restart));
            }
        },
    }
}

/// Where a certificate is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Valid,
    /// It should have been renewed: that is done after two thirds, and after five sixths something is wrong.
    Due,
    Expired,
}

impl Life {
    /// Judges a certificate's life.
    pub(crate) fn from_facts(facts: &Facts, now: Timestamp) -> Self {
        let life = facts.not_after.duration_since(facts.not_before);
        let left = facts.not_after.duration_since(now);
        match () {
            () if left.is_negative() => Self::Expired,
            () if left < life / 6 => Self::Due,
            () => Self::Valid,
        }
    }

    /// Returns the stable name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Due => "due",
            Self::Expired => "expired",
        }
    }
}

/// Returns what is wrong with a certificate's life.
fn judge_life(
    now: Timestamp,
    facts: &Facts,
    object: ObjectName,
    what: &str,
    remedy: &str,
) -> Option<Finding> {
    let end = facts.not_after;
    let (fault, message) = match Life::from_facts(facts, now) {
        Life::Valid => return None,
        Life::Due => (
            Fault::CertificateNearEnd,
            format!("{what} expires at {end}, and should have been renewed at two thirds of its life"),
        ),
        Life::Expired => (Fault::CertificateExpired, format!("{what} expired at {end}")),
    };
    Some(Finding::new(fault, object, message, remedy))
}

struct ProxyCertificates<'a> {
    now: Timestamp,
    namespace: &'a NamespaceState,
    log: &'a str,
}

impl ProxyCertificates<'_> {
    fn check(&self, proxy: &LiquidMemoryProxy, findings: &mut Vec<Finding>) {
        let mut pairs = BTreeMap::new();
        for (holder, secret) in list_certificates(proxy) {
            let pair = self.read(&secret, holder.certificate(), findings);
            pairs.extend(pair.map(|pair| (holder, pair)));
        }
        let (Some(worker), Some(sidecar)) = (pairs.get(&Holder::Worker), pairs.get(&Holder::Sidecar)) else {
            return;
        };
        for (leaf, bundle, text) in [
            (
                worker,
                sidecar,
                "sidecars do not trust the authority of the workers' certificate",
            ),
            (
                sidecar,
                worker,
                "workers do not trust the authority of the sidecars' certificate",
            ),
        ] {
            if !bundle.trusts(&leaf.facts) {
                findings.push(Finding::new(
                    Fault::CertificatesDisagree,
                    ObjectName::new("Secret", &self.namespace.name, &bundle.secret),
                    format!("{text}: {AUTHORITIES} does not hold it, so their connections fail"),
                    self.log,
                ));
            }
        }
    }

    fn read(&self, secret: &str, what: &'static str, findings: &mut Vec<Finding>) -> Option<Pair> {
        let object = ObjectName::new("Secret", &self.namespace.name, secret);
        let found = match self.namespace.secrets.get(secret)? {
            Sought::Unknown => return None,
            Sought::Absent => {
                let message = format!("{what} does not exist; the operator that leads writes it");
                findings.push(Finding::new(Fault::CertificateMissing, object, message, self.log));
                return None;
            }
            Sought::Found(found) => found,
        };
        match Pair::read(secret, what, found) {
            Ok(pair) => {
                findings.extend(judge_life(self.now, &pair.facts, object, what, self.log));
                Some(pair)
            }
            Err(error) => {
                findings.push(Finding::new(Fault::CertificateMissing, object, error, self.log));
                None
            }
        }
    }
}

/// A certificate, and the authorities beside it.
struct Pair {
    secret: String,
    facts: Facts,
    /// Identifiers of the authorities' keys.
    trusted: Vec<Option<Vec<u8>>>,
}

impl Pair {
    fn read(name: &str, what: &'static str, secret: &Secret) -> Result<Self, String> {
        let facts =
            Facts::from_pem(what, &text_of(secret, CERTIFICATE)).map_err(|error| error.to_string())?;
        let bundle = text_of(secret, AUTHORITIES);
        let authorities = split_certificates(&bundle).into_iter();
        let trusted =
            authorities.map(|pem| Facts::from_pem("certificate authority", pem).map(|facts| facts.key_id));
        let trusted = trusted
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            secret: name.into(),
            facts,
            trusted,
        })
    }

    fn trusts(&self, leaf: &Facts) -> bool {
        self.trusted.contains(&leaf.signer)
    }
}

/// Returns the text of a key of a Secret; empty if it is missing.
pub(crate) fn text_of(secret: &Secret, key: &str) -> String {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key));
    let bytes = bytes.map(|bytes| bytes.0.as_slice()).unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

/// Splits a PEM text into its certificates.
pub(crate) fn split_certificates(text: &str) -> Vec<&str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let starts = text.match_indices(BEGIN).map(|(start, _)| start);
    let starts: Vec<usize> = starts.chain([text.len()]).collect();
    let parts = starts.windows(2).filter_map(|pair| match pair {
        [start, end] => text.get(*start..*end),
        _ => None,
    });
    parts.collect()
}
