//! Which clients may connect: a trusted certificate is not enough where one authority signs for many.
//!
//! The identity is a URI in the certificate's subject alternative names, as SPIFFE has it
//! (<https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md>).

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::EndEntityCert;

/// The client has a valid certificate, and an identity that is not among those that may connect.
#[derive(Debug, thiserror::Error)]
#[error("the client is {offered:?}, which is not in client_identities")]
pub(super) struct ForeignIdentity {
    /// URIs in the client's certificate.
    pub(super) offered: Vec<String>,
}

/// A verifier of a client's certificate, and then of its identity.
#[derive(Debug)]
pub(super) struct NamedClients {
    certificates: Arc<dyn ClientCertVerifier>,
    identities: Vec<String>,
}

impl NamedClients {
    pub(super) fn new(certificates: Arc<dyn ClientCertVerifier>, identities: Vec<String>) -> Self {
        Self {
            certificates,
            identities,
        }
    }
}

impl ClientCertVerifier for NamedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.certificates.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .certificates
            .verify_client_cert(end_entity, intermediates, now)?;
        let certificate = EndEntityCert::try_from(end_entity)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let offered: Vec<String> = certificate.valid_uri_names().map(str::to_owned).collect();
        if offered.iter().any(|uri| self.identities.contains(uri)) {
            return Ok(verified);
        }
        let foreign = OtherError(Arc::new(ForeignIdentity { offered }));
        Err(Error::InvalidCertificate(CertificateError::Other(foreign)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.certificates.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.certificates.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.certificates.supported_verify_schemes()
    }
}
