//! The webhook's certificate: signed in this process by the authority at hand, swapped without a restart.

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

use super::metrics::Metrics;
use crate::pki::watch::Current;
use crate::pki::{Authorities, Facts, PkiError, Profile, Times, rotation};

/// The certificate that is shown now, if there is one.
pub struct Serving {
    profile: Profile,
    times: Times,
    metrics: Arc<Metrics>,
    shown: ArcSwapOption<Shown>,
}

#[derive(Debug)]
struct Shown {
    key: Arc<CertifiedKey>,
    facts: Facts,
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.shown.load().as_ref().map(|shown| Arc::clone(&shown.key))
    }
}

impl Serving {
    /// None yet.
    pub fn new(profile: Profile, times: Times, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            profile,
            times,
            metrics,
            shown: ArcSwapOption::empty(),
        })
    }

    /// Whether a certificate is shown that has not expired.
    pub fn is_ready(&self) -> bool {
        let shown = self.shown.load();
        shown
            .as_ref()
            .is_some_and(|shown| shown.facts.not_after > Timestamp::now())
    }

    /// The certificate that is shown.
    #[cfg(test)]
    pub(super) fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.shown.load().as_ref()?.key.cert.first().cloned()
    }

    /// Signs and swaps when the authority changes or two thirds of the certificate's life are over, until `stop`.
    pub async fn run(&self, mut authorities: Current, stop: CancellationToken) {
        let pause: Duration = self.times.look_every();
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

    /// Signs a new one if that is due.
    ///
    /// # Errors
    /// A certificate that cannot be made.
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
        let facts = Facts::of_pem("webhook certificate", &leaf.certificate)?;
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
        self.metrics.certificate_expires(facts.not_after.as_second());
        tracing::info!(until = %facts.not_after, "the webhook's certificate was renewed");
        self.shown.store(Some(Arc::new(Shown { key, facts })));
        Ok(())
    }
}
