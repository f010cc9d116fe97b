//! What sidecar, worker and operator share of being a process. Not a framework: each module is used by at least two of
//! the three, and none knows another.
#![forbid(unsafe_code)]

pub mod config;

mod invalid;
mod lock;

pub use invalid::{Invalid, InvalidValues};
pub use lock::lock;
