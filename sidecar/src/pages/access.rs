//! Who may see the pages: browsers on this machine, by an address of this machine.
//!
//! A page of any site can make a browser send requests here, and a name of that site can be made to resolve to
//! 127.0.0.1 (DNS rebinding), so that its scripts might read the answers. So the name in `Host` counts, not only the
//! addresses; and so do the headers by which browsers and proxies say whom a request is for.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HOST, VIA};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Uri};

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The address of the other side.
    pub peer: SocketAddr,
    /// The address of this side.
    pub local: SocketAddr,
}

/// Why a request does not see the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// One of the two ends is not of this machine.
    #[error(
        "/liquid/ is for browsers on this machine: open it by a loopback address, such as http://127.0.0.1:8787/liquid/"
    )]
    Address,
    /// The request names another host than this machine.
    #[error("/liquid/ is served under the names localhost, 127.0.0.1 and [::1] only: open it by one of them")]
    Host,
    /// A proxy sent the request on for somebody else.
    #[error(
        "/liquid/ is for browsers on this machine, and this request came through a proxy: open it directly"
    )]
    Proxy,
    /// A page of another site made the browser send the request.
    #[error("/liquid/ answers its own page only: open it in a tab of its own")]
    Site,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Checks that a request may see the pages. `connection` is `None` where its ends are unknown.
///
/// # Errors
/// [`AccessError`] says what is not as it must be.
pub fn check(connection: Option<&Connection>, uri: &Uri, headers: &HeaderMap) -> Result<(), AccessError> {
    let is_here = |address: SocketAddr| address.ip().to_canonical().is_loopback();
    if !connection.is_some_and(|ends| is_here(ends.peer) && is_here(ends.local)) {
        return Err(AccessError::Address);
    }
    if !names_this_machine(uri, headers) {
        return Err(AccessError::Host);
    }
    let by_proxy = [FORWARDED, VIA, X_FORWARDED_FOR, X_FORWARDED_HOST];
    if by_proxy.iter().any(|name| headers.contains_key(name)) {
        return Err(AccessError::Proxy);
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(SEC_FETCH_SITE), text(SEC_FETCH_MODE)) {
        (None | Some("same-origin" | "none"), _) | (_, Some("navigate")) => Ok(()),
        _ => Err(AccessError::Site),
    }
}

/// Returns whether every name that a request has for its host is one of this machine, and there is one.
fn names_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let hosts = headers.get_all(HOST).iter().map(|host| {
        let host = host.to_str().ok();
        host.and_then(|host| host.parse::<Authority>().ok())
    });
    let mut names = hosts.chain(uri.authority().cloned().map(Some)).peekable();
    names.peek().is_some() && names.all(|name| name.is_some_and(|name| is_loopback(name.host())))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use http::HeaderValue;

    use super::*;

    fn connection(peer: &str, local: &str) -> Connection {
        Connection {
            peer: peer.parse().unwrap(),
            local: local.parse().unwrap(),
        }
    }

    fn check_with(
        connection: &Connection,
        uri: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(), AccessError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        check(Some(connection), &uri.parse().unwrap(), &map)
    }

    #[test]
    fn both_ends_are_on_this_machine() {
        let host = [("host", "localhost")];
        for (peer, local, want) in [
            ("127.0.0.1:5", "127.0.0.1:8787", Ok(())),
            ("[::1]:5", "[::1]:8787", Ok(())),
            ("[::ffff:127.0.0.1]:5", "[::ffff:127.0.0.1]:8787", Ok(())),
            ("10.0.0.7:5", "10.0.0.9:8787", Err(AccessError::Address)),
            ("10.0.0.7:5", "127.0.0.1:8787", Err(AccessError::Address)),
            ("127.0.0.1:5", "10.0.0.9:8787", Err(AccessError::Address)),
            ("[::ffff:10.0.0.7]:5", "[::1]:8787", Err(AccessError::Address)),
        ] {
            assert_eq!(
                check_with(&connection(peer, local), "/liquid/", &host),
                want,
                "{peer} {local}"
            );
        }
        assert_eq!(
            check(None, &Uri::from_static("/"), &HeaderMap::new()),
            Err(AccessError::Address)
        );
    }

    #[test]
    fn a_name_that_was_bound_to_this_machine_is_not_its_own() {
        let here = connection("127.0.0.1:5", "127.0.0.1:8787");
        for host in [
            "localhost",
            "LOCALHOST:8787",
            "127.0.0.1:8787",
            "127.9.9.9",
            "[::1]:8787",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(check_with(&here, "/liquid/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8787",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.9:8787",
            "0.0.0.0:8787",
            "[::]",
            "",
            "localhost:x y",
        ] {
            assert_eq!(
                check_with(&here, "/liquid/", &[("host", host)]),
                Err(AccessError::Host),
                "{host}"
            );
        }
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(check_with(&here, "/liquid/", &two), Err(AccessError::Host));
        assert_eq!(check_with(&here, "/liquid/", &[]), Err(AccessError::Host));
        assert_eq!(check_with(&here, "http://localhost:8787/liquid/", &[]), Ok(()));
        let elsewhere = check_with(&here, "http://evil.example/liquid/", &[("host", "localhost")]);
        assert_eq!(elsewhere, Err(AccessError::Host));
    }

    #[test]
    fn requests_for_others_are_refused() {
        let here = connection("127.0.0.1:5", "127.0.0.1:8787");
        let with = |name, value| check_with(&here, "/liquid/calls", &[("host", "localhost"), (name, value)]);
        assert_eq!(with("x-forwarded-for", "10.0.0.7"), Err(AccessError::Proxy));
        assert_eq!(with("forwarded", "for=10.0.0.7"), Err(AccessError::Proxy));
        assert_eq!(with("sec-fetch-site", "cross-site"), Err(AccessError::Site));
        assert_eq!(with("sec-fetch-site", "same-site"), Err(AccessError::Site));
        assert_eq!(with("sec-fetch-site", "same-origin"), Ok(()));
        let link = [
            ("host", "localhost"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        ];
        assert_eq!(check_with(&here, "/liquid/", &link), Ok(()));
    }
}
