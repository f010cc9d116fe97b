//! The sidecar: takes OpenAI and Anthropic calls, forwards the evidence. Modules in the order in which data flows.

pub mod compress;
pub mod extract;
pub mod pack;
pub mod policy;
pub mod request;
pub mod settings;
pub mod sse;
