//! What the worker counts, in the OpenMetrics text format. Labels are fixed names: nothing that a client sends
//! becomes one.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use liquid_contract::metrics as names;
use liquid_proto::worker::v1::ReportRequest;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[cfg(feature = "cuda")]
mod gpu;

use super::convert::ServerTimes;
use crate::engine::Facts;
use crate::openai::AnswerMetrics;
use crate::runtime::{JobAnswer, LoadPhase, LoadProgress, Runtime};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TierLabels {
    tier: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OriginLabel {
    origin: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

/// The worker's metrics.
pub(super) struct Metrics {
    registry: Registry,
    /// Metrics under the names of vLLM, which have no prefix of ours.
    foreign: Registry,
    runtime: OnceLock<Runtime>,
    progress: LoadProgress,
    answers: AnswerMetrics,
    documents: Family<TierLabels, Counter>,
    document_tokens: Family<TierLabels, Counter>,
    kept_tokens: Family<TierLabels, Counter>,
    calls: Counter,
    call_tokens_before: Counter,
    call_tokens_after: Counter,
    cache_hits: Counter,
    errors: Family<CodeLabel, Counter>,
    refused_connections: Family<ReasonLabel, Counter>,
    tls_reloads: Family<ReloadLabel, Counter>,
    stages: Family<StageLabel, Histogram, fn() -> Histogram>,
    encoded_tokens: Counter,
    facts: Family<OriginLabel, Counter>,
    dropped_facts: Counter,
    fact_tokens: Family<DirectionLabel, Counter>,
    queue_depth: Gauge,
    requests_in_flight: Gauge,
    tokens_in_flight: Gauge,
    buffered: Gauge,
    load_phase: Family<PhaseLabel, Gauge>,
    load_time: Family<PhaseLabel, Gauge<f64, AtomicU64>>,
    decoder_weights: Gauge,
    decoder_weights_read: Gauge,
    #[cfg(feature = "cuda")]
    gpu: gpu::GpuMetrics,
}

/// Makes a histogram with buckets from 0.1 ms to 26 s.
fn stage_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 4.0, 10))
}

impl Metrics {
    pub(super) fn new(progress: LoadProgress) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix(names::WORKER_PREFIX),
            foreign: Registry::default(),
            runtime: OnceLock::new(),
            progress,
            answers: AnswerMetrics::default(),
            documents: Family::default(),
            document_tokens: Family::default(),
            kept_tokens: Family::default(),
            calls: Counter::default(),
            call_tokens_before: Counter::default(),
            call_tokens_after: Counter::default(),
            cache_hits: Counter::default(),
            errors: Family::default(),
            refused_connections: Family::default(),
            tls_reloads: Family::default(),
            stages: Family::new_with_constructor(stage_histogram),
            encoded_tokens: Counter::default(),
            facts: Family::default(),
            dropped_facts: Counter::default(),
            fact_tokens: Family::default(),
            queue_depth: Gauge::default(),
            requests_in_flight: Gauge::default(),
            tokens_in_flight: Gauge::default(),
            buffered: Gauge::default(),
            load_phase: Family::default(),
            load_time: Family::default(),
            decoder_weights: Gauge::default(),
            decoder_weights_read: Gauge::default(),
            #[cfg(feature = "cuda")]
            gpu: gpu::GpuMetrics::default(),
        };
        metrics.register();
        metrics.register_calls();
        metrics.register_tls();
        metrics.register_load();
        metrics.register_facts();
        metrics
            .answers
            .register(&mut metrics.registry, &mut metrics.foreign);
        #[cfg(feature = "cuda")]
        metrics.registry.register_collector(Box::new(metrics.gpu.clone()));
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register(
            names::DOCUMENTS.name,
            "Documents answered, by the tier that ran and why",
            self.documents.clone(),
        );
        r.register(
            names::DOCUMENT_TOKENS.name,
            "Tokens of the documents answered",
            self.document_tokens.clone(),
        );
        r.register(
            names::KEPT_TOKENS.name,
            "Tokens of the spans in the answers",
            self.kept_tokens.clone(),
        );
        r.register(
            "cache_hits",
            "Answers from the result cache",
            self.cache_hits.clone(),
        );
        r.register(
            "errors",
            "Requests without an answer, by gRPC status",
            self.errors.clone(),
        );
        let help = "Time of an answer by stage: receive, queue, prepare, score (of it: encode), select, facts, total";
        r.register_with_unit("stage", help, Unit::Seconds, self.stages.clone());
        r.register(
            "encoded_tokens",
            "Tokens that the forward pass has read",
            self.encoded_tokens.clone(),
        );
        r.register(
            "queue_depth",
            "Requests that wait for a slot",
            self.queue_depth.clone(),
        );
        r.register(
            "requests_in_flight",
            "Requests that wait or run",
            self.requests_in_flight.clone(),
        );
        r.register(
            "tokens_in_flight",
            "Document tokens (estimated) of those",
            self.tokens_in_flight.clone(),
        );
        let help = "Documents that arrive, wait or are being read";
        r.register_with_unit("buffered", help, Unit::Bytes, self.buffered.clone());
    }

    fn register_calls(&mut self) {
        let r = &mut self.registry;
        r.register(
            names::CALLS.name,
            "Calls to LLMs that sidecars have reported to this worker",
            self.calls.clone(),
        );
        r.register(
            names::CALL_TOKENS_BEFORE.name,
            "Prompt tokens (estimated) of reported calls as they came from the applications",
            self.call_tokens_before.clone(),
        );
        r.register(
            names::CALL_TOKENS_AFTER.name,
            "Prompt tokens (estimated) of reported calls as they went on to the LLMs",
            self.call_tokens_after.clone(),
        );
    }

    fn register_tls(&mut self) {
        let r = &mut self.registry;
        r.register(
            "refused_connections",
            "Connections that ended in the TLS handshake, by reason: identity, certificate, untrusted, handshake, timeout",
            self.refused_connections.clone(),
        );
        r.register(
            "tls_reloads",
            "Changes of the TLS files that were taken over (ok) or could not be used (failed)",
            self.tls_reloads.clone(),
        );
    }

    fn register_load(&mut self) {
        let r = &mut self.registry;
        r.register(
            "load_phase",
            "1 for the step of the start that runs or ran last: models, decoder_weights, decoder_tokenizer, decoder_memory, warm_up",
            self.load_phase.clone(),
        );
        let help = "Time that each step of the start took, the last one until now";
        r.register_with_unit("load_time", help, Unit::Seconds, self.load_time.clone());
        let help = "Files of the decoder's weights";
        r.register_with_unit("decoder_weights", help, Unit::Bytes, self.decoder_weights.clone());
        let help = "What of the decoder's weights is read";
        r.register_with_unit(
            "decoder_weights_read",
            help,
            Unit::Bytes,
            self.decoder_weights_read.clone(),
        );
    }

    fn register_facts(&mut self) {
        let r = &mut self.registry;
        r.register(
            "facts",
            "Facts in the answers, by how they were read: constrained, strict, repaired, picked, evidence",
            self.facts.clone(),
        );
        r.register(
            "facts_dropped",
            "Facts that were left out because their quote is not in the passage",
            self.dropped_facts.clone(),
        );
        r.register(
            "fact_tokens",
            "Tokens that facts took, by direction: read (those in memory not counted), written",
            self.fact_tokens.clone(),
        );
    }

    /// Ends the start: its times do not grow any more.
    pub(super) fn loaded(&self) {
        self.progress.end();
    }

    /// Says for a person how far the start is.
    pub(super) fn load_progress(&self) -> String {
        self.progress.describe()
    }

    /// Returns the metrics of answers that the decoder writes.
    pub(super) fn answers(&self) -> AnswerMetrics {
        self.answers.clone()
    }

    /// Reads the gauges from this runtime from now on.
    pub(super) fn observe(&self, runtime: &Runtime) {
        // Set once, at the start; a second runtime does not come.
        let _ = self.runtime.set(runtime.clone());
        #[cfg(feature = "cuda")]
        if let Some(uuid) = runtime.model().and_then(|(_, card, _)| card.gpu.as_deref()) {
            self.gpu.watch(uuid);
        }
    }

    pub(super) fn count_answer(&self, answer: &JobAnswer, times: &ServerTimes) {
        let extraction = &answer.extraction;
        let ran = TierLabels {
            tier: extraction.tier.name(),
            reason: extraction.tier_reason.name(),
        };
        self.documents.get_or_create(&ran).inc();
        self.document_tokens
            .get_or_create(&ran)
            .inc_by(extraction.counts.document_tokens);
        self.kept_tokens
            .get_or_create(&ran)
            .inc_by(extraction.counts.kept_tokens);
        self.observe_stage("receive", times.receive);
        self.observe_stage("total", times.total);
        if answer.cached {
            self.cache_hits.inc();
            return;
        }
        self.observe_stage("queue", answer.queue);
        self.observe_stage("prepare", extraction.timing.prepare);
        self.observe_stage("score", extraction.timing.score);
        if extraction.encoded_tokens > 0 {
            self.observe_stage("encode", extraction.timing.encode);
        }
        self.observe_stage("select", extraction.timing.select);
        if let Some(facts) = &extraction.facts {
            self.count_facts(facts);
        }
    }

    fn count_facts(&self, facts: &Facts) {
        self.observe_stage("facts", facts.time);
        for fact in &facts.facts {
            let origin = fact.origin.name();
            self.facts.get_or_create(&OriginLabel { origin }).inc();
        }
        self.dropped_facts.inc_by(facts.dropped as u64);
        for (direction, tokens) in [("read", facts.read_tokens), ("written", facts.written_tokens)] {
            self.fact_tokens
                .get_or_create(&DirectionLabel { direction })
                .inc_by(tokens as u64);
        }
    }

    pub(super) fn count_calls(&self, report: &ReportRequest) {
        self.calls.inc_by(report.calls);
        self.call_tokens_before.inc_by(report.tokens_before);
        self.call_tokens_after.inc_by(report.tokens_after);
    }

    fn observe_stage(&self, stage: &'static str, time: Duration) {
        self.stages
            .get_or_create(&StageLabel { stage })
            .observe(time.as_secs_f64());
    }

    pub(super) fn count_error(&self, code: tonic::Code) {
        let code = match code {
            tonic::Code::InvalidArgument => "invalid_argument",
            tonic::Code::ResourceExhausted => "resource_exhausted",
            tonic::Code::DeadlineExceeded => "deadline_exceeded",
            tonic::Code::Unavailable => "unavailable",
            tonic::Code::Cancelled => "cancelled",
            _ => "internal",
        };
        self.errors.get_or_create(&CodeLabel { code }).inc();
    }

    pub(super) fn count_refused(&self, reason: &'static str) {
        self.refused_connections
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    pub(super) fn count_reload(&self, worked: bool) {
        let result = if worked { "ok" } else { "failed" };
        self.tls_reloads.get_or_create(&ReloadLabel { result }).inc();
    }

    fn read_progress(&self) {
        let phase = self.progress.phase();
        for name in LoadPhase::NAMES {
            let current = i64::from(name == phase.name());
            let label = PhaseLabel { phase: name };
            self.load_phase.get_or_create(&label).set(current);
        }
        for (phase, time) in self.progress.times() {
            let label = PhaseLabel { phase: phase.name() };
            self.load_time.get_or_create(&label).set(time.as_secs_f64());
            if let LoadPhase::DecoderWeights { bytes } = phase {
                self.decoder_weights.set(bytes as i64);
            }
        }
        self.decoder_weights_read.set(self.progress.weights_read() as i64);
    }

    /// Renders all metrics in the OpenMetrics text format.
    pub(super) fn render(&self) -> Result<String, std::fmt::Error> {
        if let Some(runtime) = self.runtime.get() {
            let load = runtime.load();
            self.queue_depth.set(load.queue_depth.into());
            self.requests_in_flight.set(load.requests_in_flight.into());
            self.tokens_in_flight.set(load.tokens_in_flight as i64);
            self.buffered.set(load.buffered_bytes as i64);
            self.encoded_tokens
                .inc_by(runtime.encoded_tokens().saturating_sub(self.encoded_tokens.get()));
            if let Some(decoder) = runtime.decoder() {
                self.decoder_weights.set(decoder.weights_bytes as i64);
                self.answers.read(decoder);
            }
        }
        self.read_progress();
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &self.foreign)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}
