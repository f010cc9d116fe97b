//! The process around the calls: its logs and traces, the platform's port, and changes of its configuration.

pub mod admin;
pub mod logs;
pub mod probe;
pub mod watch;
