//! What the policy needs to know of a request: who says which text, where it stands, what protects it.

use std::borrow::Cow;

use super::hybrid::Hybrid;
use super::literal::Literal;
use crate::api::Surface;

/// A request, read. Borrows from the body.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The surface it was read for.
    pub surface: Surface,
    /// `model`.
    pub model: Option<Cow<'a, str>>,
    /// `stream`.
    pub stream: bool,
    /// `dry_run` of a `/v1/hybrid_chat` body.
    pub dry_run: bool,
    /// Every part of every message, in the order in which the model reads them: the system text first, wherever
    /// it is in the body.
    pub parts: Vec<Part<'a>>,
    /// The field that makes what we see incomplete, or the text more than something to read, if there is one.
    pub stateful: Option<&'static str>,
    /// The whole request is under a cache marker (`cache_control` at the top of an Anthropic body).
    pub cache_marked: bool,
    /// A key that was read occurs twice in its object.
    pub duplicate_key: bool,
    /// There are more parts than were read.
    pub too_many_parts: bool,
    /// The fields of a `/v1/hybrid_chat` body.
    pub hybrid: Option<Hybrid<'a>>,
    /// The calls of tools that the model made, in order.
    pub calls: Vec<ToolCall<'a>>,
    /// The fields that the answer must have: of a JSON schema, or of the one tool that must be called.
    pub fields: Vec<AnswerField>,
}

/// A call of a tool by the model.
#[derive(Debug, Clone)]
pub struct ToolCall<'a> {
    /// Position of its message in the request.
    pub message: usize,
    /// Its id, by which its result names it; the function's name for the legacy `function_call`, which has none.
    /// Ids may come again: a result belongs to the last call before it.
    pub id: Cow<'a, str>,
    /// The tool's name; for a tool of the provider that has none, its kind (`local_shell`).
    pub name: Cow<'a, str>,
    /// Its arguments: JSON, or the text of a custom tool's input, unescaped; empty if they are longer than
    /// 64 KiB.
    pub arguments: Cow<'a, str>,
}

/// A field that the answer must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerField {
    /// Its name below those of the objects it is in, such as `parties.name`; empty for the answer as a whole.
    pub name: String,
    /// What its schema says of it: `description`, else `title`, with the values that it may have; may be empty.
    pub description: String,
}

/// A part of a message: a text, an image, a call.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// Position of its message in the request; a system text beside the messages is a message of its own.
    pub message: usize,
    /// Who says it.
    pub role: Role,
    /// The kind of its content.
    pub kind: PartKind,
    /// Its text, when it is plain text.
    pub text: Option<Literal<'a>>,
    /// The id of the call that it answers, for a tool's result.
    pub call: Option<Cow<'a, str>>,
    /// Whether it is the result of a call that failed, as its sender says (`is_error`).
    pub is_error: bool,
    /// It, or its message, carries a cache marker.
    pub cache_marked: bool,
}

/// The kind of a part's content, as far as decisions differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// Words that are said in the message itself.
    Text,
    /// Plain text in a `document` or `search_result` block: a document, never a question.
    Document,
    /// The same with citations on: the model's answer cites it by offsets, which the client looks up in what
    /// it sent.
    CitedDocument,
    /// Plain text that a tool answered.
    ToolResult,
    /// A document without text to read here: a PDF, a file's name, an address.
    Attachment,
    /// An image, a call, a result, and everything that we do not know.
    Other,
}

/// Who says a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The user.
    User,
    /// The system or the developer.
    System,
    /// The model, its calls and its reasoning.
    Assistant,
    /// A tool, and everything that we do not know.
    Tool,
}

impl Role {
    pub(super) fn parse(name: &str) -> Self {
        match name {
            "user" => Self::User,
            "system" | "developer" => Self::System,
            "assistant" => Self::Assistant,
            _ => Self::Tool,
        }
    }
}
