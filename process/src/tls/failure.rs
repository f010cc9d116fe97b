//! Why a TLS handshake failed, by a name that is counted.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, OtherError};

use super::identity::ForeignIdentity;

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client has a valid certificate, and an identity that is not among those that may connect.
    Identity,
    /// The client's certificate is missing or not valid.
    Certificate,
    /// The client does not trust the certificate that it was shown.
    Untrusted,
    /// What came was no TLS, or no TLS that both sides know.
    Handshake,
    /// The client took too long.
    Timeout,
}

/// A TLS handshake that failed.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct HandshakeError {
    /// The reason by which it is counted.
    pub failure: HandshakeFailure,
    source: io::Error,
}

impl HandshakeError {
    pub(super) fn timeout() -> Self {
        Self {
            failure: HandshakeFailure::Timeout,
            source: io::ErrorKind::TimedOut.into(),
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(source: io::Error) -> Self {
        Self {
            failure: HandshakeFailure::of(&source),
            source,
        }
    }
}

impl HandshakeFailure {
    fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
            Some(Error::InvalidCertificate(CertificateError::Other(OtherError(cause))))
                if cause.is::<ForeignIdentity>() =>
            {
                Self::Identity
            }
            Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => Self::Certificate,
            // OpenSSL, Go and Java each send another one of these.
            Some(Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnsupportedCertificate,
            )) => Self::Untrusted,
            _ => Self::Handshake,
        }
    }

    /// Returns the stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Certificate => "certificate",
            Self::Untrusted => "untrusted",
            Self::Handshake => "handshake",
            Self::Timeout => "timeout",
        }
    }

    /// Returns whether somebody was refused who wanted in: scanners and TCP probes come and go.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Identity | Self::Certificate)
    }
}
