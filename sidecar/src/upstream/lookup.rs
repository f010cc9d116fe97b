//! Addresses of upstreams: from DNS, and those of before while no name server answers (RFC 8767).
//!
//! Names are looked up by DNS alone. The hosts file is never read: in TLS interception mode it is what points the
//! provider's name at this sidecar.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use liquid_process::{Lru, lock};
use tokio::time::timeout;

#[cfg(test)]
pub(crate) mod tests;

/// How long name servers may take where addresses of before are known: the timer of RFC 8767, section 5.
const PATIENCE: Duration = Duration::from_millis(1800);
/// How many names are remembered, and for how long after their last use: RFC 8767 says one to three days.
const NAMES: u64 = 1024;
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// Looks names up, and remembers what they were.
pub(super) struct Names {
    resolver: TokioResolver,
    known: Mutex<Lru<String, Vec<IpAddr>>>,
}

impl Names {
    /// Asks the name servers of this machine.
    ///
    /// # Errors
    /// A resolver configuration that is refused.
    pub(super) fn new() -> Result<Self, NetError> {
        let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
            // No /etc/resolv.conf: addresses and localhost still work, names fail with a clear error.
            TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
        });
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        Ok(Self::with_resolver(builder.build()?))
    }

    pub(super) fn with_resolver(resolver: TokioResolver) -> Self {
        Self {
            resolver,
            known: Mutex::new(Lru::new(NAMES, MEMORY)),
        }
    }

    /// Returns the addresses of a name.
    ///
    /// # Errors
    /// DNS has none, or does not answer and has not answered before.
    pub(super) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, NetError> {
        let known = lock(&self.known).get(host, Instant::now()).cloned();
        let asked = self.resolver.lookup_ip(host);
        let found = match known {
            Some(_) => timeout(PATIENCE, asked).await.unwrap_or(Err(NetError::Timeout)),
            None => asked.await,
        };
        match (found, known) {
            (Ok(found), _) => {
                let addresses: Vec<IpAddr> = found.iter().collect();
                lock(&self.known).insert(host.to_owned(), addresses.clone(), 1, Instant::now());
                Ok(addresses)
            }
            (Err(error), Some(known)) if !says_none(&error) => {
                tracing::warn!(host, %error, "no name server answers; the addresses of before are used");
                Ok(known)
            }
            (Err(error), _) => Err(error),
        }
    }
}

/// Returns whether DNS has answered that there is no address.
fn says_none(error: &NetError) -> bool {
    let NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) = error else {
        return false;
    };
    matches!(response_code, ResponseCode::NXDomain | ResponseCode::NoError)
}
