//! The sidecar: takes OpenAI and Anthropic calls, forwards the evidence.
//!
//! Modules in the order in which data flows, each using only those above it: the vocabulary; a body read,
//! judged, asked about and packed; upstreams and their answers; the answer to the client; the process around
//! it all.

#![forbid(unsafe_code)]

pub mod api;
mod carry;
mod cause;

pub mod request;

pub mod need;

pub mod reading;

pub mod policy;

pub mod pack;

pub mod extract;

pub mod compress;

pub mod sse;

pub mod translate;

pub mod upstream;

pub mod pages;

pub mod retrieval;

pub mod access;

pub mod intercept;

pub mod config;

pub mod report;

pub mod error;

pub mod local;

pub mod http;

pub mod explain;

pub mod process;
