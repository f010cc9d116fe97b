//! What the tests of the cases share: a real sidecar and a real worker in this process, upstreams that answer with
//! prescribed bytes, and the inputs.
//!
//! `cargo xtask test --only cases` runs every test of a case: those of this crate, and those in other crates and on the
//! cluster whose names contain `case_` and a number.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod client;
mod inputs;
mod script;
mod stack;

pub use client::{Answer, Piece, post, send};
pub use inputs::{input, inputs, read, read_if_there};
pub use script::ScriptedUpstream;
pub use stack::{Sidecar, Tiers, Worker, decoder, settings, weights};
