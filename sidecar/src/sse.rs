//! Server-sent events, read beside the relay: framing without I/O, and the tap that counts usage.
//!
//! The relay forwards the upstream's bytes as they came; nothing here ever writes to the client except the
//! one event that says a stream broke.
//!
//! Source: WHATWG HTML, "Server-sent events", sections 9.2.5 and 9.2.6.

mod parser;
mod tap;

pub use parser::{Event, Parser};
pub(crate) use tap::is_error;
pub use tap::{Ending, StreamState, Tap, usage_of_body};
