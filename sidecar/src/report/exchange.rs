//! The record of one call, from its arrival to the last byte of its answer; counted when it is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Span;

use super::metrics::Metrics;
use super::trace;
use crate::api::Usage;
use crate::compress::Decision;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The whole answer was sent.
    Complete,
    /// The answer broke off, by the error's code.
    Broken(&'static str),
    /// The client went away first.
    ClientGone,
}

impl End {
    /// The name used in metrics and logs.
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
    /// Held for as long as the call runs.
    _slot: Option<OwnedSemaphorePermit>,
    pub(super) started: Instant,
    pub(super) surface: &'static str,
    pub(super) decision: &'static str,
    pub(super) reason: &'static str,
    pub(super) status: u16,
    pub(super) upstream: Option<Upstream>,
    pub(super) usage: Usage,
    pub(super) end: End,
}

/// What the upstream did.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) provider: String,
    pub(super) asked: Instant,
    pub(super) first_byte: Duration,
}

impl Exchange {
    /// A call that has just arrived.
    pub fn new(
        metrics: Arc<Metrics>,
        surface: &'static str,
        headers: &HeaderMap,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Self {
        metrics.in_flight.inc();
        Self {
            metrics,
            span: trace::call(headers, surface),
            _slot: slot,
            started: Instant::now(),
            surface,
            decision: "none",
            reason: "none",
            status: 0,
            upstream: None,
            usage: Usage::default(),
            end: End::ClientGone,
        }
    }

    /// What was decided; counts tokens and stages.
    pub fn decided(&mut self, decision: &Decision) {
        self.decision = decision.action.as_str();
        self.reason = decision.reason.as_str();
        self.metrics.decided(self.surface, decision);
        trace::decided(&self.span, decision);
    }

    /// Makes what the upstream does a part of this call's trace.
    pub fn trace(&self, headers: &mut HeaderMap) {
        trace::inject(&self.span, headers);
    }

    /// The call goes through without being read, and why.
    pub fn unread(&mut self, reason: &'static str) {
        self.decision = "passed";
        self.reason = reason;
    }

    /// The status that the client gets.
    pub fn status(&mut self, status: http::StatusCode) {
        self.status = status.as_u16();
    }

    /// An upstream was asked at `asked` and its first byte is here.
    pub fn answered(&mut self, provider: &str, asked: Instant) {
        self.upstream = Some(Upstream {
            provider: provider.into(),
            asked,
            first_byte: asked.elapsed(),
        });
    }

    /// Tokens as billed.
    pub fn usage(&mut self, usage: Usage) {
        self.usage = usage;
    }

    /// The whole answer was sent.
    pub fn complete(&mut self) {
        self.end = End::Complete;
    }

    /// The answer broke off.
    pub fn broken(&mut self, code: &'static str) {
        self.end = End::Broken(code);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.finished(self);
        trace::finished(&self.span, self);
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
