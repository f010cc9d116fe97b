//! Test doubles for what lies beyond the product: today one, the LLM provider.
//!
//! [`MockUpstream`] stands where OpenAI or Anthropic stand at the end of a request's path. It answers in their
//! shapes, keeps the exact bytes of every request it received, and fails in scripted ways ([`Faults`]), so a
//! test can prove what the sidecar sent and how it copes. The binary `mock-upstream` is the same thing for
//! clients that are not written in Rust.

#![forbid(unsafe_code)]

mod fault;
mod record;
mod schema;
mod upstream;

pub use fault::{Faults, UnknownFault};
pub use record::Recorded;
pub use upstream::{Canned, MockUpstream};
