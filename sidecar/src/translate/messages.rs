//! Lets a client that speaks Anthropic's Messages talk to the workers' language model, which speaks Chat Completions:
//! requests one way, answers, streams and errors the other.
//!
//! What has no counterpart is refused with the field's name: images and files, tools that Anthropic runs itself, MCP
//! servers, and a last message of the assistant that is to be continued. Thinking of earlier turns, `thinking`, `metadata`,
//! `service_tier` and cache markers are left out. A stop string that matched is reported as `end_turn`: the worker does not
//! say which one did.
//!
//! Source: Anthropic's public API reference (Messages, 2023-06-01; streaming; structured outputs).

mod request;
mod response;
mod stream;
#[cfg(test)]
mod tests;

pub(super) use request::translate;
pub(super) use response::Translation;
pub(crate) use response::error_kind;
