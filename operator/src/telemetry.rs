//! Metrics and log of the operator.

use std::time::Duration;

use liquid_process::InvalidValues;
use liquid_process::logs::Log;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::config::Settings;

#[cfg(test)]
mod tests;

/// Starts the log of this process.
///
/// # Errors
/// A filter that cannot be read, and a second start.
pub fn start_log(settings: &Settings) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let log = Log {
        format: settings.log_format,
        level: settings.log_level.clone(),
    };
    InvalidValues::check(log.validate("liquid_operator"))?;
    Ok(log.start()?)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The metrics of the operator. Labels are fixed names.
pub struct Metrics {
    registry: Registry,
    reconciliations: Family<OutcomeLabel, Counter>,
    reconciliation: Histogram,
    leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Creates the metrics, all at zero.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// Creates the metrics, all at zero, and registers those of other parts.
    pub fn with(others: impl FnOnce(&mut Registry)) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("liquid_operator"),
            reconciliations: Family::default(),
            // 5 ms to 41 s.
            reconciliation: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            leader: Gauge::default(),
        };
        let r = &mut metrics.registry;
        let help = "Reconciliations of a LiquidMemoryProxy, by outcome: done, failed";
        r.register("reconciliations", help, metrics.reconciliations.clone());
        let help = "Time of a reconciliation";
        r.register_with_unit(
            "reconciliation",
            help,
            Unit::Seconds,
            metrics.reconciliation.clone(),
        );
        r.register("leader", "1 while this replica writes", metrics.leader.clone());
        others(r);
        metrics
    }

    /// Counts a reconciliation that has ended.
    pub fn count_reconciliation(&self, done: bool, time: Duration) {
        let outcome = if done { "done" } else { "failed" };
        self.reconciliations
            .get_or_create(&OutcomeLabel { outcome })
            .inc();
        self.reconciliation.observe(time.as_secs_f64());
    }

    /// Sets whether this replica leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Renders the metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// A metric that cannot be encoded.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
