//! The sidecar: takes OpenAI and Anthropic calls, forwards the evidence. Modules in the order in which data flows.

pub mod bounded;
pub mod compress;
pub mod config;
pub mod extract;
pub mod http;
pub mod local;
pub mod pack;
pub mod policy;
pub mod report;
pub mod request;
pub mod settings;
pub mod sse;
pub mod translate;
pub mod upstream;
