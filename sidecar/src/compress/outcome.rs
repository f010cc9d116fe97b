//! What goes out: the body to forward or the reason to refuse, and the decision that reports, counts and logs
//! it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::api::{Reason, Surface};
use crate::pack::{Manifest, SpanKind};

/// What to do with a call.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Send `body` upstream.
    Forward {
        /// The caller's own bytes when nothing was changed; the same allocation, unless a worker was asked
        /// about a long document. A `/v1/hybrid_chat` body always leaves as a chat completion, so it is
        /// always new.
        body: Bytes,
        /// The decision behind the body.
        decision: Box<Decision>,
        /// What was kept, when a document was compressed and the call wants it.
        evidence: Option<Arc<Evidence>>,
    },
    /// Answer the caller with an error, and send nothing upstream.
    Reject {
        /// The error to answer with.
        rejection: Rejection,
        /// The decision behind the rejection.
        decision: Box<Decision>,
    },
}

impl Outcome {
    /// Returns the decision, whichever way it went.
    pub fn decision(&self) -> &Decision {
        match self {
            Self::Forward { decision, .. } | Self::Reject { decision, .. } => decision,
        }
    }
}

/// What happened to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A pack stands in place of the document.
    Compressed,
    /// The document is as it came.
    Passed,
    /// The caller gets an error.
    Rejected,
}

impl Action {
    /// Returns the name used in headers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compressed => "compressed",
            Self::Passed => "passed",
            Self::Rejected => "rejected",
        }
    }
}

/// A decision: printed in headers, counted in metrics, logged. Holds no document text.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// What happened to the request.
    pub action: Action,
    /// Why it happened.
    pub reason: Reason,
    /// The surface of the request.
    pub surface: Surface,
    /// The body's `model`, if it names one.
    pub model: Option<String>,
    /// The body's `stream`.
    pub stream: bool,
    /// True if the call or the body asked for a dry run.
    pub dry_run: bool,
    /// Estimated prompt tokens of all texts in the request as it came.
    pub tokens_before: u64,
    /// Estimated prompt tokens of all texts in the request as it goes upstream.
    pub tokens_after: u64,
    /// What was kept and dropped, when a document was compressed. Serialises as its id.
    #[serde(serialize_with = "id_only")]
    pub pack: Option<Arc<Manifest>>,
    /// Where the time went.
    pub stages: Stages,
    /// What went wrong with the worker, if something did. For logs; no document text.
    pub worker_error: Option<String>,
}

fn id_only<S: Serializer>(pack: &Option<Arc<Manifest>>, serializer: S) -> Result<S::Ok, S::Error> {
    pack.as_ref().map(|manifest| &manifest.id).serialize(serializer)
}

impl Decision {
    /// Returns the time that the sidecar spent on the call before the upstream saw it.
    pub fn overhead(&self) -> Duration {
        Duration::from_micros(self.stages.total_us)
    }

    /// Returns tokens before over tokens after; 1 when nothing changed.
    pub fn ratio(&self) -> f64 {
        if self.tokens_after == 0 {
            return 1.0;
        }
        self.tokens_before as f64 / self.tokens_after as f64
    }
}

/// Durations of the stages, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stages {
    /// Reading the body.
    pub read_us: u64,
    /// Finding document and question, unescaping and hashing the document.
    pub plan_us: u64,
    /// Waiting for the worker, or for the cache.
    pub extract_us: u64,
    /// Writing the pack and the body.
    pub pack_us: u64,
    /// From the call's arrival to the decision.
    pub total_us: u64,
    /// True if the spans came from the sidecar's cache.
    pub extract_cached: bool,
}

/// An error to answer with, in the terms of OpenAI's error object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// HTTP status.
    pub status: u16,
    /// `error.type`: `invalid_request_error` or `service_unavailable_error`.
    pub kind: &'static str,
    /// `error.code`.
    pub code: &'static str,
    /// `error.param`.
    pub param: Option<&'static str>,
    /// `error.message`: what is wrong and what to do.
    pub message: String,
    /// `retry-after`, in seconds.
    pub retry_after: Option<u64>,
}

/// What was kept of a document, as text: for the `local/extractive` provider and for dry runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// The question that was asked; empty in coverage.
    pub question: String,
    /// The pack exactly as it stands in the forwarded body, unescaped.
    pub pack: String,
    /// The kept spans in source order.
    pub excerpts: Vec<Excerpt>,
}

/// One kept span.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Excerpt {
    /// The first byte in the document.
    pub start: u64,
    /// The byte after the last one in the document.
    pub end: u64,
    /// The passage's score for the question: standard deviations above the document's mean.
    pub score: f32,
    /// The kind of passage.
    pub kind: SpanKind,
    /// The document's bytes from `start` to `end`.
    pub text: String,
}
