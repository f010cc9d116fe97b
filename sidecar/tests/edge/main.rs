//! The sidecar's HTTP side over real sockets: a client, the sidecar, the mock upstream.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod access;
mod compress;
mod contract;
mod endings;
mod explain;
mod fidelity;
mod held;
mod intercept;
mod limits;
mod liquid;
mod local;
mod messages;
mod names;
mod otlp;
mod pages;
mod paths;
mod process;
mod retrieval;
mod stream;
mod support;
mod tls;
mod translate;
mod upstreams;
mod usage;
mod ways;
