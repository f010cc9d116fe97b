//! Lets a client that speaks OpenAI Chat Completions talk to an Anthropic upstream: requests one way, answers,
//! streams and errors the other. The opposite, for the workers' language model, is in `messages`, and in `responses` for clients
//! that speak Responses; `answer` is the way back of all.
//!
//! What has no counterpart: `n` above 1, audio, custom tools, functions (deprecated), web search and logprobs are
//! refused with the field's name; `seed`, penalties, `logit_bias`, `reasoning_effort` and other tuning is left
//! out; `temperature` is capped at 1, and left out with `top_p` as far as the model refuses them. A `user` that
//! is no opaque identifier goes out as a hash. `response_format` is best effort: a JSON schema becomes a tool
//! that the model must call, whose input becomes the answer's text; together with tools of the client's own, and
//! for `json_object`, it becomes an instruction.
//!
//! What OpenAI takes and Anthropic refuses is said in another way where that means the same: text of white space
//! is left out, ids and names of tools outside of Anthropic's alphabet get aliases (names are translated back in
//! answers), schemas become objects, results come first in their turn, a conversation that begins with the
//! assistant gets a first turn of the user's. Everything else is an error of status 400 that names the field.
//!
//! Sources: the public API references of OpenAI (Chat Completions) and Anthropic (Messages, 2023-06-01); the
//! modules name the pages of Anthropic's documentation whose rules they keep.

mod alias;
mod answer;
mod completion;
mod content;
mod events;
mod fields;
mod message;
mod messages;
mod model;
mod request;
mod response;
mod responses;
mod schema;
mod stream;
mod text;
mod tool;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::Body;
use http_body_util::BodyExt;

pub use answer::Translation;
pub use events::StreamTranslator;
pub(crate) use events::named_event;
pub(crate) use messages::error_kind;
pub(crate) use response::{now, usage_object};
pub(crate) use responses::usage_object as responses_usage_object;

use crate::api::header_names::{ANTHROPIC_VERSION, X_API_KEY};
use crate::api::{ProviderKind, Wire};

/// Largest answer that is translated in one piece.
const MAX_BODY_BYTES: usize = 64 << 20;

/// A request translated for the provider, and what the translation of its answer needs.
#[derive(Debug)]
pub struct TranslatedRequest {
    /// The body.
    pub body: Bytes,
    /// Translates the answer.
    pub translation: Translation,
}

/// Why a request cannot be translated for the provider.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// The provider does not speak this API, and there is no translation to one that it speaks.
    #[error(
        "{wire} calls cannot be answered by the configured provider ({kind:?}): choose another in \
         upstream.model, or call /v1/chat/completions"
    )]
    Api {
        /// The API's name.
        wire: &'static str,
        /// What the provider speaks.
        kind: ProviderKind,
    },
    /// The body is not a JSON object of the expected shape.
    #[error("the request body cannot be read: {0}")]
    Body(String),
    /// A field has no counterpart.
    #[error("{field}: {reason}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// Why it has none, and the remedy.
        reason: &'static str,
    },
    /// A field has a value that OpenAI refuses too, or that Anthropic does.
    #[error("{place}: {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The field, with the index of its wrong element.
        place: String,
        /// What is wrong, or the remedy.
        reason: String,
    },
}

impl RequestError {
    fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            place: field.into(),
            reason: reason.into(),
        }
    }

    /// Names the element of a list in which an invalid value is.
    fn at(self, index: usize) -> Self {
        match self {
            Self::Invalid { field, reason, .. } => Self::Invalid {
                field,
                place: format!("{field}[{index}]"),
                reason,
            },
            other => other,
        }
    }

    /// Returns the error's `error.code`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Api { .. } => "unsupported_api",
            Self::Body(_) => "invalid_json",
            Self::Unsupported { .. } => "unsupported_parameter",
            Self::Invalid { .. } => "invalid_value",
        }
    }

    /// Returns the error's `error.param`.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::Unsupported { field, .. } | Self::Invalid { field, .. } => Some(field),
            Self::Api { .. } | Self::Body(_) => None,
        }
    }
}

/// Translates a request for the provider, with `model` in place of the client's if given.
///
/// # Errors
/// When there is no translation, the body cannot be read, or a field has no counterpart.
pub fn request(
    wire: Wire,
    kind: ProviderKind,
    body: &[u8],
    model: Option<&str>,
) -> Result<TranslatedRequest, RequestError> {
    match (wire, kind) {
        (Wire::Chat, ProviderKind::Anthropic) => request::translate(body, model),
        (Wire::Messages, ProviderKind::Liquid) => messages::translate(body, model),
        (Wire::Responses, ProviderKind::Liquid) => responses::translate(body, model),
        (wire, kind) => Err(unsupported(wire, kind)),
    }
}

/// Makes the error for calls that a provider neither speaks nor has a translation for.
fn unsupported(wire: Wire, kind: ProviderKind) -> RequestError {
    let wire = match wire {
        Wire::Chat => "Chat Completions",
        Wire::Responses => "Responses",
        Wire::Messages => "Anthropic Messages",
        Wire::Completions => "Completions",
    };
    RequestError::Api { wire, kind }
}

/// Rewrites an OpenAI client's headers for Anthropic. The answer must come unencoded: it is read here.
pub fn request_headers(headers: &mut HeaderMap) {
    for name in ["openai-organization", "openai-project", "openai-beta"] {
        headers.remove(name);
    }
    headers.remove(header::ACCEPT_ENCODING);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
        .entry(ANTHROPIC_VERSION)
        .or_insert(HeaderValue::from_static("2023-06-01"));
    let bearer = headers.remove(header::AUTHORIZATION);
    let key = bearer
        .as_ref()
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if let Some(Ok(mut key)) = key.map(HeaderValue::from_bytes) {
        key.set_sensitive(true);
        headers.entry(X_API_KEY).or_insert(key);
    }
}

/// Why an answer could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The answer broke off.
    #[error(transparent)]
    Broken(Box<dyn std::error::Error + Send + Sync>),
    /// The answer is too large to be held.
    #[error("the answer is larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
}

/// Collects a whole answer.
///
/// # Errors
/// [`CollectError`] when the answer breaks off or is too large.
pub async fn collect<B>(first: Bytes, mut rest: B) -> Result<Bytes, CollectError>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    let mut whole = BytesMut::from(first);
    while let Some(frame) = rest.frame().await {
        let frame = frame.map_err(|error| CollectError::Broken(error.into()))?;
        if let Some(data) = frame.data_ref() {
            if whole.len() + data.len() > MAX_BODY_BYTES {
                return Err(CollectError::TooLarge);
            }
            whole.extend_from_slice(data);
        }
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests;
