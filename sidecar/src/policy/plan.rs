//! The plan: which bytes of which text are the document, what is asked of it, and whether to compress.

use std::borrow::Cow;
use std::ops::Range;

use super::content::{self, Content};
use super::price::{expected_ratio, pays};
use super::question::{Need, asks, need};
use super::settings::{EarlierTurns, Settings, WholeDocument};
use super::split::{Marks, Split, by_marks, by_reading, question_label};
use super::tokens;
use crate::compress::{Mode, Reason};
use crate::request::{Literal, Part, Request, Role};

/// Longer texts of a user are documents, never questions. Bytes of the JSON string.
const LONGEST_QUESTION: usize = 8 << 10;
/// What a worker is asked at most. Bytes.
const ASKED: usize = 4 << 10;

/// What to compress, and how.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The JSON string that holds the document.
    pub literal: Literal<'a>,
    /// What the string says.
    pub text: Cow<'a, str>,
    /// Bytes of `text` that are the document; the rest are instructions and stay.
    pub document: Range<usize>,
    /// Estimated tokens of the document.
    pub document_tokens: u64,
    /// What is asked; empty in coverage.
    pub question: String,
    /// `Question` or `Coverage`.
    pub reason: Reason,
    /// Where the document stands in the conversation.
    pub turn: Turn,
    /// True if nothing that changes with the question stands before the document, so that a provider could cache
    /// the request up to the document's end.
    pub is_prefix: bool,
}

/// Where a document stands in the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// In what the user says now.
    Current,
    /// In what the user said before. Holds what the user asks now; empty while tools run.
    Earlier {
        /// The new question.
        follow_up: String,
    },
}

impl Plan<'_> {
    /// The document.
    pub fn document(&self) -> &str {
        &self.text[self.document.clone()]
    }
}

/// Decides about a request. Pure: the same request and settings give the same plan.
///
/// # Errors
/// The [`Reason`] to leave the request as it is.
pub fn plan<'a>(request: &Request<'a>, settings: &Settings) -> Result<Plan<'a>, Reason> {
    guard(request, settings)?;
    let (found, turn) = locate(request, settings)?;
    let part = &request.parts[found];
    let literal = part.text.ok_or(Reason::NoUserText)?;
    if request.cache_marked || request.parts[found..].iter().any(|part| part.cache_marked) {
        return Err(Reason::CacheMarked);
    }
    if literal.raw().len() as u64 > settings.max_document_bytes.saturating_mul(6) {
        return Err(Reason::TooLong);
    }
    let text = literal.decode().map_err(|_| Reason::LoneSurrogate)?;
    let asked = ask(request, found, &text)?;
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
    plan.reason = select(asked.need, &plan.question, settings)?;
    if plan.reason == Reason::Coverage {
        plan.question.clear();
    }
    Ok(plan)
}

/// Weighs a plan against the provider's cached prefix, now that it is known how many `questions` this document
/// was asked.
///
/// # Errors
/// [`Reason::CachedPrefix`] if the document had better stay as it is.
pub fn price(plan: &mut Plan<'_>, questions: u64, settings: &Settings) -> Result<(), Reason> {
    let prefix = &settings.cached_prefix;
    let depends = plan.reason == Reason::Question && plan.is_prefix && plan.turn == Turn::Current;
    let weigh = prefix.enabled && settings.mode != Mode::Force && depends;
    if !weigh
        || pays(
            expected_ratio(&settings.budget, plan.document_tokens),
            questions,
            prefix,
        )
    {
        return Ok(());
    }
    match prefix.instead {
        WholeDocument::Pass => Err(Reason::CachedPrefix),
        WholeDocument::Coverage => {
            plan.reason = Reason::Coverage;
            plan.question.clear();
            Ok(())
        }
    }
}

/// True if a pack saves enough over its document. `tokens` and `bytes` are (document, pack); bytes as they stand
/// in the body.
pub fn accept(tokens: (u64, u64), bytes: (usize, usize), settings: &Settings) -> bool {
    let saved = tokens.0.saturating_sub(tokens.1);
    let enough = settings.mode == Mode::Force
        || (saved >= settings.min_saved_tokens && saved as f64 >= settings.min_saving * tokens.0 as f64);
    bytes.1 < bytes.0 && saved > 0 && enough
}

/// What rules a request out before any text is looked at.
fn guard(request: &Request<'_>, settings: &Settings) -> Result<(), Reason> {
    if settings.mode == Mode::Off {
        return Err(Reason::ModeOff);
    }
    if request.duplicate_key {
        return Err(Reason::DuplicateKey);
    }
    if request.too_many_parts {
        return Err(Reason::TooManyParts);
    }
    if request.stateful.is_some() {
        return Err(Reason::Stateful);
    }
    Ok(())
}

/// The part that holds the document: the longest text of the current turn if it is long enough, else the longest
/// of the earlier ones.
fn locate(request: &Request<'_>, settings: &Settings) -> Result<(usize, Turn), Reason> {
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
                return Err(Reason::EarlierTurn);
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

fn user_texts<'p, 'a>(
    parts: &'p [Part<'a>],
    within: Range<usize>,
) -> impl DoubleEndedIterator<Item = (usize, Literal<'a>)> + 'p {
    within.filter_map(move |at| {
        let part = parts.get(at).filter(|part| part.role == Role::User)?;
        Some((at, part.text?))
    })
}

/// Position and length in bytes of the longest user text; the later one of equals.
fn longest(parts: &[Part<'_>], within: Range<usize>) -> Option<(usize, usize)> {
    user_texts(parts, within)
        .map(|(at, text)| (at, text.raw().len()))
        .max_by_key(|(_, length)| *length)
}

/// What is asked of a document.
struct Asked {
    split: Split,
    question: String,
    need: Need,
    is_prefix: bool,
}

/// Finds the question: in another text of the same turn, or in the instructions around the document.
fn ask(request: &Request<'_>, found: usize, text: &str) -> Result<Asked, Reason> {
    if let Some(hybrid) = &request.hybrid {
        let prompt = hybrid.prompt.decode().map_err(|_| Reason::LoneSurrogate)?;
        let task = hybrid
            .task
            .map(|task| task.decode())
            .transpose()
            .map_err(|_| Reason::LoneSurrogate)?;
        let question = task.filter(|task| !task.trim().is_empty());
        let needs = need(&prompt).max(question.as_deref().map_or(Need::Evidence, need));
        let question = clip(question.as_deref().unwrap_or(&prompt));
        let split = Split {
            document: 0..text.len(),
            marks: Marks::Tags,
        };
        return Ok(Asked {
            split,
            question,
            need: needs,
            is_prefix: true,
        });
    }
    match other_question(&request.parts, found) {
        Some((question, behind)) => {
            let split = by_marks(text);
            let outside = need(split.head(text)).max(need(split.tail(text)));
            let need = need(&question).max(outside);
            Ok(Asked {
                split,
                question: clip(&question),
                need,
                is_prefix: behind,
            })
        }
        None => Ok(read_question(request, text)),
    }
}

/// The question in another text of the document's turn: the last one behind the document, else the last before.
fn other_question(parts: &[Part<'_>], found: usize) -> Option<(String, bool)> {
    let spoken = |part: &Part<'_>| matches!(part.role, Role::Assistant | Role::Tool);
    let start = parts[..found].iter().rposition(spoken).map_or(0, |at| at + 1);
    let end = parts[found..]
        .iter()
        .position(spoken)
        .map_or(parts.len(), |at| found + at);
    let asks = |(at, text): (usize, Literal<'_>)| {
        let short = at != found && text.raw().len() <= LONGEST_QUESTION;
        let text = short.then(|| text.decode_lossy())?;
        text.chars()
            .any(char::is_alphanumeric)
            .then(|| (text.into_owned(), at > found))
    };
    user_texts(parts, found..end)
        .rev()
        .find_map(asks)
        .or_else(|| user_texts(parts, start..found).rev().find_map(asks))
}

/// The question in the instructions around the document, in the same text.
fn read_question(request: &Request<'_>, text: &str) -> Asked {
    let split = by_reading(text);
    let (head, tail) = (split.head(text), split.tail(text));
    let mut needs = need(head).max(need(tail));
    if split.marks == Marks::Paragraphs {
        needs = needs.max(system_need(request));
    }
    let (head, tail) = (without_tags(head), without_tags(tail));
    let (question, is_prefix) = match (best(&tail), best(&head)) {
        (Some(question), _) => (question, true),
        (None, Some(question)) => (question, false),
        (None, None) => ("", true),
    };
    let question = clip(question);
    Asked {
        question,
        need: needs,
        is_prefix,
        split,
    }
}

/// What the system text asks of everything that a user sends: "You translate what you are given."
fn system_need(request: &Request<'_>) -> Need {
    let system = request
        .parts
        .iter()
        .filter(|part| part.role == Role::System)
        .filter_map(|part| part.text);
    let short = system.filter(|text| text.raw().len() <= LONGEST_QUESTION);
    short
        .map(|text| need(&text.decode_lossy()))
        .max()
        .unwrap_or(Need::Evidence)
}

/// Instructions without tags such as `<question>`: what was in one is a paragraph of its own.
fn without_tags(instructions: &str) -> String {
    let mut text = String::with_capacity(instructions.len());
    let mut rest = instructions;
    while let Some((before, from)) = rest.split_once('<') {
        text.push_str(before);
        let opens = from.starts_with(|c: char| c == '/' || c.is_alphabetic());
        let tag = from.find('>').filter(|end| opens && *end < 256);
        match tag {
            Some(end) => {
                text.push_str("\n\n");
                rest = &from[end + 1..];
            }
            None => {
                text.push('<');
                rest = from;
            }
        }
    }
    text + rest
}

/// The part of some instructions that asks: behind a label, else the last paragraph that reads as a question.
fn best(instructions: &str) -> Option<&str> {
    let labelled = instructions
        .match_indices('\n')
        .map(|(at, _)| at + 1)
        .chain([0])
        .filter_map(|at| {
            let rest = question_label(&instructions[at..])?.trim();
            (!rest.is_empty()).then_some((at, rest))
        });
    if let Some((_, question)) = labelled.max_by_key(|(at, _)| *at) {
        let end = question.find("\n\n").unwrap_or(question.len());
        return Some(question[..end].trim());
    }
    let asking = || {
        instructions
            .rsplit("\n\n")
            .map(str::trim)
            .filter(|paragraph| asks(paragraph))
    };
    asking()
        .find(|paragraph| paragraph.contains(['?', '？', '؟']))
        .or_else(|| asking().next())
}

fn clip(question: &str) -> String {
    let question = question.trim();
    question[..question.floor_char_boundary(ASKED)].to_owned()
}

/// Rules out a document by what it is and how long it is.
fn check_document(plan: &mut Plan<'_>, marks: Marks, settings: &Settings) -> Result<(), Reason> {
    let document = plan.document();
    if document.len() as u64 > settings.max_document_bytes {
        return Err(Reason::TooLong);
    }
    if document.is_empty() {
        return Err(Reason::TooShort);
    }
    let tokens = tokens::estimate(document);
    if tokens < settings.min_document_tokens && settings.mode != Mode::Force {
        return Err(Reason::TooShort);
    }
    let verdict = match content::classify(document) {
        _ if marks == (Marks::Fence { code: true }) => Err(Reason::Code),
        Content::Code => Err(Reason::Code),
        Content::Opaque => Err(Reason::NotProse),
        Content::Text => Ok(()),
    };
    plan.document_tokens = tokens;
    verdict
}

/// By question, by coverage, or not at all.
fn select(need: Need, question: &str, settings: &Settings) -> Result<Reason, Reason> {
    let (whole, reason) = match need {
        Need::Everything => return Err(Reason::NeedsEverything),
        Need::Overview => (settings.overview, Reason::NeedsOverview),
        Need::Evidence if question.is_empty() => (settings.no_question, Reason::NoQuestion),
        Need::Evidence => return Ok(Reason::Question),
    };
    match whole {
        WholeDocument::Pass if settings.mode != Mode::Force => Err(reason),
        _ => Ok(Reason::Coverage),
    }
}
