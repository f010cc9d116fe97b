//! The first half of the pipeline, before a worker is asked: reads the body, plans, and takes from the body
//! what the second half needs. Runs on the blocking pool for large bodies, so it owns what it returns.

use std::borrow::Cow;
use std::time::Instant;

use bytes::Bytes;
use liquid_contract::{Unread, Whole};
use sha2::{Digest, Sha256};

use super::call::Call;
use super::job::{Draft, Job};
use super::outcome::{Evidence, SiteRecord};
use super::{State, micros};
use crate::api::{Mode, Reason, Surface};
use crate::policy::{self, Fate, Plan, Replaced, WholeDocument, tokens};
use crate::reading::{self, Reading};
use crate::request::{Part, Request, RequestError, Template};

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
    /// The sites of a call for which no worker is asked, and what was read, if that is wanted.
    pub(super) sites: Vec<SiteRecord>,
    pub(super) evidence: Option<Evidence>,
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

/// Reads the call's body and plans what to do with it.
pub(super) fn prepare(state: &State, call: &Call) -> PreparedCall {
    let start = Instant::now();
    let read = Request::read(call.surface, &call.body);
    let read_us = micros(start);
    let request = match read {
        Ok(request) => request,
        Err(error) => return unreadable(&state.settings.policy, call, error, read_us),
    };
    let settings = settings(state, call);
    let evidence = call.evidence || call.dry_run || request.dry_run;
    let reading = match evidence || may_be_packed(call, &settings) {
        true => reading::read(&request),
        false => Reading::default(),
    };
    let mut planned = policy::plan(&request, &reading, &settings);
    let priced = planned
        .as_mut()
        .ok()
        .and_then(|plan| price(state, &reading, plan, &settings));
    let reason = match &planned {
        Ok(plan) => (!plan.packs()).then(|| policy::reason_to_pass(&request, plan, &settings)),
        Err(reason) => Some(*reason),
    };
    let plan = planned.as_ref().ok();
    let withheld = withheld(call, &request, &reading, plan, reason, &settings);
    let parts = count(&request);
    let mut prepared = PreparedCall {
        tokens: parts.iter().sum(),
        stream: request.stream,
        dry_run: call.dry_run || request.dry_run,
        read_us,
        plan_us: 0,
        sites: plan.map_or_else(Vec::new, |plan| SiteRecord::list(&reading, plan)),
        evidence: evidence.then(|| Evidence::new(&reading, plan, &call.body)),
        next: NextStep::Withhold(Reason::WholeText),
        model: request.model.clone().map(Cow::into_owned),
    };
    prepared.next = match (withheld, planned, reason) {
        (Some(reason), ..) => NextStep::Withhold(reason),
        (None, Ok(plan), None) => {
            let draft = Draft {
                request: &request,
                reading: &reading,
                plan: &plan,
                settings,
                style: call.overrides.pack_style.unwrap_or(state.settings.pack.style),
                body: &call.body,
                request_id: &call.request_id.clone().unwrap_or_else(new_request_id),
                sites: prepared.sites.clone(),
                priced,
                prompts: prompts(&reading, &parts),
                evidence: prepared.evidence.take(),
            };
            extract(call, draft)
        }
        (None, _, reason) => pass(call, &request, reason.unwrap_or(Reason::NoUserText)),
    };
    prepared.plan_us = micros(start).saturating_sub(read_us);
    prepared
}

/// Returns the settings of a call: what no upstream is sent may be whole.
fn settings(state: &State, call: &Call) -> policy::Settings {
    let mut settings = state.settings.policy.with(&call.overrides);
    if !call.leaves && settings.whole == Whole::Refuse {
        settings.whole = Whole::Forward;
    }
    settings
}

/// Asks a worker about the documents of a draft.
fn extract(call: &Call, draft: Draft<'_, '_>) -> NextStep {
    let request = draft.request;
    match draft.job() {
        Ok(job) => NextStep::Extract(Box::new(job)),
        Err(error) => {
            tracing::error!(%error, "a document's place in the body was not found; the body leaves as it came");
            pass(call, request, Reason::Unreadable)
        }
    }
}

/// Forwards a call in which nothing is compressed.
fn pass(call: &Call, request: &Request<'_>, reason: Reason) -> NextStep {
    NextStep::Pass {
        reason,
        body: passed(call, request),
    }
}

/// Returns whether a document of a call may be worth a pack. In most calls none is: they are shorter, and pass without
/// being read into texts and questions, which costs more than all else that is done for them.
fn may_be_packed(call: &Call, settings: &policy::Settings) -> bool {
    match settings.mode {
        Mode::Off => false,
        Mode::Force => true,
        Mode::Auto => settings.may_be_document(call.body.len() as u64),
    }
}

/// Leaves the document of a call of its own as it is, or covers it, where so many questions were asked about it that
/// the provider's cached prefix is cheaper. Returns the SHA-256 of the document, where it was needed and is packed.
fn price(
    state: &State,
    reading: &Reading<'_>,
    plan: &mut Plan,
    settings: &policy::Settings,
) -> Option<[u8; 32]> {
    let (turn, planned) = (reading.turns.first()?, plan.turns.first_mut()?);
    let sites = turn.sites.iter().zip(&mut planned.sites);
    let mut packed = sites.filter(|(_, site)| site.stays.is_none());
    let (Some((site, verdict)), None) = (packed.next(), packed.next()) else {
        return None;
    };
    let words = turn.words.as_ref();
    let behind = words.is_none_or(|words| (words.part, words.start) > (site.part, site.document.start));
    if planned.reason != Reason::Question || !behind {
        return None;
    }
    let document = Sha256::digest(site.document_text()).into();
    let question = turn
        .asks
        .iter()
        .fold(Sha256::new(), |hash, ask| hash.chain_update(&ask.text));
    let (question, now) = (question.finalize().into(), Instant::now());
    let number = match reading.turns.len() {
        1 => Some(state.history.note(&document, &question, now)),
        _ => state.history.number(&document, &question, now),
    };
    let pays =
        number.is_none_or(|number| policy::packs_pay(verdict.tokens, &planned.budget, number, settings));
    if pays {
        return Some(document);
    }
    let covers = settings.cached_prefix.instead == WholeDocument::Coverage
        || policy::covers(Reason::CachedPrefix, settings);
    if covers {
        planned.reason = Reason::Coverage;
        return Some(document);
    }
    verdict.stays = Some(Reason::CachedPrefix);
    None
}

/// Returns why the request must not leave where `policy.whole` refuses, if it must not.
fn withheld(
    call: &Call,
    request: &Request<'_>,
    reading: &Reading<'_>,
    plan: Option<&Plan>,
    passes: Option<Reason>,
    settings: &policy::Settings,
) -> Option<Reason> {
    if settings.whole != Whole::Refuse {
        return None;
    }
    let adds_whole = plan.is_some_and(|plan| {
        plan.turns
            .iter()
            .any(|turn| matches!(turn.further, policy::Further::Rest | policy::Further::Whole))
    });
    if adds_whole {
        return Some(Reason::NeedsEverything);
    }
    let reason = match passes {
        Some(reason) if Fate::from_reason(reason) != Fate::Absent => reason,
        _ => Reason::WholeText,
    };
    let replaced = plan
        .map(|plan| replaced(request, reading, plan))
        .unwrap_or_default();
    policy::holds_whole_text(&call.body, request, &replaced, settings).then_some(reason)
}

/// Lists the strings in which packs will stand, and how much of each stays.
fn replaced(request: &Request<'_>, reading: &Reading<'_>, plan: &Plan) -> Vec<Replaced> {
    let mut found: Vec<Replaced> = Vec::new();
    for (site, planned) in plan.sites(reading).filter(|(_, planned)| planned.stays.is_none()) {
        let Some(literal) = request.parts.get(site.part).and_then(|part| part.text) else {
            continue;
        };
        match found.last_mut() {
            Some(last) if last.quoted == literal.range() => {
                last.stays = last.stays.saturating_sub(planned.tokens)
            }
            _ => found.push(Replaced {
                quoted: literal.range(),
                stays: tokens::estimate(&literal.decode_lossy()).saturating_sub(planned.tokens),
            }),
        }
    }
    found
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
        sites: Vec::new(),
        evidence: None,
        next,
    }
}

/// Returns the body that goes upstream when nothing is compressed.
fn passed(call: &Call, request: &Request<'_>) -> Bytes {
    match &request.hybrid {
        None => call.body.clone(),
        Some(_) => Template::new(request, &call.body, Vec::new())
            .map_or_else(|_| call.body.clone(), |whole| whole.unchanged()),
    }
}

fn new_request_id() -> String {
    format!("lq_{:016x}", fastrand::u64(..))
}

/// Estimates the tokens of each part's text.
fn count(request: &Request<'_>) -> Vec<u64> {
    let count = |part: &Part<'_>| match part.text {
        None => 0,
        Some(text) if text.raw().len() > DECODE_TO_COUNT => tokens::estimate(text.raw()),
        Some(text) => tokens::estimate(&text.decode_lossy()),
    };
    request.parts.iter().map(count).collect()
}

/// Returns the tokens of the prompt at each turn: all parts up to the turn's end.
fn prompts(reading: &Reading<'_>, parts: &[u64]) -> Vec<u64> {
    let (mut sum, mut at) = (0, 0);
    let prompts = reading.turns.iter().map(|turn| {
        sum += parts
            .get(at..turn.parts.end)
            .unwrap_or_default()
            .iter()
            .sum::<u64>();
        at = turn.parts.end;
        sum
    });
    prompts.collect()
}
