//! The certificate authorities, the certificates of workers, sidecars and the webhook, and their rotation.
//!
//! One authority, in the Secret `liquid-memory-ca` of the operator's namespace. The leader writes it and the
//! certificates of workers and sidecars; every replica reads it through a watch and signs the certificate of
//! its own webhook in memory. No key of an authority ever leaves that Secret.
//!
//! Another one vouches for the providers' hosts where TLS to them is intercepted ([`purpose`]), and for nothing else:
//! applications trust it. It is made when the first proxy asks for interception, and rotates by the same rules, more
//! slowly.
//!
//! # Rotation
//! [`rotation`] is the state machine, without a clock and without a cluster. An authority is renewed after two
//! thirds of its life in steps that overlap, so that whoever checks a certificate has its authority already:
//!
//! 1. announce: a new authority is made; every bundle gets it; nothing is signed by it;
//! 2. once every bundle was written, and time has passed for it to arrive in every pod: the new one signs,
//!    every certificate is issued again, the old one stays in the bundles;
//! 3. once every certificate was written, and time has passed again: the old one leaves the bundles.
//!
//! Certificates are renewed after two thirds of their own life. All checks compare with the wall clock, every
//! minute or oftener, so a machine that slept renews when it wakes. With many proxies each check reads the certificates of some.

pub mod authorities;
pub mod authority;
pub mod bundle;
pub mod keeper;
pub mod leaf;
mod public_roots;
pub mod purpose;
pub mod rotation;
mod trust_store;
pub mod verdict;
pub mod watch;
mod x509;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use authorities::Authorities;
pub use authority::Authority;
pub use leaf::{Leaf, Profile};
pub use purpose::Purpose;
pub use x509::Facts;

/// Lives of certificates, and the time until a changed one has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Life of an authority.
    pub ca: Duration,
    /// Life of a certificate.
    pub leaf: Duration,
    /// Time that a changed Secret takes to reach every pod that mounts it: the kubelet's period of sync and its
    /// cache, and the time in which workers and sidecars look at their files.
    pub propagation: Duration,
}

/// Times that do not fit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimesError {
    /// Certificates would outlive what is left of their authority when it is renewed.
    #[error(
        "leaf lifetime {leaf:?} is more than a third of the CA lifetime {ca:?}: shorten it, or lengthen the \
         CA's"
    )]
    Leaf {
        /// Life of a certificate.
        leaf: Duration,
        /// Life of an authority.
        ca: Duration,
    },
    /// Certificates would expire before their successors arrive.
    #[error(
        "certificate propagation {propagation:?} is more than a third of the leaf lifetime {leaf:?}: \
         lengthen the leaf lifetime, or shorten the propagation if your kubelets sync faster"
    )]
    Propagation {
        /// Time until a changed Secret has arrived.
        propagation: Duration,
        /// Life of a certificate.
        leaf: Duration,
    },
}

impl Times {
    /// Checks that every phase fits into what is left of a life when it is renewed.
    ///
    /// # Errors
    /// Times that do not fit each other.
    pub fn check(self) -> Result<Self, TimesError> {
        let Self {
            ca,
            leaf,
            propagation,
        } = self;
        if leaf > ca / 3 {
            return Err(TimesError::Leaf { leaf, ca });
        }
        if propagation > leaf / 3 {
            return Err(TimesError::Propagation { propagation, leaf });
        }
        Ok(self)
    }

    /// Returns the pause between two checks of all certificates.
    pub fn check_interval(&self) -> Duration {
        (self.leaf / 20).clamp(Duration::from_millis(500), Duration::from_secs(60))
    }
}

/// A certificate that could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The generator of certificates refused.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// A time is outside of what certificates can hold.
    #[error("the time {0} cannot stand in a certificate: check the clock of this machine")]
    Time(String),
    /// A text is not a certificate.
    #[error("{what} cannot be read: {why}")]
    Read {
        /// The certificate that was expected.
        what: &'static str,
        /// The reader's message.
        why: String,
    },
    /// The Secret with the authorities has a key that cannot be used.
    #[error(
        "Secret {secret} key {key}: {why}; restore it from a backup, or delete the Secret and the leader \
         makes a new authority"
    )]
    Secret {
        /// Name of the Secret.
        secret: &'static str,
        /// The key in it.
        key: &'static str,
        /// What is wrong with its value.
        why: String,
    },
}
