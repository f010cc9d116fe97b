//! The TLS server that the API server calls for every pod of an opted-in namespace.
//!
//! # Expected flow
//! [`server`] accepts and encrypts, with the certificate that [`serving`] signs and swaps; [`handler`] reads
//! the review, asks [`source`] for proxies and ConfigMaps, calls [`crate::inject`], answers, and leaves what
//! people should know to [`events`].
//!
//! # Guarantees
//! - A review that can be read gets an answer with status 200 and a decision, whatever happens inside.
//! - Nothing is asked of the API server on the way, except ConfigMaps that an `envFrom` names, and the
//!   proxies once more before a pod is denied for want of one; both under a deadline far below that of the
//!   webhook.
//! - A dry run leaves no trace.

pub mod cluster;
pub mod events;
pub mod handler;
pub mod metrics;
pub mod review;
pub mod run;
pub mod server;
pub mod serving;
pub mod source;
pub mod tls;
mod wake;

#[cfg(test)]
mod tests;

/// The path of the webhook for pods.
pub const INJECT_PATH: &str = "/inject";
