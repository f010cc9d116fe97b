//! The facts on which two programs must agree, each written once: data without I/O.
//!
//! Each item says who writes it and who reads it. What only one program knows stays in that program; the messages
//! between sidecar and worker are in `proto/`. Texts that cannot name these items (the rules in the operator's API
//! types, the charts, the example configurations) are compared with them by `tests/agreement`.
#![forbid(unsafe_code)]

pub mod defaults;
pub mod endpoints;
pub mod environment;
pub mod exit;
pub mod files;
pub mod headers;
pub mod metrics;
pub mod ports;

mod interception;
mod leaving;
mod mode;
mod pack_style;
mod provider;
mod tier;

pub use interception::InterceptedHost;
pub use leaving::{Unread, Whole};
pub use mode::Mode;
pub use pack_style::PackStyle;
pub use provider::Provider;
pub use tier::Tier;
