//! The load of workers, read from their metrics.

use std::ops::Add;

use liquid_contract::metrics::{CALLS, DOCUMENTS};

use crate::samples;

/// Document tokens that run or wait. `tests/agreement` compares it with what a worker shows.
const TOKENS_IN_FLIGHT: &str = "liquid_worker_tokens_in_flight";
/// Requests that wait for the language model.
const REQUESTS_WAITING: &str = "vllm:num_requests_waiting";
/// Answers that the language model writes.
const REQUESTS_RUNNING: &str = "vllm:num_requests_running";
/// Answers to requests over HTTP.
const HTTP_REQUESTS: &str = "liquid_worker_http_requests_total";

/// The load of one worker, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Document tokens that run or wait.
    pub tokens: i64,
    /// Requests that wait for the language model.
    pub waiting: i64,
    /// Answers that the language model writes.
    pub running: i64,
    /// What was done since the start: where it changes, somebody has asked.
    pub done: i64,
}

impl Add for Load {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            waiting: self.waiting.saturating_add(other.waiting),
            running: self.running.saturating_add(other.running),
            done: self.done.saturating_add(other.done),
        }
    }
}

/// Parses the load in a worker's metrics. Other metrics are ignored.
pub fn parse_load(metrics: &str) -> Load {
    samples::parse(metrics).fold(Load::default(), |load, sample| {
        let mut more = Load::default();
        let part = match sample.name {
            TOKENS_IN_FLIGHT => &mut more.tokens,
            REQUESTS_WAITING => &mut more.waiting,
            REQUESTS_RUNNING => &mut more.running,
            HTTP_REQUESTS => &mut more.done,
            name if name == DOCUMENTS.sample || name == CALLS.sample => &mut more.done,
            _ => return load,
        };
        *part = sample.number().unwrap_or_default();
        load + more
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_summed_and_the_rest_is_ignored() {
        let text = "# TYPE x gauge\nliquid_worker_tokens_in_flight 1200\n\
                    vllm:num_requests_waiting{model_name=\"m\"} 2\n\
                    vllm:num_requests_running{model_name=\"m\"} 5\n\
                    liquid_worker_documents_total{tier=\"static\",reason=\"as_asked\"} 3\n\
                    liquid_worker_documents_total{tier=\"lexical\",reason=\"as_asked\"} 4\n\
                    liquid_worker_calls_total 10\nliquid_worker_http_requests_total{route=\"r\",status=\"200\"} 1\n\
                    liquid_worker_queue_depth 9\n";
        let load = Load {
            tokens: 1_200,
            waiting: 2,
            running: 5,
            done: 18,
        };
        assert_eq!(parse_load(text), load);
        assert_eq!(parse_load(""), Load::default());
    }
}
