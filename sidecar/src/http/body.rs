//! Reads a request's whole body, within its limits. Memory: the body once, never a growing copy of it.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::error::ApiError;

/// The most bytes that are read and discarded of a body that is too large, so that the client reads the
/// answer before it sees the connection close.
const LINGER_BYTES: u64 = 64 << 20;
const LINGER_TIME: Duration = Duration::from_secs(5);

/// Reads the whole body.
///
/// # Errors
/// 413 over `limit` bytes, 408 when it takes longer than `time`, 400 when the client breaks off.
pub(super) async fn read(mut body: Body, limit: u64, time: Duration) -> Result<Bytes, ApiError> {
    let hint = body.size_hint();
    if hint.lower() > limit {
        linger(body);
        return Err(ApiError::too_large(limit));
    }
    match tokio::time::timeout(time, collect(&mut body, hint.exact(), limit)).await {
        Ok(Err(error)) if error.status == StatusCode::PAYLOAD_TOO_LARGE => {
            linger(body);
            Err(error)
        }
        Ok(read) => read,
        Err(_) => {
            let message = format!(
                "the body did not arrive within {} ms (limits.body_timeout_ms)",
                time.as_millis()
            );
            Err(ApiError {
                should_retry: None,
                ..ApiError::invalid(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
            })
        }
    }
}

async fn collect(body: &mut Body, exact: Option<u64>, limit: u64) -> Result<Bytes, ApiError> {
    let Some(first) = next(body).await? else {
        return Ok(Bytes::new());
    };
    if body.is_end_stream() || exact == Some(first.len() as u64) {
        return if first.len() as u64 > limit {
            Err(ApiError::too_large(limit))
        } else {
            Ok(first)
        };
    }
    let mut whole =
        BytesMut::with_capacity(usize::try_from(exact.unwrap_or(0)).unwrap_or(0).max(first.len()));
    whole.extend_from_slice(&first);
    drop(first);
    while let Some(part) = next(body).await? {
        if (whole.len() + part.len()) as u64 > limit {
            return Err(ApiError::too_large(limit));
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole.freeze())
}

/// Returns the next data; trailers are skipped.
async fn next(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            ApiError::invalid(
                StatusCode::BAD_REQUEST,
                "incomplete_body",
                "the request body broke off",
            )
        })?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn linger(mut body: Body) {
    tokio::spawn(tokio::time::timeout(LINGER_TIME, async move {
        let mut left = LINGER_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, Bytes::len) as u64;
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }));
}
