//! Headers that a proxy must remove on the way through, and those of the sidecar's own that must not leave.
//!
//! Source: RFC 9110, section 7.6.1 (Connection) and 10.1.1 (Expect); RFC 9112, section 6.1.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::api::header_names::OWN_PREFIX;

const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "http2-settings",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Removes from a client's headers what must not be sent on: hop-by-hop ones, the host, `expect` (answered
/// here already) and our own `x-liquid-*` ones go; everything else stays as it is.
pub(super) fn strip_for_upstream(headers: &mut HeaderMap) {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // Where both are given the length is not to be trusted.
        headers.remove(header::CONTENT_LENGTH);
    }
    let trailers = headers
        .get(header::TE)
        .is_some_and(|te| contains_token(te, "trailers"));
    strip_hop_by_hop(headers);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    headers.remove(header::HOST);
    headers.remove(header::EXPECT);
    remove_all(headers, |name| name.starts_with(OWN_PREFIX));
}

/// Removes every header with an unwanted name. Most calls have none of them, so each name is looked at once.
fn remove_all(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| unwanted(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// Removes the headers that belong to one connection only.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    remove_all(headers, |name| HOP_BY_HOP.contains(&name));
}

/// Returns the protocol that the client asks to switch to, if it does (RFC 9110, section 7.8).
pub(super) fn requested_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers
        .get_all(header::CONNECTION)
        .iter()
        .any(|value| contains_token(value, "upgrade"));
    headers.get(header::UPGRADE).filter(|_| asked).cloned()
}

/// Returns whether the body is in a content coding, so that it cannot be read as it is.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// Returns whether the body is an event stream.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let essence = kind
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    essence.eq_ignore_ascii_case(b"text/event-stream")
}

fn contains_token(value: &HeaderValue, token: &str) -> bool {
    value.to_str().is_ok_and(|value| {
        value
            .split(',')
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn takes_out_hop_by_hop_and_own_headers() {
        let mut all = headers(&[
            ("host", "sidecar"),
            ("connection", "keep-alive, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers, deflate"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("expect", "100-continue"),
            ("x-liquid-mode", "off"),
            ("authorization", "Bearer x"),
            ("x-stainless-lang", "python"),
            ("accept-encoding", "gzip"),
        ]);
        strip_for_upstream(&mut all);
        let want = headers(&[
            ("te", "trailers"),
            ("authorization", "Bearer x"),
            ("x-stainless-lang", "python"),
            ("accept-encoding", "gzip"),
        ]);
        assert_eq!(all, want);
    }

    #[test]
    fn knows_upgrades_codings_and_event_streams() {
        assert!(
            requested_protocol(&headers(&[("connection", "Upgrade"), ("upgrade", "websocket")])).is_some()
        );
        assert!(requested_protocol(&headers(&[("upgrade", "websocket")])).is_none());
        assert!(is_encoded(&headers(&[("content-encoding", "gzip")])));
        assert!(!is_encoded(&headers(&[("content-encoding", "Identity")])));
        assert!(is_event_stream(&headers(&[(
            "content-type",
            "Text/Event-Stream; charset=utf-8"
        )])));
        assert!(!is_event_stream(&headers(&[(
            "content-type",
            "application/json"
        )])));
    }
}
