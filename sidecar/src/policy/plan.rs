//! The plan: what becomes of every text of a call that holds a document, and of what a later turn asks of it.

use serde::Serialize;

use super::rows;
use super::settings::{Budget, EarlierTurns, Settings, WholeDocument};
use super::tokens;
use super::tools::ToolMode;
use super::whole::covers;
use crate::api::{Mode, Reason};
use crate::need::{Need, QUESTION_MARKS};
use crate::reading::{AskSource, Reading, Site, SiteKind, Turn};
use crate::request::{Part, PartKind, Request, Role};

/// Fewer tokens beside a document are left as they are: a pack of them would be hardly shorter. A passage that
/// somebody else has cut out may be shorter, since it is kept or left out whole.
const SMALL: u64 = 400;

/// What becomes of a call: a plan for each turn, in the reading's order.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The turns.
    pub turns: Vec<TurnPlan>,
}

/// What becomes of a turn. It depends on nothing that comes after the turn, so it is the same in every later call of
/// the conversation.
#[derive(Debug, Clone)]
pub struct TurnPlan {
    /// A plan for each site, in the reading's order.
    pub sites: Vec<SitePlan>,
    /// How the packs are chosen: `Question`, or `Coverage`, which asks nothing.
    pub reason: Reason,
    /// How much of the sites is kept.
    pub budget: Budget,
    /// What is added to this turn of documents that were packed before it.
    pub further: Further,
}

/// What becomes of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SitePlan {
    /// Estimated tokens of its document.
    pub tokens: u64,
    /// The reason for which it stays as it is; without one it is packed.
    pub stays: Option<Reason>,
}

/// What a later turn gets of the documents that were packed before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Further {
    /// Nothing: it asks nothing of them.
    Nothing,
    /// The evidence for what it asks, as far as the packs lack it.
    Excerpts,
    /// What the packs lack, all of it: it needs every item.
    Rest,
    /// All of them, from the first word to the last: it needs the text itself.
    Whole,
}

impl Further {
    /// Returns the stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Excerpts => "excerpts",
            Self::Rest => "rest",
            Self::Whole => "whole",
        }
    }
}

impl Plan {
    /// Lists the sites of the reading that this is the plan of, with what becomes of each.
    pub fn sites<'p, 'a>(
        &'p self,
        reading: &'p Reading<'a>,
    ) -> impl Iterator<Item = (&'p Site<'a>, &'p SitePlan)> {
        let turns = reading.turns.iter().zip(&self.turns);
        turns.flat_map(|(turn, plan)| turn.sites.iter().zip(&plan.sites))
    }

    /// Returns whether any site is packed.
    pub fn packs(&self) -> bool {
        self.turns.iter().any(TurnPlan::packs)
    }
}

impl TurnPlan {
    /// Returns whether any site is packed.
    pub fn packs(&self) -> bool {
        self.sites.iter().any(|site| site.stays.is_none())
    }
}

/// Decides about a call. Pure: the same reading and settings give the same plan.
///
/// # Errors
/// The [`Reason`] to leave the call as it is, whatever its texts.
pub fn plan(request: &Request<'_>, reading: &Reading<'_>, settings: &Settings) -> Result<Plan, Reason> {
    let must_cover = guard(request, settings)?;
    let last = reading.turns.len().saturating_sub(1);
    let mut turns: Vec<TurnPlan> = Vec::with_capacity(reading.turns.len());
    for (at, turn) in reading.turns.iter().enumerate() {
        let untouched = at < last && settings.earlier_turns == EarlierTurns::Untouched;
        let mut planned = plan_turn(turn, must_cover, untouched, settings);
        if turns.iter().any(TurnPlan::packs) {
            planned.further = further(turn, must_cover, settings);
        }
        turns.push(planned);
    }
    Ok(Plan { turns })
}

/// Returns the reason for which nothing of a call is packed, where its plan packs nothing: that of its longest site.
pub fn reason_to_pass(request: &Request<'_>, plan: &Plan, settings: &Settings) -> Reason {
    let sites = plan.turns.iter().flat_map(|turn| &turn.sites);
    let longest = sites.max_by_key(|site| site.tokens);
    let found = longest.and_then(|site| site.stays.map(|reason| (site.tokens, reason)));
    match found {
        Some((tokens, reason)) if reason != Reason::TooShort && tokens >= settings.min_document_tokens => {
            reason
        }
        _ => find_unread_document(request, settings).unwrap_or_else(|| {
            let user = |role| role == Role::User;
            let speaks = request
                .parts
                .iter()
                .any(|part| user(part.role) && part.text.is_some());
            match found {
                Some((_, reason)) => reason,
                None if speaks => Reason::TooShort,
                None => Reason::NoUserText,
            }
        }),
    }
}

/// Rules a call out before any text is looked at. Returns whether only a selection that asks nothing may leave.
fn guard(request: &Request<'_>, settings: &Settings) -> Result<bool, Reason> {
    if settings.mode == Mode::Off {
        return Err(Reason::ModeOff);
    }
    if request.duplicate_key {
        return Err(Reason::DuplicateKey);
    }
    if request.too_many_parts {
        return Err(Reason::TooManyParts);
    }
    if request.stateful.is_none() {
        return Ok(false);
    }
    if covers(Reason::Stateful, settings) {
        Ok(true)
    } else {
        Err(Reason::Stateful)
    }
}

/// Returns why a document of the user's was not read: it is attached in a form that is not, or its text is no text. It
/// is the longest by far, or else the sites would have been planned for.
fn find_unread_document(request: &Request<'_>, settings: &Settings) -> Option<Reason> {
    let user = || request.parts.iter().filter(|part| part.role == Role::User);
    let enough = |bytes: usize| settings.mode == Mode::Force || bytes as u64 >= settings.min_document_tokens;
    let lone = |part: &Part<'_>| {
        part.text
            .is_some_and(|text| text.is_escaped() && enough(text.raw().len()) && text.decode().is_err())
    };
    let attached = |part: &Part<'_>| part.kind == PartKind::Attachment;
    user()
        .any(lone)
        .then_some(Reason::LoneSurrogate)
        .or(user().any(attached).then_some(Reason::Attachment))
}

fn plan_turn(turn: &Turn<'_>, must_cover: bool, untouched: bool, settings: &Settings) -> TurnPlan {
    let mut sites: Vec<SitePlan> = turn
        .sites
        .iter()
        .map(|site| plan_site(site, untouched, settings))
        .collect();
    let force = settings.mode == Mode::Force;
    let enough: u64 = sites
        .iter()
        .filter(|site| site.stays.is_none_or(|reason| covers(reason, settings)))
        .map(|site| site.tokens)
        .sum();
    let short = enough < settings.min_document_tokens && !force;
    let selected = select(turn, settings);
    let covered = |stays: Option<Reason>| stays.is_some_and(|reason| covers(reason, settings));
    let mut cover = must_cover || sites.iter().any(|site| covered(site.stays));
    for (plan, site) in sites.iter_mut().zip(&turn.sites) {
        let wanted = || {
            selected
                .err()
                .or_else(|| asks_every_row(turn, site).then_some(Reason::NeedsEverything))
        };
        let stays = match plan.stays {
            Some(reason) => Some(reason),
            None if short => Some(Reason::TooShort),
            None if must_cover => None,
            None => wanted(),
        };
        plan.stays = stays.filter(|reason| short || !covers(*reason, settings));
        cover |= stays.is_some() && plan.stays.is_none();
    }
    TurnPlan {
        sites,
        reason: if cover {
            Reason::Coverage
        } else {
            selected.unwrap_or(Reason::Coverage)
        },
        budget: budget(turn, settings),
        further: Further::Nothing,
    }
}

/// Rules a site out by what it is.
fn plan_site(site: &Site<'_>, untouched: bool, settings: &Settings) -> SitePlan {
    let document = site.document_text();
    let tokens = tokens::estimate(document);
    let mode = match (site.kind, &site.tool) {
        (SiteKind::ToolResult, Some(tool)) => settings.tools.mode(tool),
        _ => ToolMode::Auto,
    };
    let kept = match (mode, site.keep) {
        (ToolMode::Keep, _) => Some(Reason::ToolKept),
        (ToolMode::Compress, Some(Reason::Code | Reason::NotProse | Reason::ToolOutput)) => None,
        (_, keep) => keep,
    };
    let small = !site.passage && tokens < SMALL.min(settings.min_document_tokens);
    let stays = match kept {
        Some(reason) => Some(reason),
        None if document.len() as u64 > settings.max_document_bytes => Some(Reason::TooLong),
        None if document.trim().is_empty() => Some(Reason::TooShort),
        None if small && settings.mode != Mode::Force => Some(Reason::TooShort),
        None => untouched.then_some(Reason::EarlierTurn),
    };
    SitePlan { tokens, stays }
}

/// Chooses between the evidence for what is asked, coverage, and no compression.
fn select(turn: &Turn<'_>, settings: &Settings) -> Result<Reason, Reason> {
    let (whole, reason) = match turn.need {
        Need::Evidence | Need::Aspect if !turn.asks.is_empty() => return Ok(Reason::Question),
        Need::Evidence | Need::Aspect | Need::None => (settings.no_question, Reason::NoQuestion),
        Need::Overview => (settings.overview, Reason::NeedsOverview),
        Need::Aggregate | Need::Transform => return Err(Reason::NeedsEverything),
    };
    match whole {
        WholeDocument::Pass if settings.mode != Mode::Force => Err(reason),
        WholeDocument::Pass | WholeDocument::Coverage => Ok(Reason::Coverage),
    }
}

/// Returns whether what is said in a turn must be computed over every row of a site's table.
fn asks_every_row(turn: &Turn<'_>, site: &Site<'_>) -> bool {
    let document = site.document_text();
    let said = |source| !matches!(source, AskSource::Field | AskSource::Arguments | AskSource::Said);
    let mut asks = turn.asks.iter().filter(|ask| ask.asks() && said(ask.source));
    asks.any(|ask| rows::asks_every_row(&ask.text, document))
}

/// What a later turn gets of earlier documents.
fn further(turn: &Turn<'_>, must_cover: bool, settings: &Settings) -> Further {
    let says = turn.words.is_some()
        && turn
            .asks
            .iter()
            .any(|ask| !matches!(ask.source, AskSource::Field));
    if must_cover || !says {
        return Further::Nothing;
    }
    let questions = || {
        let mut said = turn.asks.iter().filter(|ask| ask.source.is_said_now());
        said.any(|ask| ask.text.contains(QUESTION_MARKS))
    };
    match (turn.need, settings.overview) {
        (Need::Evidence | Need::Aspect, _) => Further::Excerpts,
        // In doubt whether a question is one about the documents: excerpts cost little.
        (Need::None, _) if questions() => Further::Excerpts,
        (Need::None, _) | (Need::Overview, WholeDocument::Coverage) => Further::Nothing,
        (Need::Overview | Need::Aggregate | Need::Transform, _)
            if covers(Reason::NeedsEverything, settings) =>
        {
            Further::Nothing
        }
        (Need::Overview | Need::Aggregate, _) => Further::Rest,
        (Need::Transform, _) => Further::Whole,
    }
}

/// Each further ask adds this share of the first one's budget, up to the cap: measured with `bench evidence --asks`.
const FURTHER_ASK: f64 = 0.25;
/// Several asks together keep at most one word in so many, unless a single one is allowed more.
const SEVERAL: f64 = 3.0;
/// The evidence for a subject is spread: its budget is so many times that of a point.
const ASPECT: f64 = 1.3;

/// How much is kept for all that a turn asks.
fn budget(turn: &Turn<'_>, settings: &Settings) -> Budget {
    let weights = || turn.asks.iter().map(|ask| f64::from(ask.weight));
    let most = weights().fold(f64::MIN_POSITIVE, f64::max);
    // Weak guesses cost little.
    let asked = weights().filter(|weight| *weight >= most / 2.0).sum::<f64>() / most;
    let wider = match turn.need {
        Need::Aspect => ASPECT,
        _ => 1.0,
    };
    let share = wider * (1.0 + FURTHER_ASK * (asked - 1.0).max(0.0));
    let ratio = (settings.budget.ratio / share).max(SEVERAL.min(settings.budget.ratio));
    Budget {
        ratio,
        ..settings.budget.clone()
    }
}
