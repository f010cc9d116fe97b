//! Metrics that another of our programs reads. The worker exports these counters; the operator adds them up to
//! `status.usage`. What only Prometheus reads is named where it is counted.

/// What the names of all metrics of a worker begin with.
pub const WORKER_PREFIX: &str = "liquid_worker";

/// A counter of the worker. Its samples carry the labels `tier` and `reason`.
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

/// Documents answered.
pub const DOCUMENTS: Counter = worker_counter!("documents");

/// Tokens of the documents answered.
pub const DOCUMENT_TOKENS: Counter = worker_counter!("document_tokens");

/// Tokens of the spans in the answers.
pub const KEPT_TOKENS: Counter = worker_counter!("kept_tokens");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_named_as_the_text_format_names_counters() {
        for counter in [DOCUMENTS, DOCUMENT_TOKENS, KEPT_TOKENS] {
            assert_eq!(counter.sample, format!("{WORKER_PREFIX}_{}_total", counter.name));
        }
    }
}
