//! Probes, metrics and logs of the operator.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub mod admin;
pub mod logs;

#[cfg(test)]
mod tests;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// What the operator counts, in the OpenMetrics text format. Labels are fixed names.
pub struct Metrics {
    registry: Registry,
    reconciliations: Family<Outcome, Counter>,
    reconciliation: Histogram,
    leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// All at zero, with those of other parts beside.
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

    /// One reconciliation has ended.
    pub fn reconciled(&self, done: bool, time: Duration) {
        let outcome = if done { "done" } else { "failed" };
        self.reconciliations.get_or_create(&Outcome { outcome }).inc();
        self.reconciliation.observe(time.as_secs_f64());
    }

    /// Whether this replica writes.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
