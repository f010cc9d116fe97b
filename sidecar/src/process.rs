//! The process around the calls: its logs and traces, the platform's port, reports of usage, and changes of its
//! configuration.

pub mod admin;
pub mod logs;
pub mod probe;
pub mod usage;
pub mod watch;
