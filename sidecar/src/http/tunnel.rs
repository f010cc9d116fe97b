//! Upgraded connections, WebSockets above all: after the upstream's 101 bytes flow both ways, unread.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::{answer, headers};
use crate::carry::carry;
use crate::report::Exchange;

/// Asks the upstream for the switch that the client asked for.
pub(super) fn request_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Answers the client's upgrade as the upstream did, and joins both connections once both have switched. The
/// call lasts as long as the tunnel.
pub(super) fn open(
    client: OnUpgrade,
    mut answer: Response<Incoming>,
    mut exchange: Exchange,
) -> Response<Body> {
    let upstream = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        match join(client, upstream).await {
            Ok(()) => exchange.complete(),
            Err(_) => exchange.fail("tunnel_broken"),
        }
    });
    let (mut parts, _) = answer.into_parts();
    let protocol = parts.headers.get(header::UPGRADE).cloned();
    headers::strip_hop_by_hop(&mut parts.headers);
    if let Some(protocol) = protocol {
        request_upgrade(&mut parts.headers, protocol);
    }
    answer::response(parts.status, parts.headers, Body::empty())
}

async fn join(
    client: OnUpgrade,
    upstream: OnUpgrade,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (client, upstream) = tokio::try_join!(client, upstream)?;
    Ok(carry(TokioIo::new(client), TokioIo::new(upstream)).await?)
}
