//! Reads the certificates for mutual TLS towards the workers.
//!
//! The files' content is what counts, not their time: Kubernetes renews a Secret's files by swapping a link.

use std::path::Path;

use sha2::{Digest, Sha256};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::{ExtractError, Tls};
use crate::cause::innermost;

/// TLS settings as they were when the files were read.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) config: ClientTlsConfig,
    /// SHA-256 over the files, by which a change is noticed.
    pub(super) fingerprint: [u8; 32],
}

/// Reads the files, and checks that they hold certificates and that the key fits its certificate.
pub(super) fn load(tls: &Tls) -> Result<Credentials, ExtractError> {
    let mut hash = Sha256::new();
    let mut read = |path: &Path| {
        let bytes = std::fs::read(path).map_err(|error| unusable(path, error.to_string()))?;
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
        Ok::<_, ExtractError>(bytes)
    };
    let authority = Certificate::from_pem(read(&tls.ca_file)?);
    let mut config = ClientTlsConfig::new()
        .ca_certificate(authority)
        .domain_name(tls.server_name.clone());
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        config = config.identity(Identity::from_pem(read(cert)?, read(key)?));
    }
    let probe = Endpoint::from_static("https://worker").tls_config(config.clone());
    probe.map_err(|error| {
        let path = tls.cert_file.as_ref().unwrap_or(&tls.ca_file);
        unusable(path, innermost(&error))
    })?;
    Ok(Credentials {
        config,
        fingerprint: hash.finalize().into(),
    })
}

fn unusable(path: &Path, message: String) -> ExtractError {
    ExtractError::Tls {
        path: path.display().to_string(),
        message,
    }
}
