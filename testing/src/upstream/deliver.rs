//! Turns an answer into HTTP and applies the faults on the way out.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Canned, Shared};
use crate::Faults;

/// An answer before faults: its pieces are written one by one.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) pieces: Vec<Bytes>,
    /// The surface's own error event, sent by the fault `error-event`; set for streams only.
    pub(super) error_event: Option<Bytes>,
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            pieces: vec![Bytes::from(body.to_string())],
            error_event: None,
        }
    }

    pub(super) fn events(events: Vec<Bytes>, error_event: Bytes) -> Self {
        let headers = [
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "no-cache"),
        ];
        Self {
            status: 200,
            headers: headers.map(|(name, value)| (name.into(), value.into())).to_vec(),
            pieces: events,
            error_event: Some(error_event),
        }
    }

    pub(super) fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl From<Canned> for Reply {
    fn from(canned: Canned) -> Self {
        Self {
            status: canned.status,
            headers: canned.headers,
            pieces: canned.body,
            error_event: None,
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let whole = self.pieces.concat();
        self.response(Body::from(whole))
    }
}

impl Reply {
    fn response(&self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

pub(super) async fn deliver(shared: &Arc<Shared>, mut reply: Reply, faults: &Faults) -> Response {
    if let Some(delay) = faults.slow_first_byte {
        tokio::time::sleep(delay).await;
    }
    if faults.wrong_content_type {
        reply
            .headers
            .retain(|(name, _)| name != header::CONTENT_TYPE.as_str());
        reply = reply.with_header("content-type", "text/html");
    }
    if faults.gzip {
        reply = reply.with_header("content-encoding", "gzip");
    }
    let (pieces, broken) = pieces(&reply, faults);
    if pieces.len() == 1 && !broken {
        return reply.response(Body::from(pieces.concat()));
    }
    let body = stream(Arc::clone(shared), pieces, broken, faults.pace);
    reply.response(body)
}

/// Returns the pieces to write, and whether the connection breaks after the last.
fn pieces(reply: &Reply, faults: &Faults) -> (Vec<Bytes>, bool) {
    let mut pieces = reply.pieces.clone();
    if let (Some(after), Some(event)) = (faults.error_after, &reply.error_event) {
        pieces.truncate(after);
        pieces.push(event.clone());
    }
    if faults.invalid_json {
        let whole = pieces.concat();
        pieces = vec![Bytes::from(whole).split_to(pieces.iter().map(Bytes::len).sum::<usize>() / 2)];
    }
    if let Some(after) = faults.cut_after {
        pieces.truncate(after);
        if reply.error_event.is_none() {
            let half = pieces.concat();
            pieces = vec![Bytes::copy_from_slice(
                half.get(..half.len() / 2).unwrap_or_default(),
            )];
        }
    }
    if faults.gzip {
        pieces = gzip(&pieces);
    }
    if let Some(size) = faults.chunk {
        pieces = pieces.concat().chunks(size).map(Bytes::copy_from_slice).collect();
    }
    if let Some(at) = faults.split {
        let mut rest = Bytes::from(pieces.concat());
        let first = rest.split_to(at.min(rest.len()));
        pieces = vec![first, rest];
    }
    (pieces, faults.cut_after.is_some())
}

/// Compresses all pieces as one gzip stream, flushed after each so that a decoder can follow.
fn gzip(pieces: &[Bytes]) -> Vec<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut out = Vec::with_capacity(pieces.len() + 1);
    for piece in pieces {
        let _ = encoder.write_all(piece);
        let _ = encoder.flush();
        out.push(Bytes::from(std::mem::take(encoder.get_mut())));
    }
    out.push(Bytes::from(encoder.finish().unwrap_or_default()));
    out
}

fn stream(shared: Arc<Shared>, pieces: Vec<Bytes>, broken: bool, pace: Option<Duration>) -> Body {
    let (send, receive) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    tokio::spawn(async move {
        for piece in pieces {
            if send.send(Ok(piece)).await.is_err() {
                shared.abandoned.fetch_add(1, Ordering::Relaxed);
                return;
            }
            match pace {
                Some(pace) => tokio::time::sleep(pace).await,
                // The connection flushes when nothing more is ready: let it, so that each piece is a write.
                None => tokio::task::yield_now().await,
            }
        }
        if broken {
            let _ = send.send(Err(std::io::Error::other("cut by the test"))).await;
        }
    });
    Body::from_stream(ReceiverStream::new(receive))
}
