//! What becomes of connections, by names that are counted.

/// What became of a connection to `intercept.address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// It brought calls, which were served.
    Served,
    /// It is for another host and went there as it came.
    PassedOn,
    /// Its client does not trust the certificate.
    Untrusted,
    /// It ended after the handshake without a call.
    Unused,
    /// Its client names no host.
    NoServerName,
    /// What came was no TLS, or no TLS that both sides know.
    Handshake,
    /// Its client took too long.
    Timeout,
    /// The other host could not be reached.
    Unreachable,
    /// As many calls as `limits.max_concurrent_requests` allows were running.
    TooMany,
}

impl ConnectionEnd {
    /// Returns the stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::PassedOn => "passed_on",
            Self::Untrusted => "untrusted",
            Self::Unused => "unused",
            Self::NoServerName => "no_server_name",
            Self::Handshake => "handshake",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::TooMany => "too_many",
        }
    }
}
