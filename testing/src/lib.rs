//! Test doubles for what a sidecar talks to: the LLM provider and the worker.
//!
//! [`MockUpstream`] stands where OpenAI or Anthropic stand at the end of a request's path. It answers in their
//! shapes, keeps the exact bytes of every request it received, and fails in scripted ways ([`Faults`]), so a
//! test can prove what the sidecar sent and how it copes. The binary `mock-upstream` is the same thing for
//! clients that are not written in Rust.
//!
//! [`MockWorker`] stands where a worker stands: it serves the contract of `proto/`, finds evidence by plain words, and is
//! slow, fails or answers nonsense when it is told to ([`WorkerBehaviour`]).

#![forbid(unsafe_code)]

mod fault;
mod record;
mod schema;
mod upstream;
mod worker;

pub use fault::{Faults, UnknownFault};
pub use record::Recorded;
pub use upstream::{Canned, MockUpstream};
pub use worker::{MockWorker, ReceivedExtract, WorkerBehaviour};
