//! Asks the workers for the evidence: one answer for a document and what is asked about it, whatever happens to single
//! workers. Between `policy` and `pack`. Takes calls to the workers' language model, too, and reports what calls have come
//! to.

mod answer;
mod choose;
mod client;
mod error;
mod forward;
mod lookup;
mod pool;
mod query;
mod settings;
mod tls;
mod totals;
mod wake;
mod worker;

#[cfg(test)]
mod tests;

use serde::Serialize;

pub use answer::Extraction;
pub use client::{Client, ExtractAnswer};
pub use error::ExtractError;
pub use forward::{BrokenAnswer, ModelAnswer, ModelCall, PrefixKey, WorkerBody};
pub use query::{Asked, Budget, Query, QueryKey, TextLength};
pub use settings::{OnWorkerUnavailable, Settings, Tls, Wake};
pub use totals::{CallTotals, ReportOutcome};

/// Reads the TLS files that the settings name, as `--check` does.
///
/// # Errors
/// [`ExtractError::Tls`] for a file that cannot be read, holds no certificate, or a key that does not fit.
pub fn check_files(settings: &Settings) -> Result<(), ExtractError> {
    settings
        .tls
        .as_ref()
        .map_or(Ok(()), |tls| tls::load(tls).map(drop))
}

/// What is known of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerHealth {
    /// It has not been heard from yet.
    Unknown,
    /// It serves.
    Healthy,
    /// It does not serve, or is ejected after failures.
    Unhealthy,
}

/// One worker as the sidecar sees it: for metrics and `GET /liquid/stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerStatus {
    /// `address:port`.
    pub address: String,
    /// Its zone; empty where that is not known, or does not count.
    pub zone: String,
    /// Whether it is known to serve and is not ejected after failures.
    pub healthy: bool,
    /// What is known of it.
    pub health: WorkerHealth,
    /// Calls of ours that it has not answered yet.
    pub in_flight: u32,
    /// Document tokens that wait or run there, as it last reported.
    pub tokens_in_flight: u64,
    /// Answers since the start.
    pub answered: u64,
    /// Failures since the start.
    pub failed: u64,
}
