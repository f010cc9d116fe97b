//! One span a call, and W3C trace context from the client to the upstream.
//!
//! Without an exporter nothing here does anything: the client's `traceparent` goes through as it is.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::global;
use opentelemetry::propagation::{Extractor, Injector};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::exchange::Exchange;
use crate::compress::Decision;

/// The target of every span that is exported.
pub const TARGET: &str = "liquid_sidecar::trace";

/// Starts the span of a call, below the client's own.
pub(super) fn start_span(headers: &HeaderMap, surface: &'static str) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "chat",
        otel.kind = "server",
        otel.name = tracing::field::Empty,
        gen_ai.operation.name = "chat",
        gen_ai.request.model = tracing::field::Empty,
        liquid.surface = surface,
        liquid.decision = tracing::field::Empty,
        liquid.reason = tracing::field::Empty,
        liquid.tokens_before = tracing::field::Empty,
        liquid.tokens_after = tracing::field::Empty,
        liquid.extract_us = tracing::field::Empty,
        liquid.overhead_us = tracing::field::Empty,
        liquid.retrievals = tracing::field::Empty,
        liquid.end = tracing::field::Empty,
        http.response.status_code = tracing::field::Empty,
        gen_ai.provider.name = tracing::field::Empty,
        gen_ai.usage.input_tokens = tracing::field::Empty,
        gen_ai.usage.output_tokens = tracing::field::Empty,
    );
    if !span.is_disabled() {
        let parent = global::get_text_map_propagator(|propagator| propagator.extract(&Incoming(headers)));
        // Refused only when no exporter is there, and then there is no span either.
        let _ = span.set_parent(parent);
    }
    span
}

/// Records the decision.
pub(super) fn record_decision(span: &Span, decision: &Decision) {
    if span.is_disabled() {
        return;
    }
    if let Some(model) = &decision.model {
        span.record("gen_ai.request.model", model);
        span.record("otel.name", format!("chat {model}"));
    }
    span.record("liquid.decision", decision.action.as_str());
    span.record("liquid.reason", decision.reason.as_str());
    span.record("liquid.tokens_before", decision.tokens_before);
    span.record("liquid.tokens_after", decision.tokens_after);
    span.record("liquid.extract_us", decision.stages.extract_us);
    span.record("liquid.overhead_us", decision.stages.total_us);
}

/// Records how the call ended; the span ends with the call.
pub(super) fn record_end(span: &Span, call: &Exchange) {
    if span.is_disabled() {
        return;
    }
    span.record("http.response.status_code", call.status);
    span.record("liquid.end", call.end.as_str());
    let retrievals = call.retrievals.asked();
    if retrievals > 0 {
        span.record("liquid.retrievals", retrievals);
    }
    if let Some(upstream) = &call.upstream {
        span.record("gen_ai.provider.name", &upstream.provider);
    }
    for (field, tokens) in [
        ("gen_ai.usage.input_tokens", call.usage.input),
        ("gen_ai.usage.output_tokens", call.usage.output),
    ] {
        if let Some(tokens) = tokens {
            span.record(field, tokens);
        }
    }
}

/// Makes the upstream's span a child of this one.
pub(super) fn inject(span: &Span, headers: &mut HeaderMap) {
    if !span.is_disabled() {
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&span.context(), &mut Outgoing(headers));
        });
    }
}

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (key.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            self.0.insert(name, value);
        }
    }
}
