//! What the decoder's answers are counted as: under the names of vLLM, which autoscalers, schedulers and dashboards read,
//! with vLLM's buckets; and requests by route under ours.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::http::StatusCode;
use liquid_decoder::{FinishReason, KvCache, Usage};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::runtime::Decoder;

const FIRST_TOKEN: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
const NEXT_TOKEN: [f64; 19] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
const REQUEST: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
    status: u16,
}

/// The model's name is the configuration's: a client that asks for another one gets no answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabel {
    model_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FinishLabels {
    model_name: String,
    finished_reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    model_name: String,
    block_size: String,
    num_gpu_blocks: String,
}

/// Times of one model's answers.
type Times = Family<ModelLabel, Histogram, fn() -> Histogram>;

/// Registers times.
trait RegisterSeconds {
    fn register_seconds(&mut self, name: &str, help: &str, times: &Times);
}

impl RegisterSeconds for Registry {
    fn register_seconds(&mut self, name: &str, help: &str, times: &Times) {
        self.register_with_unit(name, help, Unit::Seconds, times.clone());
    }
}

/// Metrics of the decoder's answers. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct AnswerMetrics {
    requests: Family<RouteLabels, Counter>,
    running: Family<ModelLabel, Gauge>,
    waiting: Family<ModelLabel, Gauge>,
    cache_usage: Family<ModelLabel, Gauge<f64, AtomicU64>>,
    cache_config: Family<CacheLabels, Gauge>,
    prefix_queries: Family<ModelLabel, Counter>,
    prefix_hits: Family<ModelLabel, Counter>,
    prompt_tokens: Family<ModelLabel, Counter>,
    generation_tokens: Family<ModelLabel, Counter>,
    preemptions: Family<ModelLabel, Counter>,
    success: Family<FinishLabels, Counter>,
    first_token: Family<ModelLabel, Histogram, fn() -> Histogram>,
    output_token: Family<ModelLabel, Histogram, fn() -> Histogram>,
    inter_token: Family<ModelLabel, Histogram, fn() -> Histogram>,
    latency: Family<ModelLabel, Histogram, fn() -> Histogram>,
    queue_time: Family<ModelLabel, Histogram, fn() -> Histogram>,
}

/// Those of one model.
pub(super) struct ModelMetrics {
    metrics: AnswerMetrics,
    label: ModelLabel,
}

impl Default for AnswerMetrics {
    fn default() -> Self {
        let times = |make: fn() -> Histogram| Family::new_with_constructor(make);
        Self {
            requests: Family::default(),
            running: Family::default(),
            waiting: Family::default(),
            cache_usage: Family::default(),
            cache_config: Family::default(),
            prefix_queries: Family::default(),
            prefix_hits: Family::default(),
            prompt_tokens: Family::default(),
            generation_tokens: Family::default(),
            preemptions: Family::default(),
            success: Family::default(),
            first_token: times(|| Histogram::new(FIRST_TOKEN)),
            output_token: times(|| Histogram::new(NEXT_TOKEN)),
            inter_token: times(|| Histogram::new(NEXT_TOKEN)),
            latency: times(|| Histogram::new(REQUEST)),
            queue_time: times(|| Histogram::new(REQUEST)),
        }
    }
}

impl AnswerMetrics {
    /// Registers the metrics under our prefix in `ours`, and those under vLLM's names in `vllm`, which has none.
    pub(crate) fn register(&self, ours: &mut Registry, vllm: &mut Registry) {
        let help = "Requests over HTTP, by route and status";
        ours.register("http_requests", help, self.requests.clone());
        let help = "Answers that are being written";
        vllm.register("vllm:num_requests_running", help, self.running.clone());
        let help = "Requests to the decoder that wait";
        vllm.register("vllm:num_requests_waiting", help, self.waiting.clone());
        let help = "Share of the memory for keys and values that running answers use, 0 to 1";
        vllm.register("vllm:kv_cache_usage_perc", help, self.cache_usage.clone());
        let help = "1, with the tokens of a page and the number of pages in labels";
        vllm.register("vllm:cache_config_info", help, self.cache_config.clone());
        let help = "Tokens of prompts that were looked for in the memory";
        vllm.register("vllm:prefix_cache_queries", help, self.prefix_queries.clone());
        let help = "Tokens of prompts that were there";
        vllm.register("vllm:prefix_cache_hits", help, self.prefix_hits.clone());
        let help = "Tokens of prompts";
        vllm.register("vllm:prompt_tokens", help, self.prompt_tokens.clone());
        let help = "Tokens that were written";
        vllm.register("vllm:generation_tokens", help, self.generation_tokens.clone());
        let help = "Answers that were put back to make room: always 0, room is reserved beforehand";
        vllm.register("vllm:num_preemptions", help, self.preemptions.clone());
        let help = "Answers that ended, by reason: stop, length, cancelled, deadline";
        vllm.register("vllm:request_success", help, self.success.clone());
        self.register_times(vllm);
    }

    fn register_times(&self, vllm: &mut Registry) {
        let help = "Time to the first token";
        vllm.register_seconds("vllm:time_to_first_token", help, &self.first_token);
        let help = "Time between two tokens; vLLM's older name";
        vllm.register_seconds("vllm:time_per_output_token", help, &self.output_token);
        let help = "Time between two tokens";
        vllm.register_seconds("vllm:inter_token_latency", help, &self.inter_token);
        let help = "Time of an answer";
        vllm.register_seconds("vllm:e2e_request_latency", help, &self.latency);
        let help = "Time that a request waited before its prompt was read";
        vllm.register_seconds("vllm:request_queue_time", help, &self.queue_time);
    }

    pub(super) fn count_request(&self, route: &'static str, status: StatusCode) {
        let status = status.as_u16();
        self.requests.get_or_create(&RouteLabels { route, status }).inc();
    }

    pub(super) fn of_model(&self, name: &str) -> ModelMetrics {
        ModelMetrics {
            metrics: self.clone(),
            label: ModelLabel {
                model_name: name.to_owned(),
            },
        }
    }

    /// Reads what the engine counts.
    pub(crate) fn read(&self, decoder: &Decoder) {
        let load = decoder.engine.load();
        let label = ModelLabel {
            model_name: decoder.name.clone(),
        };
        self.running.get_or_create(&label).set(load.running as i64);
        self.waiting.get_or_create(&label).set(load.waiting as i64);
        let used = load.pages_used as f64 / load.pages.max(1) as f64;
        self.cache_usage.get_or_create(&label).set(used);
        let config = CacheLabels {
            model_name: decoder.name.clone(),
            block_size: KvCache::PAGE_TOKENS.to_string(),
            num_gpu_blocks: load.pages.to_string(),
        };
        self.cache_config.get_or_create(&config).set(1);
        for (counter, count) in [
            (&self.prefix_queries, load.prefix_query_tokens),
            (&self.prefix_hits, load.prefix_hit_tokens),
            (&self.prompt_tokens, load.prompt_tokens),
            (&self.generation_tokens, load.generated_tokens),
            (&self.preemptions, 0),
        ] {
            let counter = counter.get_or_create(&label);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}

impl ModelMetrics {
    pub(super) fn first_token(&self, time: Duration) {
        let times = self.metrics.first_token.get_or_create(&self.label);
        times.observe(time.as_secs_f64());
    }

    pub(super) fn next_token(&self, time: Duration) {
        for times in [&self.metrics.output_token, &self.metrics.inter_token] {
            times.get_or_create(&self.label).observe(time.as_secs_f64());
        }
    }

    /// Counts an answer that ended for `reason`, `time` after its request came.
    pub(super) fn finished(&self, reason: FinishReason, usage: &Usage, time: Duration) {
        for (times, time) in [
            (&self.metrics.latency, time),
            (&self.metrics.queue_time, usage.queued),
        ] {
            times.get_or_create(&self.label).observe(time.as_secs_f64());
        }
        self.count_end(reason);
    }

    /// Counts an answer that its client did not wait for, or that a drain cut off.
    pub(super) fn cancelled(&self) {
        self.count_end(FinishReason::Cancelled);
    }

    fn count_end(&self, reason: FinishReason) {
        let labels = FinishLabels {
            model_name: self.label.model_name.clone(),
            finished_reason: reason.name(),
        };
        self.metrics.success.get_or_create(&labels).inc();
    }
}
