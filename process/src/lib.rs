//! What sidecar, worker and operator share of being a process. Not a framework: each module serves at least two of the
//! three.
#![forbid(unsafe_code)]

pub mod admin;
pub mod config;
pub mod flight;
pub mod logs;
pub mod tls;

mod invalid;
mod lock;
mod lru;

pub use invalid::{Invalid, InvalidValues};
pub use lock::lock;
pub use lru::Lru;
