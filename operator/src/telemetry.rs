//! Metrics and log of the operator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use liquid_process::logs::Log;
use liquid_process::{InvalidValues, lock};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::api::price::Cost;
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamespaceLabel {
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CostLabels {
    namespace: String,
    proxy: String,
    currency: String,
}

/// The metrics of the operator. Labels are fixed names, and namespaces and names of proxies.
pub struct Metrics {
    registry: Registry,
    reconciliations: Family<OutcomeLabel, Counter>,
    reconciliation: Histogram,
    leader: Gauge,
    pods_without_sidecar: Family<NamespaceLabel, Gauge>,
    /// The namespaces of `pods_without_sidecar`.
    shown_namespaces: Mutex<BTreeSet<String>>,
    evictions: Family<OutcomeLabel, Counter>,
    cost_saved: Family<CostLabels, Gauge<f64, AtomicU64>>,
    /// The labels of `cost_saved`, by namespace and name of the proxy.
    shown_costs: Mutex<BTreeMap<(String, String), CostLabels>>,
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
            pods_without_sidecar: Family::default(),
            shown_namespaces: Mutex::default(),
            evictions: Family::default(),
            cost_saved: Family::default(),
            shown_costs: Mutex::default(),
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
        let help = "Opted-in pods without a sidecar, by namespace; only while this replica writes";
        r.register("pods_without_sidecar", help, metrics.pods_without_sidecar.clone());
        let help = "Evictions of such pods, by outcome: evicted, budget, gone, failed";
        r.register("evictions", help, metrics.evictions.clone());
        let help = "What saved tokens would have cost at spec.price; only while this replica writes";
        r.register("cost_saved", help, metrics.cost_saved.clone());
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

    /// Sets how many opted-in pods have no sidecar, for every namespace that has any.
    pub fn set_pods_without_sidecar(&self, namespaces: &BTreeMap<String, i64>) {
        let mut shown = lock(&self.shown_namespaces);
        for namespace in shown.iter().filter(|name| !namespaces.contains_key(*name)) {
            let namespace = namespace.clone();
            self.pods_without_sidecar.remove(&NamespaceLabel { namespace });
        }
        *shown = namespaces.keys().cloned().collect();
        for (namespace, pods) in namespaces {
            let namespace = namespace.clone();
            self.pods_without_sidecar
                .get_or_create(&NamespaceLabel { namespace })
                .set(*pods);
        }
    }

    /// Sets what a proxy has saved in money; none where it has no price.
    pub fn set_cost_saved(&self, namespace: &str, proxy: &str, cost: Option<Cost>) {
        let key = (namespace.to_owned(), proxy.to_owned());
        let mut shown = lock(&self.shown_costs);
        let now = cost.as_ref().map(|cost| CostLabels {
            namespace: namespace.into(),
            proxy: proxy.into(),
            currency: cost.currency.clone(),
        });
        if let Some(before) = shown.remove(&key).filter(|before| Some(before) != now.as_ref()) {
            self.cost_saved.remove(&before);
        }
        if let (Some(labels), Some(cost)) = (now, cost) {
            self.cost_saved.get_or_create(&labels).set(cost.amount.value());
            shown.insert(key, labels);
        }
    }

    /// Drops what all proxies have saved in money.
    pub fn forget_costs(&self) {
        lock(&self.shown_costs).clear();
        self.cost_saved.clear();
    }

    /// Counts an eviction of a pod without a sidecar; `outcome` is a fixed name.
    pub fn count_eviction(&self, outcome: &'static str) {
        self.evictions.get_or_create(&OutcomeLabel { outcome }).inc();
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
