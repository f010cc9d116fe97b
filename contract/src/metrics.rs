//! Metrics that another of our programs reads. The worker exports most of these counters; the operator adds them up to
//! `status.usage`. What only Prometheus reads is named where it is counted.

/// What the names of all metrics of a worker begin with.
pub const WORKER_PREFIX: &str = "liquid_worker";

/// A counter of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Name in the worker's registry, without [`WORKER_PREFIX`].
    pub name: &'static str,
    /// Name of its samples in the text format, such as `liquid_worker_documents_total`.
    pub sample: &'static str,
}

macro_rules! worker_counter {
    ($name:literal) => {
        Counter {
            name: $name,
            sample: concat!("liquid_worker_", $name, "_total"),
        }
    };
}

/// Documents answered. This counter and the two of their tokens carry the labels `tier` and `reason`.
pub const DOCUMENTS: Counter = worker_counter!("documents");

/// Tokens of the documents answered.
pub const DOCUMENT_TOKENS: Counter = worker_counter!("document_tokens");

/// Tokens of the spans in the answers.
pub const KEPT_TOKENS: Counter = worker_counter!("kept_tokens");

/// Calls to LLMs that sidecars have reported. This counter and the two of their tokens have no labels.
pub const CALLS: Counter = worker_counter!("calls");

/// Prompt tokens of those calls as they came from the applications.
pub const CALL_TOKENS_BEFORE: Counter = worker_counter!("call_tokens_before");

/// Prompt tokens of those calls as they went on to the LLMs.
pub const CALL_TOKENS_AFTER: Counter = worker_counter!("call_tokens_after");

/// Samples of the sidecar's counter of documents' tokens as they came, with the labels `kind`, `decision` and `reason`. The
/// plugin for kubectl adds it up; `tests/agreement` compares it with what the sidecar exports.
pub const SIDECAR_SITE_TOKENS_BEFORE: &str = "liquid_sidecar_site_tokens_before_total";

/// Samples of the counter of the same documents' tokens as they went on.
pub const SIDECAR_SITE_TOKENS_AFTER: &str = "liquid_sidecar_site_tokens_after_total";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_named_as_the_text_format_names_counters() {
        for counter in [
            DOCUMENTS,
            DOCUMENT_TOKENS,
            KEPT_TOKENS,
            CALLS,
            CALL_TOKENS_BEFORE,
            CALL_TOKENS_AFTER,
        ] {
            assert_eq!(counter.sample, format!("{WORKER_PREFIX}_{}_total", counter.name));
        }
    }
}
