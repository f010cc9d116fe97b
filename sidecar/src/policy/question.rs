//! Finds the question on a document: in another text of the same turn, or in the instructions around it.

use std::borrow::Cow;

use super::need::{Need, assess_need};
use super::plan::user_texts;
use super::rows::assess_need_of;
use crate::api::Reason;
use crate::reading::{
    Asked, Frame, Marks, Split, is_about_form, is_note, only_points, split_by_marks, split_by_reading,
};
use crate::request::{Hybrid, Literal, Part, PartKind, Request, Role};

/// Longer texts of a user are documents, never questions. Bytes of the JSON string.
pub(super) const LONGEST_QUESTION: usize = 8 << 10;
/// The longest question that a worker is asked, in bytes.
const ASKED: usize = 4 << 10;

/// Of a longer frame this much is read, from its outer end.
const FRAME: usize = 64 << 10;

/// A document within its text, and the question on it.
pub(super) struct FoundQuestion {
    /// The document within its text.
    pub(super) split: Split,
    /// Empty if there is none.
    pub(super) question: String,
    pub(super) need: Need,
    /// True if the question stands behind the document.
    pub(super) is_prefix: bool,
}

/// Finds the question: in another text of the same turn, or in the instructions around the document.
pub(super) fn find_question(
    request: &Request<'_>,
    found: usize,
    text: &str,
) -> Result<FoundQuestion, Reason> {
    if let Some(hybrid) = &request.hybrid {
        return find_hybrid_question(hybrid, text);
    }
    let mut others = other_texts(&request.parts, found);
    let spoken = others.iter().position(|other| other.kind == OtherKind::Spoken);
    let found = match spoken {
        Some(at) => with_other(text, others.swap_remove(at)),
        None => {
            let own = read_question(request, text);
            let marked = !matches!(own.split.marks, Marks::Paragraphs | Marks::None);
            let form = others.iter().position(|other| other.kind == OtherKind::Form);
            match form.filter(|_| !marked || own.question.is_empty()) {
                Some(at) => with_other(text, others.swap_remove(at)),
                None if own.question.is_empty() && !others.is_empty() => {
                    with_other(text, others.swap_remove(0))
                }
                None => own,
            }
        }
    };
    let need = assess_need_of(&found.question, &text[found.split.document.clone()]);
    Ok(FoundQuestion {
        need: found.need.max(need),
        ..found
    })
}

/// Cuts a document whose question stands in another text.
fn with_other(text: &str, other: OtherText) -> FoundQuestion {
    let split = split_by_marks(text);
    let frames = [split.head(text), split.tail(text)].map(|frame| frame_need(&Frame::read(frame)));
    FoundQuestion {
        need: frames.into_iter().fold(Need::Evidence, Need::max),
        question: clip(&other.text),
        is_prefix: other.is_behind,
        split,
    }
}

/// Takes the question of a `/v1/hybrid_chat` call: `extraction_task`, by which the caller chose to have
/// evidence extracted, whatever its words; without one the prompt, read like any other question.
fn find_hybrid_question(hybrid: &Hybrid<'_>, text: &str) -> Result<FoundQuestion, Reason> {
    let decode = |literal: Literal<'_>| {
        literal
            .decode()
            .map(Cow::into_owned)
            .map_err(|_| Reason::LoneSurrogate)
    };
    let task = hybrid
        .task
        .map(decode)
        .transpose()?
        .filter(|task| !task.trim().is_empty());
    let (question, need) = match task {
        Some(task) => (task, Need::Evidence),
        None => {
            let prompt = decode(hybrid.prompt)?;
            let need = assess_need_of(&prompt, text);
            (prompt, need)
        }
    };
    let split = Split {
        document: 0..text.len(),
        marks: Marks::Tags,
    };
    Ok(FoundQuestion {
        split,
        question: clip(&question),
        need,
        is_prefix: true,
    })
}

/// Another short text of the document's turn.
struct OtherText {
    text: String,
    /// It stands behind the document.
    is_behind: bool,
    kind: OtherKind,
}

/// The kind of a text beside a document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OtherKind {
    /// Words of the user.
    Spoken,
    /// An order about the answer's form.
    Form,
    /// A client's note.
    Note,
}

/// Reads the other texts of the document's turn: those behind the document, the last first, then those before it.
/// Of each what its user says, without the blocks that a client adds; nothing of a text that is such a block.
fn other_texts(parts: &[Part<'_>], found: usize) -> Vec<OtherText> {
    let spoken = |part: &Part<'_>| matches!(part.role, Role::Assistant | Role::Tool);
    let start = parts[..found].iter().rposition(spoken).map_or(0, |at| at + 1);
    let end = parts[found..]
        .iter()
        .position(spoken)
        .map_or(parts.len(), |at| found + at);
    let read = |(at, text): (usize, Literal<'_>)| {
        let short = at != found && text.raw().len() <= LONGEST_QUESTION;
        let text = (short && parts[at].kind == PartKind::Text).then(|| text.decode_lossy())?;
        let said = said_by_user(&text)?;
        let kind = match () {
            () if is_note(said) => OtherKind::Note,
            () if is_about_form(said) => OtherKind::Form,
            () => OtherKind::Spoken,
        };
        Some(OtherText {
            text: said.to_owned(),
            is_behind: at > found,
            kind,
        })
    };
    let behind = user_texts(parts, found..end).rev();
    let before = user_texts(parts, start..found).rev();
    behind.chain(before).filter_map(read).collect()
}

/// Returns what the user says in a short text: what is tagged as that, or what stands in no tag.
fn said_by_user(text: &str) -> Option<&str> {
    let frame = Frame::read(text);
    let tagged = || frame.tagged_question().map(|asked| asked.text);
    let loose = match frame.pieces.as_slice() {
        [] => None,
        [piece] => Some(*piece),
        // Words of a user in several pieces: the ones that ask.
        [.., last] => Some(frame.pick_question().map_or(*last, |asked| asked.text)),
    };
    tagged()
        .or(loose)
        .filter(|said| said.contains(char::is_alphanumeric))
}

/// Finds the question in the instructions around the document, in the same text.
fn read_question(request: &Request<'_>, text: &str) -> FoundQuestion {
    let split = split_by_reading(text);
    let by_paragraphs = split.marks == Marks::Paragraphs;
    let (head, tail) = (split.head(text), split.tail(text));
    let head = Frame::read(&head[..head.floor_char_boundary(FRAME)]);
    let tail = Frame::read(&tail[tail.ceil_char_boundary(tail.len().saturating_sub(FRAME))..]);
    let mut need = frame_need(&head).max(frame_need(&tail));
    if by_paragraphs {
        need = need.max(system_need(request));
    }
    let (first, last) = (head.pick_question(), tail.pick_question());
    let users = |asked: Option<Asked<'_>>| asked.filter(Asked::is_users).map(|asked| asked.text.to_owned());
    let (question, is_prefix) = match (users(last), users(first)) {
        // Without marks, what ends the text may be the document's own question: both are asked.
        (Some(last), Some(first)) if by_paragraphs && !only_points(&first) => {
            (format!("{first}\n{last}"), false)
        }
        (Some(question), _) => (question, true),
        (None, Some(question)) => (question, false),
        (None, None) => match last.or(first) {
            Some(asked) => (asked.text.to_owned(), last.is_some()),
            // Whatever a template puts behind its document is what it wants to know.
            None if !by_paragraphs => (tail.last_paragraph().to_owned(), true),
            None => (String::new(), true),
        },
    };
    FoundQuestion {
        question: clip(&question),
        need,
        is_prefix,
        split,
    }
}

/// Judges what a frame demands of the document.
fn frame_need(frame: &Frame<'_>) -> Need {
    frame.texts().map(assess_need).max().unwrap_or(Need::Evidence)
}

/// Judges what the system text demands of everything that a user sends: "You translate what you are given."
fn system_need(request: &Request<'_>) -> Need {
    let system = request
        .parts
        .iter()
        .filter(|part| part.role == Role::System)
        .filter_map(|part| part.text);
    let short = system.filter(|text| text.raw().len() <= LONGEST_QUESTION);
    short
        .map(|text| assess_need(&text.decode_lossy()))
        .max()
        .unwrap_or(Need::Evidence)
}

pub(super) fn clip(question: &str) -> String {
    let question = question.trim();
    question[..question.floor_char_boundary(ASKED)].to_owned()
}
