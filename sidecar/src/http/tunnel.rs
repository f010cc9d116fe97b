//! Upgraded connections, WebSockets above all: after the upstream's 101 bytes flow both ways, unread.

use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::{answer, headers};
use crate::report::Exchange;

const LAST_WORDS: Duration = Duration::from_secs(5);

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

/// Copies both ways. When one side has said all, the other has `LAST_WORDS` left: a peer that never closes
/// must not hold the tunnel open.
async fn join(
    client: OnUpgrade,
    upstream: OnUpgrade,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (client, upstream) = tokio::try_join!(client, upstream)?;
    let (client, upstream) = (
        tokio::io::split(TokioIo::new(client)),
        tokio::io::split(TokioIo::new(upstream)),
    );
    let mut there = pin!(copy(client.0, upstream.1));
    let mut back = pin!(copy(upstream.0, client.1));
    let rest = tokio::select! {
        ended = &mut there => ended.map(|()| back),
        ended = &mut back => ended.map(|()| there),
    };
    match timeout(LAST_WORDS, rest?).await {
        Ok(ended) => Ok(ended?),
        Err(_) => Ok(()),
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}
