//! Builds outcomes from what the stages found: the one place where decisions get their action, reason and
//! figures.

use std::sync::Arc;

use bytes::Bytes;
use liquid_contract::Whole;

use super::finish::{PackedBody, Unpacked};
use super::job::Job;
use super::outcome::{Action, Decision, Evidence, Outcome, Rejection, SiteRecord, Stages};
use super::prepare::PreparedCall;
use crate::api::{Reason, Surface};
use crate::extract::ExtractError;
use crate::pack::Manifest;
use crate::policy::Fate;
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
            sites: prepared.sites.clone(),
            stages: Stages {
                read_us: prepared.read_us,
                plan_us: prepared.plan_us,
                ..Stages::default()
            },
            worker_error: None,
        }
    }

    pub(super) fn pass(&self, reason: Reason, body: Bytes, evidence: Option<Evidence>) -> Outcome {
        let decision = Self {
            action: Action::Passed,
            reason,
            ..self.clone()
        };
        Outcome::Forward {
            body,
            decision: Box::new(decision),
            evidence: evidence.map(Arc::new),
            documents: Vec::new(),
        }
    }

    /// Leaves the documents as they are, or keeps them in where `policy.whole` refuses.
    pub(super) fn stay(&self, unpacked: Unpacked, job: &Job) -> Outcome {
        let decision = Self {
            sites: unpacked.sites,
            ..self.clone()
        };
        if job.settings.whole == Whole::Refuse && job.settings.min_document_tokens <= longest(&decision.sites)
        {
            return decision.withhold(unpacked.reason);
        }
        decision.pass(unpacked.reason, job.template.unchanged(), job.evidence.clone())
    }

    /// Refuses the call: nothing of it leaves.
    pub(super) fn withhold(&self, reason: Reason) -> Outcome {
        self.reject(reason, Rejection::from_policy(reason))
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

    /// Forwards a body with packs in it, unless a document of it stays whole that must not leave so.
    pub(super) fn compressed(
        &self,
        packed: PackedBody,
        job: &Job,
        store: impl FnOnce(Arc<Manifest>),
    ) -> Outcome {
        let passed = |site: &&SiteRecord| site.action == Action::Passed;
        let whole = packed
            .sites
            .iter()
            .filter(passed)
            .max_by_key(|site| site.tokens_before);
        if let Some(site) = whole
            && job.settings.whole == Whole::Refuse
            && site.tokens_before >= job.settings.min_document_tokens
        {
            return self.withhold(site.reason);
        }
        store(Arc::clone(&packed.manifest));
        let saved: u64 = packed
            .sites
            .iter()
            .map(|site| site.tokens_before.saturating_sub(site.tokens_after))
            .sum();
        let decision = Self {
            action: Action::Compressed,
            reason: packed.reason,
            tokens_after: (self.tokens_before + packed.added).saturating_sub(saved),
            pack: Some(packed.manifest),
            sites: packed.sites,
            ..self.clone()
        };
        Outcome::Forward {
            body: packed.body,
            decision: Box::new(decision),
            evidence: packed.evidence,
            documents: packed.documents,
        }
    }
}

/// Returns the tokens of the longest document that stays.
fn longest(sites: &[SiteRecord]) -> u64 {
    let passed = sites.iter().filter(|site| site.action == Action::Passed);
    passed.map(|site| site.tokens_before).max().unwrap_or(0)
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

    /// 403: the policy keeps in what the request holds.
    fn from_policy(reason: Reason) -> Self {
        let (code, setting, remedy) = match Fate::from_reason(reason).remedy() {
            Some(remedy) => ("whole_document", "policy.whole", remedy),
            None => ("unread", "policy.unread", "send JSON that the API knows"),
        };
        Self {
            status: 403,
            kind: "invalid_request_error",
            code,
            param: None,
            message: format!(
                "the request was not sent, because {setting} is refuse and a text of it would leave whole ({reason}): \
                 {remedy}, or raise policy.min_document_tokens"
            ),
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
