//! Errors in the words of OpenAI's API: a status, and an object with message, type, param and code.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use liquid_decoder::engine::Refusal;
use liquid_decoder::{ChatError, GenerateError, PassError, SamplingError, TokenizerError};
use serde::Serialize;

/// Time after which another try is worth it.
const RETRY_LATER: Duration = Duration::from_secs(1);

/// An error that a client is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    kind: &'static str,
    pub(super) code: Option<&'static str>,
    pub(super) param: Option<Cow<'static, str>>,
    pub(super) message: String,
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Object<'a>,
}

#[derive(Serialize)]
struct Object<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        Self {
            status,
            kind,
            code: None,
            param: None,
            message: message.into(),
            retry_after: None,
        }
    }

    fn with_code(self, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    fn with_param(self, param: impl Into<Cow<'static, str>>) -> Self {
        Self {
            param: Some(param.into()),
            ..self
        }
    }

    /// A field has a wrong value; `remedy` says what it must be.
    pub(super) fn invalid(param: impl Into<Cow<'static, str>>, remedy: impl Display) -> Self {
        let param = param.into();
        Self::new(StatusCode::BAD_REQUEST, format!("{param}: {remedy}"))
            .with_code("invalid_value")
            .with_param(param)
    }

    /// A field asks for what is not served.
    pub(super) fn unsupported(param: impl Into<Cow<'static, str>>, remedy: impl Display) -> Self {
        Self::invalid(param, remedy).with_code("unsupported_parameter")
    }

    pub(super) fn no_json(error: &serde_json::Error) -> Self {
        let message = format!("the body is not JSON: {error}");
        Self::new(StatusCode::BAD_REQUEST, message).with_code("invalid_json")
    }

    pub(super) fn broken_body(error: &impl Display) -> Self {
        let message = format!("the body did not arrive: {error}");
        Self::new(StatusCode::BAD_REQUEST, message).with_code("incomplete_body")
    }

    pub(super) fn slow_body(time: Duration) -> Self {
        let message = format!("the body did not arrive within {} s", time.as_secs());
        Self::new(StatusCode::REQUEST_TIMEOUT, message).with_code("incomplete_body")
    }

    pub(super) fn too_large(most: usize) -> Self {
        let message = format!("the body is larger than {most} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message).with_code("request_too_large")
    }

    pub(super) fn wrong_method() -> Self {
        let message = "the route has another method: GET for /v1/models, POST for all others";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message).with_code("method_not_allowed")
    }

    pub(super) fn unknown_path(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("no such path: {path}")).with_code("unknown_url")
    }

    pub(super) fn no_decoder() -> Self {
        let message = "this worker serves no language model; set decoder.folder in its configuration";
        Self::new(StatusCode::NOT_FOUND, message).with_code("model_not_found")
    }

    pub(super) fn unknown_model(name: &str, served: &str) -> Self {
        let message = format!("the model {name:?} does not exist here; ask for {served:?}");
        Self::new(StatusCode::NOT_FOUND, message)
            .with_code("model_not_found")
            .with_param("model")
    }

    /// The request does not fit into the context. `param` is the field with the prompt.
    fn too_long(param: &'static str, message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
            .with_code("context_length_exceeded")
            .with_param(param)
    }

    /// Another try later is worth it.
    pub(super) fn busy(message: String, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, message).with_code("rate_limit_exceeded")
        }
    }

    /// Another worker is worth a try.
    pub(super) fn unavailable(message: &str) -> Self {
        Self {
            retry_after: Some(RETRY_LATER),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message).with_code("service_unavailable")
        }
    }

    /// The caller's time was over before there was anything to answer.
    pub(super) fn deadline_exceeded() -> Self {
        let message =
            "the time of the call was over before the first token; give it more, or ask another worker";
        Self::new(StatusCode::GATEWAY_TIMEOUT, message).with_code("deadline_exceeded")
    }

    /// The worker failed; the log has the reason.
    pub(super) fn internal(error: impl Display) -> Self {
        tracing::error!(%error, "a request failed");
        let message = "internal error; the worker's log has the reason";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message).with_code("internal_error")
    }

    /// Makes the error of a request whose prompt is in the field `param`.
    pub(super) fn refused(refusal: Refusal, param: &'static str) -> Self {
        match refusal {
            Refusal::QueueFull { .. } => Self::busy(refusal.to_string(), RETRY_LATER),
            Refusal::TooLong { .. } => Self::too_long(param, refusal.to_string()),
            Refusal::Invalid(error) => Self::failed(error, param),
            Refusal::Stopped => Self::unavailable(&refusal.to_string()),
            other => Self::internal(other),
        }
    }

    /// Makes the error of an answer whose prompt is in the field `param`.
    pub(super) fn failed(error: GenerateError, param: &'static str) -> Self {
        match error {
            GenerateError::Request {
                field,
                value,
                expected,
            } => {
                let field = match field {
                    "prompt" => param,
                    "ignore_end" => "ignore_eos",
                    field => field,
                };
                Self::invalid(field, format!("is {value}, but must be {expected}"))
            }
            GenerateError::Sampling(error @ SamplingError::Setting { .. }) => error.into(),
            GenerateError::Pass(error @ PassError::TooLong { .. }) => {
                Self::too_long(param, error.to_string())
            }
            GenerateError::Pass(error @ PassError::UnknownToken { .. }) => Self::invalid(param, error),
            GenerateError::Constraint(error) => Self::invalid("response_format", error),
            GenerateError::Stopped => Self::unavailable(&error.to_string()),
            other => Self::internal(other),
        }
    }

    /// Writes the error's object.
    pub(super) fn body(&self) -> String {
        let object = Object {
            message: &self.message,
            kind: self.kind,
            param: self.param.as_deref(),
            code: self.code,
        };
        // Texts alone: that cannot fail.
        serde_json::to_string(&Envelope { error: object }).unwrap_or_default()
    }
}

impl From<SamplingError> for ApiError {
    fn from(error: SamplingError) -> Self {
        match error {
            SamplingError::Setting {
                field,
                value,
                expected,
            } => Self::invalid(field, format!("is {value}, but must be {expected}")),
            other => Self::internal(other),
        }
    }
}

impl From<ChatError> for ApiError {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::Missing { .. } => Self::unsupported("messages", error),
            ChatError::Refused(_) | ChatError::Apply(_) => Self::invalid("messages", error),
            other => Self::internal(other),
        }
    }
}

impl From<TokenizerError> for ApiError {
    fn from(error: TokenizerError) -> Self {
        Self::internal(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status, headers, self.body()).into_response();
        if let Some(time) = self.retry_after {
            let seconds = HeaderValue::from(time.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
