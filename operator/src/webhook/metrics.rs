//! The metrics of the webhook.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::inject::Note;

/// The result of a review, as metrics and log name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReviewResult {
    /// The pod got the sidecar, or variables that it lacked.
    Injected,
    /// The pod has all it needs.
    Unchanged,
    /// The pod is not served, and was allowed as it is.
    Passed,
    /// The pod was refused.
    Denied,
}

impl ReviewResult {
    /// Returns the stable name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Unchanged => "unchanged",
            Self::Passed => "passed",
            Self::Denied => "denied",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// The webhook's metrics.
#[derive(Debug)]
pub struct WebhookMetrics {
    reviews: Family<ResultLabel, Counter>,
    notes: Family<ReasonLabel, Counter>,
    duration: Histogram,
    dropped: Counter,
    handshakes_failed: Counter,
    certificate_expires: Gauge,
}

impl Default for WebhookMetrics {
    fn default() -> Self {
        Self {
            reviews: Family::default(),
            notes: Family::default(),
            // 0.1 ms to 3.3 s.
            duration: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
            dropped: Counter::default(),
            handshakes_failed: Counter::default(),
            certificate_expires: Gauge::default(),
        }
    }
}

impl WebhookMetrics {
    /// Registers them with the prefix `webhook`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("webhook");
        registry.register("reviews", "Reviews by result", self.reviews.clone());
        registry.register("notes", "Things said about pods, by reason", self.notes.clone());
        registry.register_with_unit(
            "review_duration",
            "From the review's arrival to its answer",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register(
            "events_dropped",
            "Events that were not written because too many waited",
            self.dropped.clone(),
        );
        registry.register(
            "handshakes_failed",
            "TLS handshakes that failed or took too long",
            self.handshakes_failed.clone(),
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the webhook's certificate expires, as a Unix time",
            self.certificate_expires.clone(),
        );
    }

    pub(super) fn count_review(&self, result: ReviewResult, notes: &[Note], took: Duration) {
        let result = ResultLabel {
            result: result.name(),
        };
        self.reviews.get_or_create(&result).inc();
        for note in notes {
            let reason = note.reason.as_str();
            self.notes.get_or_create(&ReasonLabel { reason }).inc();
        }
        self.duration.observe(took.as_secs_f64());
    }

    pub(super) fn count_dropped_event(&self) {
        self.dropped.inc();
    }

    pub(super) fn count_failed_handshake(&self) {
        self.handshakes_failed.inc();
    }

    pub(super) fn set_certificate_expiry(&self, unix_seconds: i64) {
        self.certificate_expires.set(unix_seconds);
    }
}
