//! The section of a configuration that names TLS files.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// Files for TLS: a certificate with its key, and the authorities of clients. They may change while the program serves,
/// as those of a Kubernetes Secret do when a certificate is renewed; open connections live on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain, PEM.
    pub cert_file: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    pub key_file: Option<PathBuf>,
    /// Authorities whose client certificates are required, PEM, one or more. Without it any client may connect.
    pub client_ca_file: Option<PathBuf>,
    /// Clients that may connect: their certificate must carry one of these URIs as a subject alternative
    /// name, such as `spiffe://example.org/ns/shop/sidecar`. Default none: every client that an authority
    /// vouches for.
    pub client_identities: Vec<String>,
    /// Time between two reads of the files, in milliseconds. Default 5000.
    pub reload_ms: u64,
    /// Longest time that the start waits for files that are missing or do not fit each other, in
    /// milliseconds; the program is alive and not ready meanwhile, then it ends with an error. Default 30000.
    pub start_wait_ms: u64,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            cert_file: None,
            key_file: None,
            client_ca_file: None,
            client_identities: Vec::new(),
            reload_ms: 5_000,
            start_wait_ms: 30_000,
        }
    }
}

impl Tls {
    /// Lists what cannot be used, by the keys of this section.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        let mut refuse = |field, value: String, remedy| found.push(Invalid::new(field, value, remedy));
        if self.cert_file.is_some() != self.key_file.is_some() {
            let remedy = "set cert_file and key_file, or neither";
            refuse("key_file", format!("{:?}", self.key_file), remedy);
        }
        if self.client_ca_file.is_some() && self.cert_file.is_none() {
            let value = format!("{:?}", self.client_ca_file);
            refuse("client_ca_file", value, "needs cert_file and key_file too");
        }
        let identities = format!("{:?}", self.client_identities);
        if !self.client_identities.is_empty() && self.client_ca_file.is_none() {
            let remedy = "needs client_ca_file: without it no client shows a certificate";
            refuse("client_identities", identities, remedy);
        } else if !self.client_identities.iter().all(|uri| uri.contains("://")) {
            let remedy = "write whole URIs, such as spiffe://example.org/ns/shop/sidecar";
            refuse("client_identities", identities, remedy);
        }
        if self.reload_ms == 0 {
            refuse("reload_ms", "0".to_owned(), "set at least 1");
        }
        found
    }
}
