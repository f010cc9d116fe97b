//! Reads what decisions need from a certificate.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::PkiError;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
    /// Identifier of its own key.
    pub key_id: Option<Vec<u8>>,
    /// Identifier of the key that signed it.
    pub signer: Option<Vec<u8>>,
    /// Names of its holder, as `DNS:...` and `URI:...`.
    pub names: BTreeSet<String>,
    /// Its public key, as the DER of SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    /// Whether it may sign other certificates.
    pub is_ca: bool,
}

impl Facts {
    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// The text holds no certificate.
    pub fn from_pem(what: &'static str, pem: &str) -> Result<Self, PkiError> {
        let fail = |why: String| PkiError::Read { what, why };
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| fail(error.to_string()))?;
        Self::from_der(what, &der)
    }

    /// Reads a certificate.
    ///
    /// # Errors
    /// The bytes are no certificate.
    pub fn from_der(what: &'static str, der: &CertificateDer<'_>) -> Result<Self, PkiError> {
        let fail = |why: String| PkiError::Read { what, why };
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| fail(error.to_string()))?;
        let time = |seconds| Timestamp::from_second(seconds).map_err(|error| fail(error.to_string()));
        let validity = certificate.validity();
        let mut facts = Self {
            not_before: time(validity.not_before.timestamp())?,
            not_after: time(validity.not_after.timestamp())?,
            key_id: None,
            signer: None,
            names: BTreeSet::new(),
            public_key: certificate.public_key().raw.to_vec(),
            is_ca: certificate.is_ca(),
        };
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => facts.key_id = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    facts.signer = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                ParsedExtension::SubjectAlternativeName(names) => {
                    facts
                        .names
                        .extend(names.general_names.iter().filter_map(format_name));
                }
                _ => {}
            }
        }
        Ok(facts)
    }
}

fn format_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(format!("DNS:{name}")),
        GeneralName::URI(name) => Some(format!("URI:{name}")),
        _ => None,
    }
}
