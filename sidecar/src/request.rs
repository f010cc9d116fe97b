//! Reads a call's body into a view that knows where every text stands that may be replaced, and replaces one.
//! Before `policy`, and again after `pack`.
//!
//! What we do not change leaves as the same bytes: unknown fields, the order of keys, the spelling of numbers,
//! duplicate keys and escapes stay, because nothing is ever serialised again but the document's own characters.

mod block;
mod demand;
mod hybrid;
mod json;
mod literal;
mod message;
mod offsets;
mod read;
mod schema;
mod template;
mod text;
mod tool;
mod view;

#[cfg(test)]
mod tests;

pub use hybrid::Hybrid;
pub use json::{JsonError, Key, Kind, Reader};
pub use literal::{Literal, LoneSurrogate, escape_into, is_escaped_as};
pub use template::{SpotError, Template};
pub use text::{JsonText, Spot, Text};
pub use view::{AnswerField, Part, PartKind, Request, Role, ToolCall};

use crate::api::Surface;

/// A body that is not what its surface says.
///
/// On the public surfaces the upstream is the judge of that: the body is forwarded and its answer relayed.
/// Our own `/v1/hybrid_chat` answers 400 with this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The bytes are no UTF-8.
    #[error("the body is not valid UTF-8 at byte {at}; send JSON in UTF-8")]
    NotUtf8 {
        /// Offset of the first bad byte.
        at: usize,
    },
    /// The text is no JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The JSON is no object.
    #[error("the body is not a JSON object; send one")]
    NotAnObject,
    /// `messages` or `input` is neither a string nor an array.
    #[error("the messages at byte {at} are not an array; send an array")]
    NotAnArray {
        /// Offset of the value.
        at: usize,
    },
    /// A field that must be a string is something else.
    #[error("{field} is not a string; send a string")]
    NotAString {
        /// The field.
        field: &'static str,
    },
    /// A required field is not there.
    #[error("{field} is missing; send a string")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field that this surface builds itself.
    #[error("{field} is not a field of hybrid_chat; send large_document and final_user_prompt")]
    Unexpected {
        /// The field.
        field: &'static str,
    },
    /// A field that must be unique occurs twice.
    #[error("{field} occurs twice; send it once")]
    Twice {
        /// The field.
        field: &'static str,
    },
}

impl RequestError {
    /// The field to name in `error.param`.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::NotAString { field }
            | Self::Missing { field }
            | Self::Unexpected { field }
            | Self::Twice { field } => Some(field),
            Self::NotUtf8 { .. } | Self::Json(_) | Self::NotAnObject => None,
            Self::NotAnArray { .. } => Some("messages"),
        }
    }
}

impl<'a> Request<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`RequestError`] if it is not what its surface says.
    pub fn read(surface: Surface, body: &'a [u8]) -> Result<Self, RequestError> {
        let text = std::str::from_utf8(body).map_err(|error| RequestError::NotUtf8 {
            at: error.valid_up_to(),
        })?;
        match surface {
            Surface::HybridChat => hybrid::read(text),
            _ => read::read(surface, text),
        }
    }
}
