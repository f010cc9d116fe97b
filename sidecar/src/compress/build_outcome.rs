//! Builds outcomes from what the stages found: the one place where decisions get their action, reason and
//! figures.

use bytes::Bytes;

use super::finish::PackedBody;
use super::outcome::{Action, Decision, Outcome, Rejection, Stages};
use super::prepare::PreparedCall;
use crate::api::{Reason, Surface};
use crate::extract::ExtractError;
use crate::request::RequestError;

impl Decision {
    /// Starts a decision with what is known of a call before a worker is asked.
    pub(super) fn new(surface: Surface, prepared: &PreparedCall) -> Self {
        Self {
            action: Action::Passed,
            reason: Reason::ModeOff,
            surface,
            model: prepared.model.clone(),
            stream: prepared.stream,
            dry_run: prepared.dry_run,
            tokens_before: prepared.tokens,
            tokens_after: prepared.tokens,
            pack: None,
            stages: Stages {
                read_us: prepared.read_us,
                plan_us: prepared.plan_us,
                ..Stages::default()
            },
            worker_error: None,
        }
    }

    pub(super) fn pass(&self, reason: Reason, body: Bytes) -> Outcome {
        let decision = Self {
            action: Action::Passed,
            reason,
            ..self.clone()
        };
        Outcome::Forward {
            body,
            decision: Box::new(decision),
            evidence: None,
        }
    }

    pub(super) fn reject(&self, reason: Reason, rejection: Rejection) -> Outcome {
        let decision = Self {
            action: Action::Rejected,
            reason,
            tokens_after: 0,
            ..self.clone()
        };
        Outcome::Reject {
            rejection,
            decision: Box::new(decision),
        }
    }

    pub(super) fn compressed(&self, packed: PackedBody, reason: Reason) -> Outcome {
        let PackedBody {
            body,
            manifest,
            evidence,
        } = packed;
        let saved = manifest.source.tokens.saturating_sub(manifest.pack.tokens);
        let decision = Self {
            action: Action::Compressed,
            reason,
            tokens_after: self.tokens_before.saturating_sub(saved),
            pack: Some(manifest),
            ..self.clone()
        };
        Outcome::Forward {
            body,
            decision: Box::new(decision),
            evidence,
        }
    }
}

impl Outcome {
    pub(super) fn timed(mut self, total_us: u64) -> Self {
        let (Self::Forward { decision, .. } | Self::Reject { decision, .. }) = &mut self;
        decision.stages.total_us = total_us;
        self
    }
}

impl Reason {
    pub(super) fn from_extract_error(error: &ExtractError) -> Self {
        match error {
            ExtractError::Unavailable { .. } | ExtractError::Tls { .. } => Self::WorkerUnavailable,
            ExtractError::Timeout => Self::WorkerTimeout,
            ExtractError::Refused { .. } => Self::WorkerRefused,
            ExtractError::Invalid { .. } => Self::WorkerInvalid,
        }
    }
}

impl Rejection {
    /// 400: the body of one of our own surfaces is wrong.
    pub(super) fn from_request_error(error: &RequestError) -> Self {
        Self {
            status: 400,
            kind: "invalid_request_error",
            code: "invalid_body",
            param: error.field(),
            message: error.to_string(),
            retry_after: None,
        }
    }

    /// 503, 504, 422 or 502: the original must not leave, and no worker gave its evidence.
    pub(super) fn from_extract_error(error: &ExtractError) -> Self {
        let (status, code) = match error {
            ExtractError::Unavailable { .. } | ExtractError::Tls { .. } => (503, "worker_unavailable"),
            ExtractError::Timeout => (504, "worker_timeout"),
            ExtractError::Refused { .. } => (422, "worker_refused"),
            ExtractError::Invalid { .. } => (502, "worker_invalid"),
        };
        let retry_after = match error {
            ExtractError::Unavailable { retry_after, .. } => {
                Some(retry_after.map_or(1, |wait| wait.as_secs().max(1)))
            }
            _ => None,
        };
        Self {
            status,
            kind: if status < 500 {
                "invalid_request_error"
            } else {
                "server_error"
            },
            code,
            param: None,
            message: format!(
                "the document was not sent, because extract.on_worker_unavailable is reject and {error}"
            ),
            retry_after,
        }
    }
}
