//! The first half of the pipeline, before a worker is asked: reads the body, plans, and takes from the body
//! what the second half needs. Runs on the blocking pool for large bodies, so it owns what it returns.

use std::borrow::Cow;
use std::time::Instant;

use bytes::Bytes;
use bytestring::ByteString;
use liquid_contract::{Unread, Whole};
use sha2::{Digest, Sha256};

use super::call::Call;
use super::{State, micros};
use crate::api::{Reason, Surface};
use crate::extract::{Budget, Query};
use crate::policy::{self, Fate, Plan, Replaced, Turn, tokens};
use crate::request::{Literal, Request, RequestError, Site};

/// Documents of so many bytes and more are not held twice, escaped and unescaped.
const HOLD_ONCE: usize = 1 << 20;

/// Longer texts are counted as they are escaped in the body.
const DECODE_TO_COUNT: usize = 1 << 20;

/// A body, read and planned.
pub(super) struct PreparedCall {
    pub(super) model: Option<String>,
    pub(super) stream: bool,
    pub(super) dry_run: bool,
    /// Estimated tokens of all texts in the request.
    pub(super) tokens: u64,
    pub(super) read_us: u64,
    pub(super) plan_us: u64,
    pub(super) next: NextStep,
}

/// The step that follows the plan.
pub(super) enum NextStep {
    /// Forward `body`.
    Pass { reason: Reason, body: Bytes },
    /// The body is not what its surface says, and no upstream is asked to judge it.
    Refuse(RequestError),
    /// Nothing of the body leaves: it holds what the policy keeps in.
    Withhold(Reason),
    /// Ask a worker.
    Extract(Box<Job>),
}

/// A document on its way to a worker and back.
pub(super) struct Job {
    pub(super) query: Query,
    pub(super) reason: Reason,
    pub(super) turn: Turn,
    pub(super) document_tokens: u64,
    /// Where the document begins in the text that the application sent.
    pub(super) start: u64,
    pub(super) site: Site,
    pub(super) settings: policy::Settings,
    /// Whether the excerpts are wanted beside the pack.
    pub(super) evidence: bool,
    /// The body as it came, for when there is nothing to replace; `None` for surfaces that never leave as they
    /// came, and where the site can write it again.
    pub(super) original: Option<Bytes>,
}

impl Job {
    /// Asks for a selection that does not depend on the question, the same in every turn.
    pub(super) fn cover(&mut self) {
        self.query.question.clear();
        (self.reason, self.turn) = (Reason::Coverage, Turn::Current);
    }

    /// Returns the body that goes upstream when the document stays.
    pub(super) fn unchanged(&self) -> Bytes {
        self.original.clone().unwrap_or_else(|| self.site.unchanged())
    }
}

/// Reads the call's body and plans what to do with it.
pub(super) fn prepare(state: &State, call: &Call) -> PreparedCall {
    let start = Instant::now();
    let read = Request::read(call.surface, &call.body);
    let read_us = micros(start);
    let request = match read {
        Ok(request) => request,
        Err(error) => return unreadable(&state.settings.policy, call, error, read_us),
    };
    let mut settings = state.settings.policy.with(&call.overrides);
    if !call.leaves && settings.whole == Whole::Refuse {
        settings.whole = Whole::Forward;
    }
    let planned = plan(state, call, &request, settings.clone());
    let withheld = withheld(call, &request, planned.as_ref(), &settings);
    let (next, document) = match (withheld, planned) {
        (Some(reason), planned) => {
            let document = planned.ok().map(|planned| planned.counted);
            (NextStep::Withhold(reason), document)
        }
        (None, Ok(planned)) => (NextStep::Extract(Box::new(planned.job)), Some(planned.counted)),
        (None, Err(reason)) => (
            NextStep::Pass {
                reason,
                body: passed(call, &request),
            },
            None,
        ),
    };
    PreparedCall {
        tokens: count(&request, document),
        model: request.model.map(Cow::into_owned),
        stream: request.stream,
        dry_run: call.dry_run || request.dry_run,
        read_us,
        plan_us: micros(start).saturating_sub(read_us),
        next,
    }
}

/// Returns why the request must not leave where `policy.whole` refuses, if it must not.
fn withheld(
    call: &Call,
    request: &Request<'_>,
    planned: Result<&Planned<'_>, &Reason>,
    settings: &policy::Settings,
) -> Option<Reason> {
    if settings.whole != Whole::Refuse {
        return None;
    }
    let replaced = planned.ok().map(|planned| &planned.replaced);
    let reason = match planned {
        Ok(_) => Reason::WholeText,
        Err(reason) if Fate::from_reason(*reason) == Fate::Absent => Reason::WholeText,
        Err(reason) => *reason,
    };
    policy::holds_whole_text(&call.body, request, replaced, settings).then_some(reason)
}

/// Leaves the verdict on an unreadable body to the upstream, unless it may hold a document that must not leave
/// unread; the sidecar's own surface has none, and is refused.
fn unreadable(policy: &policy::Settings, call: &Call, error: RequestError, read_us: u64) -> PreparedCall {
    let keeps = policy.unread == Unread::Refuse && call.leaves;
    let next = match call.surface {
        Surface::HybridChat => NextStep::Refuse(error),
        _ if keeps && policy.may_be_document(call.body.len() as u64) => NextStep::Withhold(Reason::Unread),
        _ => NextStep::Pass {
            reason: Reason::Unreadable,
            body: call.body.clone(),
        },
    };
    let dry_run = call.dry_run;
    PreparedCall {
        model: None,
        stream: false,
        dry_run,
        tokens: 0,
        read_us,
        plan_us: 0,
        next,
    }
}

/// Returns the body that goes upstream when nothing is compressed.
fn passed(call: &Call, request: &Request<'_>) -> Bytes {
    match &request.hybrid {
        None => call.body.clone(),
        Some(hybrid) => Site::whole(request, &call.body, &hybrid.document).unchanged(),
    }
}

/// A request that a worker is asked about.
struct Planned<'a> {
    job: Job,
    /// The text that the document is part of, and the text's tokens.
    counted: (Literal<'a>, u64),
    /// The same text, and what stays of it.
    replaced: Replaced,
}

fn plan<'a>(
    state: &State,
    call: &Call,
    request: &Request<'a>,
    settings: policy::Settings,
) -> Result<Planned<'a>, Reason> {
    let mut plan = policy::plan(request, &settings)?;
    let document_sha256 = Sha256::digest(plan.document()).into();
    if plan.reason == Reason::Question && plan.turn == Turn::Current {
        let question = Sha256::digest(&plan.question).into();
        let questions = state.history.note(&document_sha256, &question, Instant::now());
        policy::price(&mut plan, questions, &settings)?;
    }
    let literal = plan.literal;
    let instructions = instructions(&plan);
    let replaced = Replaced {
        quoted: literal.range(),
        stays: instructions,
    };
    let counted = plan.document_tokens + instructions;
    let site = Site::new(request, &call.body, &literal, plan.document.clone());
    let (reason, turn, document_tokens) = (plan.reason, plan.turn.clone(), plan.document_tokens);
    let start = plan.document.start as u64;
    let question = std::mem::take(&mut plan.question);
    let document = document(plan, &call.body);
    let site = if literal.is_escaped() && document.len() >= HOLD_ONCE {
        site.without_body(&document)
    } else {
        site
    };
    let query = Query {
        document,
        document_sha256,
        question,
        budget: Budget::from(&settings.budget),
        tier: settings.tier,
        request_id: call.request_id.clone().unwrap_or_else(new_request_id),
    };
    let original = (request.hybrid.is_none() && site.holds_body()).then(|| call.body.clone());
    let job = Job {
        query,
        reason,
        turn,
        document_tokens,
        start,
        site,
        settings,
        evidence: call.evidence || call.dry_run || request.dry_run,
        original,
    };
    Ok(Planned {
        job,
        counted: (literal, counted),
        replaced,
    })
}

fn new_request_id() -> String {
    format!("lq_{:016x}", fastrand::u64(..))
}

/// Estimates the tokens of the instructions around the document.
fn instructions(plan: &Plan<'_>) -> u64 {
    if plan.document.len() == plan.text.len() {
        return 0;
    }
    tokens::estimate(&plan.text[..plan.document.start]) + tokens::estimate(&plan.text[plan.document.end..])
}

/// Returns the document with the body's own memory, or, where something was escaped, with the one copy that
/// was unescaped.
fn document(plan: Plan<'_>, body: &Bytes) -> ByteString {
    let Plan { text, document, .. } = plan;
    match text {
        Cow::Borrowed(text) => {
            let bytes = body.slice_ref(text[document].as_bytes());
            // It was text before; checking it again is cheap beside hashing it.
            ByteString::try_from(bytes).unwrap_or_default()
        }
        Cow::Owned(text) => {
            let text = ByteString::from(text);
            text.slice_ref(&text[document])
        }
    }
}

/// Estimates the tokens of all texts. `counted` is a text whose tokens are known.
fn count(request: &Request<'_>, counted: Option<(Literal<'_>, u64)>) -> u64 {
    let texts = request.parts.iter().filter_map(|part| part.text);
    texts
        .map(|text| match counted {
            Some((known, tokens)) if known.range() == text.range() => tokens,
            _ if text.raw().len() > DECODE_TO_COUNT => tokens::estimate(text.raw()),
            _ => tokens::estimate(&text.decode_lossy()),
        })
        .sum()
}
