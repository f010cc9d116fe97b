//! One certificate authority: a certificate and its key, which signs leaves.

use std::fmt;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use time::OffsetDateTime;

use super::leaf::{Leaf, Profile, San, Usage};
use super::{Facts, PkiError, Purpose};

/// How long before it is made a certificate is valid: clocks of a cluster differ, by an hour where one follows another
/// zone's time. Without it what is issued by a clock that is ahead could not be used before that hour has passed.
const SKEW: Duration = Duration::from_secs(2 * 3600);

/// A certificate authority. Its key is not shown by `Debug`.
#[derive(Clone)]
pub struct Authority {
    certificate: String,
    key: String,
    facts: Facts,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes an authority: ECDSA on P-256, may sign leaves only, for the names that its purpose permits.
    ///
    /// # Errors
    /// A time that a certificate cannot hold.
    pub fn generate(purpose: Purpose, now: Timestamp, life: Duration) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        // Two authorities are trusted while they rotate: different names tell them apart for every verifier.
        params.distinguished_name = common_name(&format!("{} {now:.0}", purpose.secret()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.name_constraints = purpose.constraints();
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        validity(&mut params, now, end(now, life)?, life)?;
        let certificate = params.self_signed(&key)?.pem();
        Self::read(certificate, key.serialize_pem())
    }

    /// Reads an authority from its PEM texts.
    ///
    /// # Errors
    /// A certificate or key that cannot be read, or that do not belong together.
    pub fn read(certificate: String, key: String) -> Result<Self, PkiError> {
        let fail = |why: &str| PkiError::Read {
            what: "certificate authority",
            why: why.into(),
        };
        let facts = Facts::from_pem("certificate authority", &certificate)?;
        let pair = KeyPair::from_pem(&key)?;
        if pair.subject_public_key_info() != facts.public_key {
            return Err(fail("its key belongs to another certificate"));
        }
        if !facts.is_ca || facts.key_id.is_none() {
            return Err(fail("it may not sign certificates"));
        }
        Ok(Self {
            certificate,
            key,
            facts,
        })
    }

    /// Returns its certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Returns its key, PEM. Only for its Secret in the operator's namespace.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Returns what its certificate says.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Issues a leaf with a key of its own. It expires with the authority at the latest.
    ///
    /// # Errors
    /// A name or a time that a certificate cannot hold.
    pub fn issue(&self, profile: &Profile, now: Timestamp, life: Duration) -> Result<Leaf, PkiError> {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, KeyPair::from_pem(&self.key)?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(profile.common_name);
        params.subject_alt_names = profile.names.iter().map(san).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match profile.usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let end = end(now, life)?.min(self.facts.not_after);
        validity(&mut params, now, end, life)?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Leaf {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn san(name: &San) -> Result<SanType, PkiError> {
    Ok(match name {
        San::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
        San::Uri(name) => SanType::URI(name.as_str().try_into()?),
    })
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn end(now: Timestamp, life: Duration) -> Result<Timestamp, PkiError> {
    let end = now.checked_add(life);
    end.map_err(|_| PkiError::Time(format!("{life:?} after {now}")))
}

fn validity(
    params: &mut CertificateParams,
    now: Timestamp,
    end: Timestamp,
    life: Duration,
) -> Result<(), PkiError> {
    let date = |at: Timestamp| {
        OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|_| PkiError::Time(at.to_string()))
    };
    let from = now.checked_sub(SKEW.min(life / 10));
    params.not_before = date(from.map_err(|_| PkiError::Time(now.to_string()))?)?;
    params.not_after = date(end)?;
    Ok(())
}
