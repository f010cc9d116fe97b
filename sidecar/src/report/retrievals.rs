//! Counts what a model asks of the documents of its call, while the call runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::metrics::Metrics;

/// The count of one call. Clones count together.
#[derive(Debug, Clone)]
pub struct Retrievals {
    metrics: Arc<Metrics>,
    asked: Arc<AtomicU64>,
}

impl Retrievals {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            asked: Arc::default(),
        }
    }

    /// Counts a question by what became of it, a stable name.
    pub fn count(&self, result: &'static str) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.metrics.count_retrieval(result);
    }

    /// Returns how many questions there were.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}
