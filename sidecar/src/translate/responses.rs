//! Lets a client that speaks OpenAI's Responses talk to the workers' language model, which speaks Chat Completions:
//! requests one way, answers and streams the other. Errors have one shape in both.
//!
//! Nothing is kept between calls, so what leans on an earlier one is refused with the field's name, as are images and
//! files, tools that OpenAI runs itself, custom tools and work in the background. Reasoning of earlier turns, `metadata`,
//! `store`, `include`, `reasoning`, `text.verbosity`, `service_tier`, `truncation` and `user` are left out.
//!
//! Source: OpenAI's public API reference (Responses; streaming events).

mod request;
mod response;
mod stream;
#[cfg(test)]
mod tests;

pub(super) use request::translate;
pub(super) use response::Translation;
pub(crate) use response::usage_object;
