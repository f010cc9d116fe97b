//! The errors that the sidecar answers with when it cannot pass a call on, in the words of the API that was
//! called.

use std::borrow::Cow;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::api::{OverrideError, Wire, header_names};
use crate::compress::Rejection;
use crate::translate;
use crate::upstream::{ConnectError, Failure};

/// An error, independent of the API in whose words it is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// OpenAI's `error.type`.
    pub kind: &'static str,
    /// `error.code`.
    pub code: &'static str,
    /// `error.param`.
    pub param: Option<Cow<'static, str>>,
    /// `error.message`.
    pub message: String,
    /// `retry-after`, in seconds.
    pub retry_after: Option<u64>,
    /// `x-should-retry`, which the SDKs obey before anything else.
    pub should_retry: Option<bool>,
}

impl ApiError {
    /// Makes an error of the caller: trying again will not help.
    pub fn invalid(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: "invalid_request_error",
            code,
            param: None,
            message: message.into(),
            retry_after: None,
            should_retry: Some(false),
        }
    }

    /// Makes an error of the sidecar or of the upstream.
    pub fn server(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind: "server_error",
            should_retry: None,
            ..Self::invalid(status, code, message)
        }
    }

    /// Makes the error for more requests at a time than `limit`.
    pub fn too_many(limit: usize) -> Self {
        Self {
            kind: "rate_limit_error",
            retry_after: Some(1),
            should_retry: Some(true),
            ..Self::invalid(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_concurrent_requests",
                format!("the sidecar already serves {limit} requests (limits.max_concurrent_requests)"),
            )
        }
    }

    /// Makes the error for a body of more than `limit` bytes.
    pub fn too_large(limit: u64) -> Self {
        let message = format!("the request body is larger than {limit} bytes (limits.max_body_bytes)");
        Self::invalid(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    /// Writes the error as a response in the given API's shape.
    pub fn response(&self, wire: Wire) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body(wire).to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(should) = self.should_retry {
            let value = if should { "true" } else { "false" };
            headers.insert(header_names::SHOULD_RETRY, HeaderValue::from_static(value));
        }
        response
    }

    fn body(&self, wire: Wire) -> serde_json::Value {
        match wire {
            Wire::Messages => {
                json!({"type": "error", "error": {"type": translate::error_kind(self.status), "message": self.message}})
            }
            Wire::Chat | Wire::Responses | Wire::Completions => json!({"error": self.object()}),
        }
    }

    fn object(&self) -> serde_json::Value {
        json!({"message": self.message, "type": self.kind, "param": self.param, "code": self.code})
    }

    /// Writes the error as an event for a streaming client. `sequence` numbers it where the API numbers its
    /// events.
    pub fn event(&self, wire: Wire, sequence: u64) -> Bytes {
        let text = match wire {
            Wire::Chat | Wire::Completions => format!("data: {}\n\n", self.body(wire)),
            Wire::Messages => format!("event: error\ndata: {}\n\n", self.body(wire)),
            // The typed event's own fields, and the object that makes the SDKs raise.
            Wire::Responses => format!(
                "event: error\ndata: {}\n\n",
                json!({
                    "type": "error", "code": self.code, "message": self.message, "param": self.param,
                    "sequence_number": sequence, "error": self.object(),
                })
            ),
        };
        text.into()
    }
}

impl From<&Failure> for ApiError {
    fn from(failure: &Failure) -> Self {
        let status = failure.status();
        let message = failure.to_string();
        match failure {
            Failure::Connect(ConnectError::Loop { .. }) => Self {
                should_retry: Some(false),
                ..Self::server(status, "loop_detected", message)
            },
            // Another try would cost the same time again.
            Failure::Connect(ConnectError::Timeout { .. })
            | Failure::FirstByte { .. }
            | Failure::Total { .. } => Self {
                kind: "timeout_error",
                should_retry: Some(false),
                ..Self::server(status, "upstream_timeout", message)
            },
            Failure::Connect(_) => Self::server(status, "upstream_unreachable", message),
            Failure::Broken { .. } => Self::server(status, "upstream_broken", message),
            Failure::Worker(_) => Self {
                retry_after: Some(1),
                should_retry: Some(true),
                ..Self::server(status, "worker_unavailable", message)
            },
            Failure::Untranslatable(error) => Self {
                param: error.param().map(Cow::Borrowed),
                ..Self::invalid(status, error.code(), message)
            },
        }
    }
}

impl From<&Rejection> for ApiError {
    fn from(rejection: &Rejection) -> Self {
        Self {
            status: StatusCode::from_u16(rejection.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            kind: rejection.kind,
            code: rejection.code,
            param: rejection.param.map(Cow::Borrowed),
            message: rejection.message.clone(),
            retry_after: rejection.retry_after,
            should_retry: Some(rejection.retry_after.is_some()),
        }
    }
}

impl From<&OverrideError> for ApiError {
    fn from(error: &OverrideError) -> Self {
        Self {
            param: Some(error.header().to_owned().into()),
            ..Self::invalid(StatusCode::BAD_REQUEST, "invalid_header", error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn each_api_has_its_own_shape() {
        let error = ApiError::too_large(5);
        let openai = r#"{"error":{"message":"the request body is larger than 5 bytes (limits.max_body_bytes)","type":"invalid_request_error","param":null,"code":"request_too_large"}}"#;
        let anthropic = r#"{"type":"error","error":{"type":"request_too_large","message":"the request body is larger than 5 bytes (limits.max_body_bytes)"}}"#;
        assert_eq!(error.body(Wire::Chat).to_string(), openai);
        assert_eq!(error.body(Wire::Responses).to_string(), openai);
        assert_eq!(error.body(Wire::Completions).to_string(), openai);
        assert_eq!(error.body(Wire::Messages).to_string(), anthropic);
    }

    #[test]
    fn events_end_with_a_blank_line() {
        let error = ApiError::server(StatusCode::BAD_GATEWAY, "upstream_broken", "cut");
        assert_eq!(
            error.event(Wire::Chat, 0),
            "data: {\"error\":{\"message\":\"cut\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_broken\"}}\n\n"
        );
        assert_eq!(
            error.event(Wire::Messages, 0),
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"cut\"}}\n\n"
        );
        assert!(
            error
                .event(Wire::Responses, 7)
                .starts_with(b"event: error\ndata: {\"type\":\"error\"")
        );
    }
}
