//! The plan: which bytes of which text are the document, what is asked of it, and whether to compress.

use std::borrow::Cow;
use std::ops::Range;

use super::need::Need;
use super::question::{LONGEST_QUESTION, clip, find_question};
use super::settings::{EarlierTurns, Settings, WholeDocument};
use super::tokens;
use super::whole::covers;
use crate::api::{Mode, Reason};
use crate::reading::{Content, Marks, classify};
use crate::request::{Literal, Part, PartKind, Request, Role};

/// The plan for a request: the document to compress, and the question that decides what is kept.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The JSON string that holds the document.
    pub literal: Literal<'a>,
    /// The string's text, unescaped.
    pub text: Cow<'a, str>,
    /// Bytes of `text` that are the document; the rest are instructions and stay.
    pub document: Range<usize>,
    /// Estimated tokens of the document.
    pub document_tokens: u64,
    /// The question; empty in coverage.
    pub question: String,
    /// `Question` or `Coverage`.
    pub reason: Reason,
    /// Where the document stands in the conversation.
    pub turn: Turn,
    /// True if nothing that changes with the question stands before the document, so that a provider could
    /// cache the request up to the document's end.
    pub is_prefix: bool,
}

/// The turn of the conversation that holds a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// The turn that the user speaks now.
    Current,
    /// A turn that the user spoke before.
    Earlier {
        /// The question that the user asks now; empty while tools run.
        follow_up: String,
    },
}

impl Plan<'_> {
    /// Returns the document.
    pub fn document(&self) -> &str {
        &self.text[self.document.clone()]
    }
}

/// Decides about a request. Pure: the same request and settings give the same plan.
///
/// # Errors
/// The [`Reason`] to leave the request as it is.
pub fn plan<'a>(request: &Request<'a>, settings: &Settings) -> Result<Plan<'a>, Reason> {
    plan_texts(request, settings).map_err(|reason| match reason {
        Reason::NoUserText | Reason::TooShort | Reason::NoQuestion => {
            find_unread_document(request, settings).unwrap_or(reason)
        }
        _ => reason,
    })
}

/// Plans for the texts that may be replaced, as if there were no others.
fn plan_texts<'a>(request: &Request<'a>, settings: &Settings) -> Result<Plan<'a>, Reason> {
    let mut cut = Cut::new(settings);
    guard(request, &mut cut)?;
    let (found, turn) = locate(request, &mut cut)?;
    let part = &request.parts[found];
    let literal = part.text.ok_or(Reason::NoUserText)?;
    if request.cache_marked || request.parts[found..].iter().any(|part| part.cache_marked) {
        cut.unless_covered(Reason::CacheMarked)?;
    }
    if literal.raw().len() as u64 > settings.max_document_bytes.saturating_mul(6) {
        return Err(Reason::TooLong);
    }
    let text = literal.decode().map_err(|_| Reason::LoneSurrogate)?;
    let asked = find_question(request, found, &text)?;
    let mut plan = Plan {
        literal,
        document: asked.split.document.clone(),
        document_tokens: 0,
        question: asked.question,
        reason: Reason::Question,
        turn,
        is_prefix: asked.is_prefix,
        text,
    };
    check_document(&mut plan, asked.split.marks, settings)?;
    plan.reason = select(asked.need, &plan.question, &mut cut)?;
    if cut.must_cover {
        // The same selection in every turn: there is no earlier one to send again.
        (plan.reason, plan.turn) = (Reason::Coverage, Turn::Current);
    }
    if plan.reason == Reason::Coverage {
        plan.question.clear();
    }
    Ok(plan)
}

/// The settings while a plan is made, and whether only a selection may leave.
struct Cut<'s> {
    settings: &'s Settings,
    must_cover: bool,
}

impl<'s> Cut<'s> {
    fn new(settings: &'s Settings) -> Self {
        Self {
            settings,
            must_cover: false,
        }
    }

    /// Leaves the request as it is for this reason, unless a selection is to take the document's place.
    fn unless_covered(&mut self, reason: Reason) -> Result<(), Reason> {
        if !covers(reason, self.settings) {
            return Err(reason);
        }
        self.must_cover = true;
        Ok(())
    }
}

/// Rules a request out before any text is looked at.
fn guard(request: &Request<'_>, cut: &mut Cut<'_>) -> Result<(), Reason> {
    if cut.settings.mode == Mode::Off {
        return Err(Reason::ModeOff);
    }
    if request.duplicate_key {
        return Err(Reason::DuplicateKey);
    }
    if request.too_many_parts {
        return Err(Reason::TooManyParts);
    }
    if request.stateful.is_some() {
        cut.unless_covered(Reason::Stateful)?;
    }
    Ok(())
}

/// Returns why a document of the user's is not one that may be replaced: it is cited by offsets, or attached in
/// a form that is not read. It is the longest text by far, or else the texts would have been planned for.
fn find_unread_document(request: &Request<'_>, settings: &Settings) -> Option<Reason> {
    let user = || request.parts.iter().filter(|part| part.role == Role::User);
    let enough = |text: Literal<'_>| {
        settings.mode == Mode::Force || text.raw().len() as u64 >= settings.min_document_tokens
    };
    let cited = user().any(|part| part.kind == PartKind::CitedDocument && part.text.is_some_and(enough));
    let attached = user().any(|part| part.kind == PartKind::Attachment);
    cited
        .then_some(Reason::Citations)
        .or(attached.then_some(Reason::Attachment))
}

/// Finds the part that holds the document: the longest text of the current turn if it is long enough, else
/// the longest of the earlier ones.
fn locate(request: &Request<'_>, cut: &mut Cut<'_>) -> Result<(usize, Turn), Reason> {
    let settings = cut.settings;
    // Of a hybrid call the first text is the document by its name; the second is the prompt.
    let parts = &request.parts[..if request.hybrid.is_some() {
        1
    } else {
        request.parts.len()
    }];
    let spoken = |part: &Part<'_>| matches!(part.role, Role::Assistant | Role::Tool);
    let turn = parts.iter().rposition(spoken).map_or(0, |at| at + 1);
    let now = longest(parts, turn..parts.len());
    let before = longest(parts, 0..turn);
    // A token is at least a byte: what is shorter in bytes is shorter in tokens.
    let enough =
        |length: usize| settings.mode == Mode::Force || length as u64 >= settings.min_document_tokens;
    if let Some((at, length)) = now
        && (enough(length)
            && before.is_none_or(|(_, earlier)| length >= earlier || length > LONGEST_QUESTION))
    {
        return Ok((at, Turn::Current));
    }
    match before {
        Some((at, length)) if enough(length) => {
            if settings.earlier_turns == EarlierTurns::Untouched {
                cut.unless_covered(Reason::EarlierTurn)?;
            }
            let texts = user_texts(parts, turn..parts.len());
            let follow_up: Vec<_> = texts.map(|(_, text)| text.decode_lossy()).collect();
            Ok((
                at,
                Turn::Earlier {
                    follow_up: clip(&follow_up.join("\n")),
                },
            ))
        }
        None if now.is_none() => Err(Reason::NoUserText),
        _ => Err(Reason::TooShort),
    }
}

/// Texts of the user that may be replaced or hold the question, with the positions of their parts.
pub(super) fn user_texts<'p, 'a>(
    parts: &'p [Part<'a>],
    within: Range<usize>,
) -> impl DoubleEndedIterator<Item = (usize, Literal<'a>)> + 'p {
    within.filter_map(move |at| {
        let part = parts.get(at).filter(|part| part.role == Role::User)?;
        let text = part.text.filter(|_| part.kind != PartKind::CitedDocument)?;
        Some((at, text))
    })
}

/// Returns position and length in bytes of the longest user text; the later one of equals.
fn longest(parts: &[Part<'_>], within: Range<usize>) -> Option<(usize, usize)> {
    user_texts(parts, within)
        .map(|(at, text)| (at, text.raw().len()))
        .max_by_key(|(_, length)| *length)
}

/// Rules out a document by what it is and how long it is.
fn check_document(plan: &mut Plan<'_>, marks: Marks, settings: &Settings) -> Result<(), Reason> {
    let document = plan.document();
    if document.len() as u64 > settings.max_document_bytes {
        return Err(Reason::TooLong);
    }
    if document.trim().is_empty() {
        return Err(Reason::TooShort);
    }
    let tokens = tokens::estimate(document);
    if tokens < settings.min_document_tokens && settings.mode != Mode::Force {
        return Err(Reason::TooShort);
    }
    let verdict = match classify(document) {
        _ if matches!(marks, Marks::Fence { code: true, .. }) => Err(Reason::Code),
        Content::Code => Err(Reason::Code),
        Content::Opaque => Err(Reason::NotProse),
        Content::Text => Ok(()),
    };
    plan.document_tokens = tokens;
    verdict
}

/// Chooses between the evidence for the question, coverage, and no compression.
fn select(need: Need, question: &str, cut: &mut Cut<'_>) -> Result<Reason, Reason> {
    let settings = cut.settings;
    let (whole, reason) = match need {
        Need::Everything => {
            cut.unless_covered(Reason::NeedsEverything)?;
            return Ok(Reason::Coverage);
        }
        Need::Overview => (settings.overview, Reason::NeedsOverview),
        Need::Evidence if question.is_empty() => (settings.no_question, Reason::NoQuestion),
        Need::Evidence => return Ok(Reason::Question),
    };
    match whole {
        WholeDocument::Pass if settings.mode != Mode::Force => cut.unless_covered(reason)?,
        WholeDocument::Pass | WholeDocument::Coverage => {}
    }
    Ok(Reason::Coverage)
}
