//! The model's way back to a document: one more tool in the request, whose calls are answered here, between rounds of
//! asking the upstream. The application sees neither the tool nor its calls. Between `compress` and `upstream`.
//!
//! The tool is the last of the request's tools and always the same, so that the prefix that a provider has cached stays
//! the same; whether it is there depends on the call's packs and form alone. It is not offered where it could not be
//! answered properly:
//!
//! | | Chat Completions | Messages | Responses |
//! |---|---|---|---|
//! | a whole answer | offered | offered | offered |
//! | a stream | offered | offered | offered |
//! | either of a provider whose API is another one | offered | | |
//! | `response_format` of such a provider | not offered | | |
//! | a tool or an answer without tools is forced (`tool_choice` other than `auto`) | not offered | not offered | not offered |
//! | `n` above 1, `audio`, the legacy `functions` | not offered | | |
//! | `background` | | | not offered |
//! | the built-in provider among those that may answer | not offered | not offered | not offered |
//!
//! Where a model calls a tool of the application's and this one in one answer, the application gets its own call alone.
//! The model's question is dropped: the application's next request is the conversation as it knows it, in which nobody
//! has asked. The model can ask again.

mod answer;
mod body;
mod lookup;
mod session;
mod splice;
mod tool;
mod usage;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Final};
pub use lookup::LookupResult;
pub use session::{Offer, Session};
pub use splice::Splicer;

use serde_json::Value;

/// What a model said in a round that ends with questions to us, in the form in which it goes back to the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The messages or items that the model said.
    pub said: Vec<Value>,
    /// Its questions, in order, at least one.
    pub questions: Vec<Question>,
}

/// One call of our tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// The call's id.
    pub id: String,
    /// Its arguments, as JSON.
    pub arguments: String,
}
