//! TLS of the webhook's listener. Clients need no certificate, because API servers have none by default; one of a sidecar
//! says whose it is.

use std::sync::{Arc, Mutex};

use liquid_process::lock;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tokio_rustls::TlsAcceptor;

use super::serving::ServingCertificate;
use super::wake::PeerIdentities;
use crate::pki::watch::CurrentAuthorities;
use crate::pki::{Authorities, Facts};

/// The settings of TLS, as the authorities of the moment want them.
pub struct WebhookTls {
    serving: Arc<ServingCertificate>,
    authorities: CurrentAuthorities,
    current: Mutex<Built>,
}

/// Settings, and the authorities that they were built from.
struct Built {
    authorities: Option<Arc<Authorities>>,
    config: Arc<ServerConfig>,
}

impl WebhookTls {
    /// Takes the certificate to show, and follows the authorities whose sidecars are known.
    ///
    /// # Errors
    /// The cryptographic provider lacks a version of the protocol.
    pub fn new(
        serving: Arc<ServingCertificate>,
        authorities: CurrentAuthorities,
    ) -> Result<Arc<Self>, rustls::Error> {
        let config = build_config(&serving, None)?;
        let current = Mutex::new(Built {
            authorities: None,
            config,
        });
        Ok(Arc::new(Self {
            serving,
            authorities,
            current,
        }))
    }

    /// Returns an acceptor for the next connection.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, rustls::Error> {
        let now = self.authorities.borrow().clone();
        let mut current = lock(&self.current);
        if current.authorities.as_ref().map(Arc::as_ptr) != now.as_ref().map(Arc::as_ptr) {
            let config = build_config(&self.serving, now.as_deref())?;
            *current = Built {
                authorities: now,
                config,
            };
        }
        Ok(TlsAcceptor::from(Arc::clone(&current.config)))
    }
}

/// Builds the settings: HTTP/1.1, which is all that API servers speak to a webhook.
fn build_config(
    serving: &Arc<ServingCertificate>,
    authorities: Option<&Authorities>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    let builder = match authorities.and_then(build_verifier) {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let serving: Arc<ServingCertificate> = Arc::clone(serving);
    let mut config = builder.with_cert_resolver(serving);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would not show its certificate again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Builds what checks a certificate that a client shows. The names of our authorities are sent along, so that clients with
/// certificates of others, as an API server may be one, show none.
fn build_verifier(authorities: &Authorities) -> Option<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    let bundle = authorities.bundle();
    let certificates = CertificateDer::pem_slice_iter(bundle.as_bytes()).filter_map(Result::ok);
    roots.add_parsable_certificates(certificates);
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build();
    verifier
        .inspect_err(|error| tracing::warn!(%error, "sidecars cannot be told apart"))
        .ok()
}

/// Reads the URIs of a connection's client certificate.
pub(super) fn read_identities(connection: &ServerConnection) -> PeerIdentities {
    let shown = connection.peer_certificates().and_then(|chain| chain.first());
    let facts = shown.and_then(|certificate| Facts::from_der("client", certificate).ok());
    let names = facts.map(|facts| facts.names).unwrap_or_default();
    let uris = names.iter().filter_map(|name| name.strip_prefix("URI:"));
    PeerIdentities(uris.map(str::to_owned).collect())
}
