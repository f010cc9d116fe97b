//! Keeps the sidecar from calling itself, by address before connecting and by header before sending; counts the
//! connections that it lets out.
//!
//! The header is `CDN-Loop` (RFC 8586): made for this, and without the side effects of `Via`, at which common
//! servers switch compression off.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderValue};

use crate::api::header_names::CDN_LOOP;

/// The addresses this process listens on, the name it leaves on what it forwards, and the count of its connections to
/// upstreams.
#[derive(Debug, Clone)]
pub struct Guard {
    listeners: Arc<OnceLock<Vec<SocketAddr>>>,
    connections: Arc<AtomicU64>,
    mark: HeaderValue,
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl Guard {
    /// Makes a guard with a mark that no other process has. It knows no addresses until
    /// [`Guard::set_listeners`].
    pub fn new() -> Self {
        let mark = format!("liquid-sidecar; id={:016x}", fastrand::u64(..));
        let mark = HeaderValue::from_str(&mark).unwrap_or(HeaderValue::from_static("liquid-sidecar"));
        Self {
            listeners: Arc::default(),
            connections: Arc::default(),
            mark,
        }
    }

    /// Sets the addresses that were bound; only the first call counts.
    pub fn set_listeners(&self, addresses: Vec<SocketAddr>) {
        // A second call cannot happen in one process; the first list stays the truth.
        let _ = self.listeners.set(addresses);
    }

    /// Returns whether connecting to `address` would reach this process.
    pub fn is_own(&self, address: SocketAddr) -> bool {
        let listeners = self.listeners.get().map(Vec::as_slice).unwrap_or_default();
        listeners
            .iter()
            .filter(|listener| listener.port() == address.port())
            .any(|listener| {
                let (own, other) = (listener.ip().to_canonical(), address.ip().to_canonical());
                own == other || other.is_unspecified() || (own.is_unspecified() && is_this_host(other))
            })
    }

    /// Counts a connection to an upstream.
    pub fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many connections to upstreams were opened since the start, by all threads.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Returns whether these request headers passed through this process before.
    pub fn has_passed(&self, headers: &HeaderMap) -> bool {
        let own = self.mark.as_bytes();
        headers.get_all(CDN_LOOP).iter().any(|value| {
            value
                .as_bytes()
                .split(|byte| *byte == b',')
                .any(|name| name.trim_ascii() == own)
        })
    }

    /// Leaves this process's mark on a request.
    pub fn mark(&self, headers: &mut HeaderMap) {
        headers.append(CDN_LOOP, self.mark.clone());
    }
}

/// Asks the routing table which source address it would use: for an address of this host, that very address.
/// Connecting a UDP socket sends nothing.
fn is_this_host(address: IpAddr) -> bool {
    if address.is_loopback() {
        return true;
    }
    let any: SocketAddr = match address {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let source = UdpSocket::bind(any).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn guard(listener: &str) -> Guard {
        let guard = Guard::new();
        guard.set_listeners(vec![listener.parse().unwrap()]);
        guard
    }

    #[test]
    fn knows_its_own_addresses() {
        let one = guard("127.0.0.1:8787");
        assert!(one.is_own("127.0.0.1:8787".parse().unwrap()));
        assert!(one.is_own("[::ffff:127.0.0.1]:8787".parse().unwrap()));
        assert!(one.is_own("0.0.0.0:8787".parse().unwrap()));
        assert!(!one.is_own("127.0.0.1:8788".parse().unwrap()));
        assert!(!one.is_own("127.0.0.2:8787".parse().unwrap()));
        let any = guard("0.0.0.0:8787");
        assert!(any.is_own("127.0.0.2:8787".parse().unwrap()));
        assert!(any.is_own("[::1]:8787".parse().unwrap()));
        assert!(!any.is_own("192.0.2.1:8787".parse().unwrap()));
    }

    #[test]
    fn knows_its_own_mark_only() {
        let (one, other) = (guard("127.0.0.1:1"), guard("127.0.0.1:2"));
        let mut headers = HeaderMap::new();
        headers.insert(CDN_LOOP, HeaderValue::from_static("cdn; id=x"));
        one.mark(&mut headers);
        assert!(one.has_passed(&headers));
        assert!(!other.has_passed(&headers));
    }
}
