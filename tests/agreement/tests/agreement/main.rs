//! What one program writes is read by the other: the operator's files and variables by the real loaders of sidecar and
//! worker, a worker's metrics by the operator; and everywhere the facts are those of `liquid-contract`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod charts;
mod configuration;
mod defaults;
mod environment;
mod metrics;
mod monitoring;
mod pods;
mod providers;
mod render;
mod tiers;
