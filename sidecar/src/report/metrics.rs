//! The Prometheus metrics, and the totals behind `GET /liquid/stats`.
//!
//! Names follow OpenTelemetry's GenAI conventions where those have one (`gen_ai.client.token.usage`,
//! `gen_ai.client.operation.duration`, `gen_ai.client.operation.time_to_first_chunk`), in Prometheus spelling.
//! Labels have few values: no model, no path, no caller but those that `access.clients_folder` names.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;

use super::clients::ClientMetrics;
use super::exchange::{CallEnd, Exchange};
use super::interception::InterceptionMetrics;
use super::site_totals::{SiteSum, SiteTotals};
use crate::compress::{Action, CallTotals, Decision, SiteRecord, Stages, WorkerStatus};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    surface: &'static str,
    decision: &'static str,
    reason: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SurfaceLabels {
    surface: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SiteLabels {
    kind: &'static str,
    decision: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EndLabels {
    end: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CacheLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RetrievalLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WorkerLabels {
    worker: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TokenLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: String,
    gen_ai_token_type: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// 0.1 ms to 26 s.
fn stage_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 4.0, 10))
}

/// The buckets that the GenAI conventions recommend for durations.
fn operation_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 2.0, 14))
}

/// The buckets that the GenAI conventions recommend for tokens.
fn token_histogram() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 4.0, 14))
}

/// Every metric of the sidecar.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(super) in_flight: Gauge,
    requests: Family<RequestLabels, Counter>,
    ends: Family<EndLabels, Counter>,
    tokens_before: Family<SurfaceLabels, Counter>,
    tokens_after: Family<SurfaceLabels, Counter>,
    tokens_saved: Family<SurfaceLabels, Counter>,
    site_tokens_before: Family<SiteLabels, Counter>,
    site_tokens_after: Family<SiteLabels, Counter>,
    stages: Histograms<StageLabels>,
    extractions: Family<CacheLabels, Counter>,
    retrievals: Family<RetrievalLabels, Counter>,
    worker_up: Family<WorkerLabels, Gauge>,
    worker_in_flight: Family<WorkerLabels, Gauge>,
    worker_failures: Family<WorkerLabels, Gauge>,
    upstream_connections: Gauge,
    operation: Histograms<OperationLabels>,
    first_chunk: Histograms<OperationLabels>,
    tokens: Histograms<TokenLabels>,
    totals: Totals,
    /// Who called.
    pub clients: ClientMetrics,
    /// Connections to hosts whose TLS ends here.
    pub interception: InterceptionMetrics,
}

#[derive(Debug, Default)]
struct Totals {
    requests: AtomicU64,
    compressed: AtomicU64,
    passed: AtomicU64,
    rejected: AtomicU64,
    tokens_before: AtomicU64,
    tokens_after: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    sites: SiteTotals,
    sent: SentTotals,
}

impl Totals {
    fn count(&self, decision: &Decision) {
        let add = |total: &AtomicU64, count| {
            total.fetch_add(count, Ordering::Relaxed);
        };
        let decided = match decision.action {
            Action::Compressed => &self.compressed,
            Action::Passed => &self.passed,
            Action::Rejected => &self.rejected,
        };
        add(decided, 1);
        add(&self.tokens_before, decision.tokens_before);
        add(&self.tokens_after, decision.tokens_after);
        if decision.action != Action::Rejected && !decision.dry_run {
            add(&self.sent.calls, 1);
            add(&self.sent.tokens_before, decision.tokens_before);
            add(&self.sent.tokens_after, decision.tokens_after);
        }
    }
}

/// Calls that were sent on, without those that were refused and dry runs.
#[derive(Debug, Default)]
struct SentTotals {
    calls: AtomicU64,
    tokens_before: AtomicU64,
    tokens_after: AtomicU64,
}

/// The totals since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Calls that ended, those that passed through included.
    pub requests: u64,
    /// Calls that were compressed.
    pub compressed: u64,
    /// Calls on a surface that went on as they came.
    pub passed: u64,
    /// Calls that were refused because they could not be compressed.
    pub rejected: u64,
    /// Estimated prompt tokens of all calls on a surface as they came.
    pub tokens_before: u64,
    /// Estimated prompt tokens of all calls on a surface as they went on.
    pub tokens_after: u64,
    /// Input tokens as the upstreams billed them, where they said so.
    pub input_tokens: u64,
    /// Output tokens as the upstreams billed them, where they said so.
    pub output_tokens: u64,
    /// Documents, summed up by where they stood and what became of them.
    pub sites: Vec<SiteSum>,
    /// Connections to upstreams that were opened.
    pub upstream_connections: u64,
    /// The workers as seen now.
    pub workers: Vec<WorkerStatus>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Makes and registers every metric.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            in_flight: Gauge::default(),
            requests: Family::default(),
            ends: Family::default(),
            tokens_before: Family::default(),
            tokens_after: Family::default(),
            tokens_saved: Family::default(),
            site_tokens_before: Family::default(),
            site_tokens_after: Family::default(),
            stages: Family::new_with_constructor(stage_histogram),
            extractions: Family::default(),
            retrievals: Family::default(),
            worker_up: Family::default(),
            worker_in_flight: Family::default(),
            worker_failures: Family::default(),
            upstream_connections: Gauge::default(),
            operation: Family::new_with_constructor(operation_histogram),
            first_chunk: Family::new_with_constructor(operation_histogram),
            tokens: Family::new_with_constructor(token_histogram),
            totals: Totals::default(),
            clients: ClientMetrics::default(),
            interception: InterceptionMetrics::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        self.register_calls();
        self.register_documents();
        self.register_provider();
        self.clients.register(&mut self.registry);
        self.interception.register(&mut self.registry);
    }

    fn register_calls(&mut self) {
        let liquid = self.registry.sub_registry_with_prefix("liquid_sidecar");
        liquid.register("requests_in_flight", "Calls that run now", self.in_flight.clone());
        liquid.register("requests", "Calls that ended, by decision", self.requests.clone());
        liquid.register(
            "answers",
            "Calls that ended, by how they ended",
            self.ends.clone(),
        );
        let stages = "Time spent before the upstream is asked";
        liquid.register_with_unit("stage_duration", stages, Unit::Seconds, self.stages.clone());
        let before = "Estimated prompt tokens of the calls as they came";
        liquid.register("prompt_tokens_before", before, self.tokens_before.clone());
        let after = "Estimated prompt tokens of the calls as they went on";
        liquid.register("prompt_tokens_after", after, self.tokens_after.clone());
        liquid.register(
            "prompt_tokens_saved",
            "Estimated prompt tokens saved",
            self.tokens_saved.clone(),
        );
    }

    fn register_documents(&mut self) {
        let liquid = self.registry.sub_registry_with_prefix("liquid_sidecar");
        let before =
            "Estimated tokens of documents as they came, by where they stand and what became of them";
        liquid.register("site_tokens_before", before, self.site_tokens_before.clone());
        let after = "Estimated tokens of documents as they went on";
        liquid.register("site_tokens_after", after, self.site_tokens_after.clone());
        liquid.register(
            "extractions",
            "Extractions, by cache result",
            self.extractions.clone(),
        );
        let asked = "Questions of models about documents of their calls, by what became of them";
        liquid.register("retrievals", asked, self.retrievals.clone());
        liquid.register("worker_up", "1 if the worker is asked", self.worker_up.clone());
        liquid.register(
            "worker_in_flight",
            "Calls that the worker works on",
            self.worker_in_flight.clone(),
        );
        liquid.register(
            "worker_failures",
            "Failures of the worker since the start",
            self.worker_failures.clone(),
        );
    }

    fn register_provider(&mut self) {
        let liquid = self.registry.sub_registry_with_prefix("liquid_sidecar");
        let opened = "Connections to upstreams that were opened since the start, on this machine or beyond";
        liquid.register("upstream_connections", opened, self.upstream_connections.clone());
        let client = self.registry.sub_registry_with_prefix("gen_ai_client");
        let operation = "Time from asking the provider to the last byte of its answer";
        client.register_with_unit(
            "operation_duration",
            operation,
            Unit::Seconds,
            self.operation.clone(),
        );
        let first = "Time from asking the provider to the first byte of its answer";
        client.register_with_unit(
            "operation_time_to_first_chunk",
            first,
            Unit::Seconds,
            self.first_chunk.clone(),
        );
        client.register(
            "token_usage",
            "Tokens that the provider billed",
            self.tokens.clone(),
        );
    }

    /// Counts a decision: its tokens, stages and cache result.
    pub(super) fn count_decision(&self, surface: &'static str, decision: &Decision) {
        let saved = decision.tokens_before.saturating_sub(decision.tokens_after);
        let labels = SurfaceLabels { surface };
        self.tokens_before
            .get_or_create(&labels)
            .inc_by(decision.tokens_before);
        self.tokens_after
            .get_or_create(&labels)
            .inc_by(decision.tokens_after);
        self.tokens_saved.get_or_create(&labels).inc_by(saved);
        self.count_sites(&decision.sites);
        self.observe_stages(&decision.stages);
        self.totals.count(decision);
    }

    fn count_sites(&self, sites: &[SiteRecord]) {
        for site in sites {
            self.totals.sites.add(site);
            let labels = SiteLabels {
                kind: site.kind.as_str(),
                decision: site.action.as_str(),
                reason: site.reason.as_str(),
            };
            self.site_tokens_before
                .get_or_create(&labels)
                .inc_by(site.tokens_before);
            self.site_tokens_after
                .get_or_create(&labels)
                .inc_by(site.tokens_after);
        }
    }

    fn observe_stages(&self, stages: &Stages) {
        for (stage, microseconds) in [
            ("read", stages.read_us),
            ("plan", stages.plan_us),
            ("extract", stages.extract_us),
            ("pack", stages.pack_us),
            ("overhead", stages.total_us),
        ] {
            if microseconds > 0 {
                self.stages
                    .get_or_create(&StageLabels { stage })
                    .observe(microseconds as f64 / 1e6);
            }
        }
        if stages.extract_us > 0 {
            let result = if stages.extract_cached { "hit" } else { "miss" };
            self.extractions.get_or_create(&CacheLabels { result }).inc();
        }
    }

    /// Counts a question of a model about a document.
    pub(super) fn count_retrieval(&self, result: &'static str) {
        self.retrievals.get_or_create(&RetrievalLabels { result }).inc();
    }

    /// Counts a call that has ended.
    pub(super) fn count_call(&self, call: &Exchange) {
        self.totals.requests.fetch_add(1, Ordering::Relaxed);
        let Exchange {
            surface,
            decision,
            reason,
            status,
            ..
        } = *call;
        self.requests
            .get_or_create(&RequestLabels {
                surface,
                decision,
                reason,
                status,
            })
            .inc();
        self.ends
            .get_or_create(&EndLabels {
                end: call.end.as_str(),
            })
            .inc();
        let Some(upstream) = &call.upstream else { return };
        let operation = OperationLabels {
            gen_ai_operation_name: "chat",
            gen_ai_provider_name: upstream.provider.clone(),
        };
        self.first_chunk
            .get_or_create(&operation)
            .observe(upstream.first_byte.as_secs_f64());
        if call.end == CallEnd::Complete {
            self.operation
                .get_or_create(&operation)
                .observe(upstream.asked.elapsed().as_secs_f64());
        }
        let OperationLabels {
            gen_ai_operation_name,
            gen_ai_provider_name,
        } = operation;
        let counts = [
            ("input", call.usage.input, &self.totals.input_tokens),
            ("output", call.usage.output, &self.totals.output_tokens),
        ];
        for (gen_ai_token_type, count, total) in counts {
            let Some(count) = count else { continue };
            total.fetch_add(count, Ordering::Relaxed);
            let gen_ai_provider_name = gen_ai_provider_name.clone();
            let labels = TokenLabels {
                gen_ai_operation_name,
                gen_ai_provider_name,
                gen_ai_token_type,
            };
            self.tokens.get_or_create(&labels).observe(count as f64);
        }
    }

    /// Writes the text that Prometheus scrapes, with the workers as they are now.
    ///
    /// # Errors
    /// None in practice: writing to a string does not fail.
    pub fn scrape(
        &self,
        workers: &[WorkerStatus],
        upstream_connections: u64,
    ) -> Result<String, std::fmt::Error> {
        let connections = i64::try_from(upstream_connections).unwrap_or(i64::MAX);
        self.upstream_connections.set(connections);
        for family in [&self.worker_up, &self.worker_in_flight, &self.worker_failures] {
            family.clear();
        }
        for status in workers {
            let labels = WorkerLabels {
                worker: status.address.clone(),
            };
            self.worker_up
                .get_or_create(&labels)
                .set(i64::from(status.healthy));
            self.worker_in_flight
                .get_or_create(&labels)
                .set(i64::from(status.in_flight));
            self.worker_failures
                .get_or_create(&labels)
                .set(i64::try_from(status.failed).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Returns what the calls that were sent on have come to since the start.
    pub fn call_totals(&self) -> CallTotals {
        let read = |total: &AtomicU64| total.load(Ordering::Relaxed);
        let sent = &self.totals.sent;
        CallTotals {
            calls: read(&sent.calls),
            tokens_before: read(&sent.tokens_before),
            tokens_after: read(&sent.tokens_after),
        }
    }

    /// Returns the totals since the start.
    pub fn stats(&self, workers: Vec<WorkerStatus>, upstream_connections: u64) -> Stats {
        let read = |total: &AtomicU64| total.load(Ordering::Relaxed);
        let totals = &self.totals;
        Stats {
            requests: read(&totals.requests),
            compressed: read(&totals.compressed),
            passed: read(&totals.passed),
            rejected: read(&totals.rejected),
            tokens_before: read(&totals.tokens_before),
            tokens_after: read(&totals.tokens_after),
            input_tokens: read(&totals.input_tokens),
            output_tokens: read(&totals.output_tokens),
            sites: totals.sites.sums(),
            upstream_connections,
            workers,
        }
    }
}
