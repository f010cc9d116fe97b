//! An upstream's answer to a call on a surface: relayed as it is, or translated into the client's API.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::relay::{Relay, Watch};
use super::{headers, refuse};
use crate::api::Wire;
use crate::error::ApiError;
use crate::report::Exchange;
use crate::sse::Tap;
use crate::translate::{self, Translation};
use crate::upstream::{Failure, UpstreamResponse};

/// Sends an answer on to the client. `total` only names the limit, should it pass.
pub(super) async fn forward(
    mut arrived: UpstreamResponse,
    wire: Wire,
    total: Duration,
    exchange: Exchange,
) -> Response<Body> {
    headers::strip_hop_by_hop(arrived.response.headers_mut());
    match arrived.translation.take() {
        None => relay(arrived, wire, exchange),
        Some(_) if headers::is_encoded(arrived.response.headers()) => {
            let message = "the upstream's answer is in a content coding that the request did not allow: set its server \
                           to obey accept-encoding";
            let error = ApiError::server(StatusCode::BAD_GATEWAY, "upstream_unreadable", message);
            refuse(&error, wire, exchange)
        }
        Some(translation) if is_stream(&arrived, &translation) => {
            if let Some((status, body)) =
                first_bytes(&arrived).and_then(|first| translation.opening_error(first))
            {
                return answer_error(arrived, status, body, exchange);
            }
            let watch = Watch::Translated(Box::new(translation.stream()));
            streamed(arrived, watch, wire, exchange)
        }
        Some(translation) => Box::pin(translate_whole(arrived, &translation, wire, total, exchange)).await,
    }
}

fn first_bytes(arrived: &UpstreamResponse) -> Option<&[u8]> {
    arrived.first.as_ref()?.data_ref().map(|data| &data[..])
}

/// Answers with the error that a stream began with: with a status the client's own retries work.
fn answer_error(
    arrived: UpstreamResponse,
    status: StatusCode,
    body: Bytes,
    mut exchange: Exchange,
) -> Response<Body> {
    let (mut parts, _) = arrived.response.into_parts();
    exchange.record_status(status);
    exchange.complete();
    describe(&mut parts.headers, "application/json");
    response(status, parts.headers, Body::from(body))
}

/// Makes the headers those of a body that was written here.
pub(super) fn describe(headers: &mut HeaderMap, content_type: &'static str) {
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
}

fn relay(arrived: UpstreamResponse, wire: Wire, exchange: Exchange) -> Response<Body> {
    match arrived.response.headers() {
        headers if headers::is_encoded(headers) => streamed(arrived, Watch::Nothing, wire, exchange),
        headers if headers::is_event_stream(headers) => {
            streamed(arrived, Watch::Stream(Box::new(Tap::new(wire))), wire, exchange)
        }
        _ => streamed(arrived, Watch::Json(Vec::new(), 0), wire, exchange),
    }
}

/// Returns whether an answer that is to be translated is an event stream. Some servers' content types lie, so its
/// first bytes count: JSON or HTML is no stream, and what begins as an event is one if the client wants it.
fn is_stream(arrived: &UpstreamResponse, translation: &Translation) -> bool {
    if !arrived.response.status().is_success() {
        return false;
    }
    let first = first_bytes(arrived).unwrap_or_default().trim_ascii_start();
    if headers::is_event_stream(arrived.response.headers()) {
        return !matches!(first.first(), Some(b'{' | b'[' | b'<'));
    }
    let begins = |field: &[u8]| first.starts_with(field);
    translation.wants_stream() && (begins(b"event:") || begins(b"data:") || begins(b":"))
}

fn streamed(arrived: UpstreamResponse, watch: Watch, wire: Wire, exchange: Exchange) -> Response<Body> {
    let UpstreamResponse {
        response: upstream,
        first,
        deadline,
        ..
    } = arrived;
    let (mut parts, incoming) = upstream.into_parts();
    match watch {
        // A promised length leaves no room for the event that reports a cut.
        Watch::Stream(_) => {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        Watch::Translated(_) => describe(&mut parts.headers, "text/event-stream; charset=utf-8"),
        Watch::Json(..) | Watch::Nothing => {}
    }
    let relay = Relay::new(incoming, first, watch, wire, Some(deadline), exchange);
    response(parts.status, parts.headers, relay.into_body())
}

/// Translates an answer that can be translated only once all of it is here.
async fn translate_whole(
    arrived: UpstreamResponse,
    translation: &Translation,
    wire: Wire,
    total: Duration,
    mut exchange: Exchange,
) -> Response<Body> {
    let UpstreamResponse {
        response: upstream,
        first,
        deadline,
        target,
        ..
    } = arrived;
    let (mut parts, incoming) = upstream.into_parts();
    let first = first.and_then(|frame| frame.into_data().ok()).unwrap_or_default();
    let collected = tokio::time::timeout_at(deadline, translate::collect(first, incoming)).await;
    let failure = match collected {
        Ok(Ok(body)) => {
            let (status, body, usage) = translation.body(parts.status, &body);
            exchange.record_usage(usage);
            exchange.record_status(status);
            exchange.complete();
            describe(&mut parts.headers, translation.content_type(status));
            return response(status, parts.headers, Body::from(body));
        }
        Ok(Err(error)) => Failure::Broken {
            provider: target.provider.name.clone(),
            source: error.into(),
        },
        Err(_) => Failure::Total {
            limit_ms: total.as_millis(),
        },
    };
    refuse(&ApiError::from(&failure), wire, exchange)
}

/// Makes a response with the upstream's status and headers; its version and extensions belong to its own
/// connection.
pub(super) fn response(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
