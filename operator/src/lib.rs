//! The Kubernetes plane: one resource, `LiquidMemoryProxy`, in; workers, sidecars and certificates out.
//!
//! What is decided is apart from what is done: [`objects`] and [`inject`] are pure, [`controller`], [`pki`],
//! [`leader`] and [`webhook`] talk to the API server.

#![forbid(unsafe_code)]

pub mod api;
pub mod check;
pub mod config;
pub mod controller;
mod events;
pub mod inject;
pub mod leader;
pub mod names;
pub mod objects;
pub mod pki;
pub mod rbac;
pub mod samples;
pub mod serve;
pub mod telemetry;
pub mod uninstall;
pub mod watchdog;
pub mod webhook;
