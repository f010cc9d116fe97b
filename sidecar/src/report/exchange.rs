//! The record of one call, from its arrival to the last byte of its answer; counted when it is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Span;

use super::metrics::Metrics;
use super::retrievals::Retrievals;
use super::trace;
use crate::api::Usage;
use crate::compress::{Action, Decision};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// The whole answer was sent.
    Complete,
    /// The answer broke off, by the error's code.
    Broken(&'static str),
    /// The client went away first.
    ClientGone,
}

impl CallEnd {
    /// Returns the name used in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Broken(code) => code,
            Self::ClientGone => "client_gone",
        }
    }
}

/// One call. Whoever owns the answer's body owns this, so that it ends when the answer does, or the client.
#[derive(Debug)]
pub struct Exchange {
    metrics: Arc<Metrics>,
    span: Span,
    /// The call's place among `limits.max_concurrent_requests`, held for as long as it runs.
    _slot: Option<OwnedSemaphorePermit>,
    pub(super) started: Instant,
    pub(super) surface: &'static str,
    pub(super) decision: &'static str,
    pub(super) reason: &'static str,
    pub(super) status: u16,
    pub(super) upstream: Option<UpstreamTiming>,
    pub(super) usage: Usage,
    pub(super) retrievals: Retrievals,
    pub(super) end: CallEnd,
}

/// When the provider was asked, and how long its first byte took.
#[derive(Debug)]
pub(super) struct UpstreamTiming {
    pub(super) provider: String,
    pub(super) asked: Instant,
    pub(super) first_byte: Duration,
}

impl Exchange {
    /// Starts the record of a call that has just arrived.
    pub fn new(
        metrics: Arc<Metrics>,
        surface: &'static str,
        headers: &HeaderMap,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Self {
        metrics.in_flight.inc();
        Self {
            retrievals: Retrievals::new(Arc::clone(&metrics)),
            metrics,
            span: trace::start_span(headers, surface),
            _slot: slot,
            started: Instant::now(),
            surface,
            decision: "none",
            reason: "none",
            status: 0,
            upstream: None,
            usage: Usage::default(),
            end: CallEnd::ClientGone,
        }
    }

    /// Records the decision; counts tokens and stages.
    pub fn record_decision(&mut self, decision: &Decision) {
        self.decision = decision.action.as_str();
        self.reason = decision.reason.as_str();
        self.metrics.count_decision(self.surface, decision);
        trace::record_decision(&self.span, decision);
    }

    /// Makes the upstream's work a part of this call's trace.
    pub fn inject_trace(&self, headers: &mut HeaderMap) {
        trace::inject(&self.span, headers);
    }

    /// Records what became of a call that was not read, and why.
    pub fn record_unread(&mut self, action: Action, reason: &'static str) {
        self.decision = action.as_str();
        self.reason = reason;
    }

    /// Records the status that the client gets.
    pub fn record_status(&mut self, status: http::StatusCode) {
        self.status = status.as_u16();
    }

    /// Records that the provider was asked at `asked` and that its first byte has come now.
    pub fn record_first_byte(&mut self, provider: &str, asked: Instant) {
        self.upstream = Some(UpstreamTiming {
            provider: provider.into(),
            asked,
            first_byte: asked.elapsed(),
        });
    }

    /// Records the tokens that the upstream billed.
    pub fn record_usage(&mut self, usage: Usage) {
        self.usage = usage;
    }

    /// Returns the count of what the model asks in this call.
    pub fn retrievals(&self) -> Retrievals {
        self.retrievals.clone()
    }

    /// Records that the whole answer was sent.
    pub fn complete(&mut self) {
        self.end = CallEnd::Complete;
    }

    /// Records that the answer broke off.
    pub fn fail(&mut self, code: &'static str) {
        self.end = CallEnd::Broken(code);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.count_call(self);
        trace::record_end(&self.span, self);
        tracing::debug!(
            surface = self.surface,
            decision = self.decision,
            reason = self.reason,
            status = self.status,
            end = self.end.as_str(),
            milliseconds = self.started.elapsed().as_millis(),
            "call"
        );
    }
}
