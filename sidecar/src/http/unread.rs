//! Bodies that nobody reads, where `policy.unread` keeps documents in: a body is held until it has ended short
//! enough, and only then leaves. On the way from `passthrough` to an upstream.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;

use super::spelling::Spelling;
use super::{App, body, headers, refuse, route};
use crate::api::{Reason, Wire};
use crate::compress::Action;
use crate::error::ApiError;
use crate::policy;
use crate::report::{self, Exchange};

/// Code of the error, and reason in headers, metrics and logs.
const REASON: &str = Reason::Unread.as_str();

/// Shorter paths and queries are names, not texts. Bytes.
const LONGEST_NAME: u64 = 1024;

/// Returns the request if it may leave unread, its body read into memory: at most as many bytes as
/// `min_document_tokens`.
///
/// # Errors
/// 403 for what may hold a document; what reading a body ends in otherwise.
pub(super) async fn admit(
    app: &App,
    policy: &policy::Settings,
    mut request: Request<Body>,
) -> Result<Request<Body>, ApiError> {
    let path = request.uri().path();
    if is_allowed(path, &policy.unread_allow) {
        return Ok(request);
    }
    let query = request.uri().query().map_or(0, str::len);
    if policy.may_be_document((path.len() + query) as u64) && (path.len() + query) as u64 > LONGEST_NAME {
        return Err(refusal(policy, "the URL may hold a document"));
    }
    match headers::requested_protocol(request.headers()) {
        // An offer that a server is free not to take, made by clients that could as well speak HTTP/2.
        Some(protocol) if is_http2(&protocol) => drop(request.headers_mut().remove(header::UPGRADE)),
        Some(_) => {
            return Err(refusal(
                policy,
                "nothing that follows a switch of protocols is read",
            ));
        }
        None => {}
    }
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    // What a coded body says may be any number of times as long.
    let coded = headers::is_encoded(&parts.headers);
    let limit = if coded { 0 } else { policy.min_document_tokens };
    let time = Duration::from_millis(app.limits.body_timeout_ms);
    match body::read(body, limit.min(app.limits.max_body_bytes), time).await {
        Ok(read) => Ok(Request::from_parts(parts, Body::from(read))),
        Err(error) if error.status == StatusCode::PAYLOAD_TOO_LARGE => {
            let what = if coded {
                "a body with content-encoding may hold a document"
            } else {
                "the body may hold a document"
            };
            Err(refusal(policy, what))
        }
        Err(error) => Err(error),
    }
}

/// Answers that a request was not let out unread.
pub(super) fn answer(error: &ApiError, wire: Wire, mut exchange: Exchange) -> Response<Body> {
    exchange.record_unread(Action::Rejected, REASON);
    let mut response = refuse(error, wire, exchange);
    report::headers::write_unread(response.headers_mut(), Action::Rejected, REASON);
    response
}

fn refusal(policy: &policy::Settings, what: &str) -> ApiError {
    let message = format!(
        "the request was not sent, because policy.unread is refuse, nothing on this path is read, and {what}: send it to \
         {}, send at most {} bytes (policy.min_document_tokens), or name the path in policy.unread_allow",
        route::SURFACE_PATHS.join(", "),
        policy.min_document_tokens
    );
    ApiError::invalid(StatusCode::FORBIDDEN, REASON, message)
}

fn is_http2(protocol: &HeaderValue) -> bool {
    protocol.as_bytes().eq_ignore_ascii_case(b"h2c")
}

/// Returns whether a path is one of those that may leave unread, or below one. A path that servers read
/// differently is none.
fn is_allowed(path: &str, allowed: &[String]) -> bool {
    if allowed.is_empty() {
        return false;
    }
    let spelling = Spelling::read(path);
    let is_v1 = |segment: &&String| segment.eq_ignore_ascii_case("v1");
    let below = spelling.segments.iter().skip_while(is_v1).map(String::as_str);
    let starts = |allowed: &String| {
        let mut below = below.clone();
        let mut wanted = allowed.split('/').filter(|segment| !segment.is_empty());
        wanted.all(|segment| below.next() == Some(segment))
    };
    spelling.is_plain && !path.contains("%25") && allowed.iter().any(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowed_path_is_one_by_segments() {
        let allowed = ["/embeddings".to_owned(), "/audio/speech".to_owned()];
        for (path, want) in [
            ("/v1/embeddings", true),
            ("/embeddings/", true),
            ("/v1//embeddings/x", true),
            ("/v1/audio/speech", true),
            ("/v1/audio", false),
            ("/v1/embeddingsx", false),
            ("/x/embeddings", false),
            ("/v1/embeddings/../completions", false),
            ("/v1/embeddings%2f..%2fcompletions", false),
            ("/v1/embeddings/..;/completions", false),
            ("/v1/embeddings/%252e%252e/completions", false),
        ] {
            assert_eq!(is_allowed(path, &allowed), want, "{path}");
        }
        assert!(!is_allowed("/v1/embeddings", &[]));
    }
}
