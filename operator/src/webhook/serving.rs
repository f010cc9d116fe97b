//! The webhook's serving certificate: signed in this process by the present authority, swapped without a
//! restart.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use k8s_openapi::jiff::Timestamp;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use super::metrics::WebhookMetrics;
use crate::pki::watch::CurrentAuthorities;
use crate::pki::{Authorities, Facts, PkiError, Profile, Times, rotation};

/// The certificate that the webhook presents, if there is one.
pub struct ServingCertificate {
    profile: Profile,
    times: Times,
    metrics: Arc<WebhookMetrics>,
    shown: ArcSwapOption<SignedCertificate>,
}

#[derive(Debug)]
struct SignedCertificate {
    key: Arc<CertifiedKey>,
    facts: Facts,
}

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingCertificate")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.shown.load().as_ref().map(|shown| Arc::clone(&shown.key))
    }
}

impl ServingCertificate {
    /// Creates the place for a certificate; there is none yet.
    pub fn new(profile: Profile, times: Times, metrics: Arc<WebhookMetrics>) -> Arc<Self> {
        Arc::new(Self {
            profile,
            times,
            metrics,
            shown: ArcSwapOption::empty(),
        })
    }

    /// Returns true if there is a certificate that has not expired.
    pub fn is_ready(&self) -> bool {
        let shown = self.shown.load();
        shown
            .as_ref()
            .is_some_and(|shown| shown.facts.not_after > Timestamp::now())
    }

    /// Returns the certificate that is presented.
    #[cfg(test)]
    pub(super) fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.shown.load().as_ref()?.key.cert.first().cloned()
    }

    /// Signs and swaps the certificate when the authority changes or two thirds of the certificate's life are
    /// over, until `stop`.
    pub async fn run(&self, mut authorities: CurrentAuthorities, stop: CancellationToken) {
        let pause: Duration = self.times.check_interval();
        loop {
            let now = authorities.borrow_and_update().clone();
            if let Some(now) = now
                && let Err(error) = self.renew(&now, Timestamp::now())
            {
                tracing::error!(%error, "the webhook's certificate could not be renewed");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                changed = authorities.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Signs a new certificate if that is due.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub fn renew(&self, authorities: &Authorities, now: Timestamp) -> Result<(), PkiError> {
        let due = self.shown.load().as_ref().is_none_or(|shown| {
            let facts = &shown.facts;
            facts.signer != authorities.current.facts().key_id
                || rotation::is_due(facts.not_before, facts.not_after, now)
        });
        if !due {
            return Ok(());
        }
        let leaf = authorities.current.issue(&self.profile, now, self.times.leaf)?;
        let facts = Facts::from_pem("webhook certificate", &leaf.certificate)?;
        let read = |why: String| PkiError::Read {
            what: "webhook certificate",
            why,
        };
        let certificate = CertificateDer::from_pem_slice(leaf.certificate.as_bytes());
        let certificate = certificate.map_err(|error| read(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes());
        let key = key.map_err(|error| read(error.to_string()))?;
        let key = CertifiedKey::from_der(vec![certificate], key, &ring::default_provider());
        let key = Arc::new(key.map_err(|error| read(error.to_string()))?);
        self.metrics.set_certificate_expiry(facts.not_after.as_second());
        tracing::info!(until = %facts.not_after, "the webhook's certificate was renewed");
        self.shown.store(Some(Arc::new(SignedCertificate { key, facts })));
        Ok(())
    }
}
