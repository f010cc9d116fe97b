//! Finds the question on a document: in another text of the same turn, or in the instructions around it.

use std::borrow::Cow;

use super::need::{Need, asks, assess_need, only_points};
use super::plan::user_texts;
use super::split::{Marks, Split, is_answer_label, question_label, split_by_marks, split_by_reading};
use crate::api::Reason;
use crate::request::{Hybrid, Literal, Part, Request, Role};

/// Longer texts of a user are documents, never questions. Bytes of the JSON string.
pub(super) const LONGEST_QUESTION: usize = 8 << 10;
/// The longest question that a worker is asked, in bytes.
const ASKED: usize = 4 << 10;

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
    match other_question(&request.parts, found) {
        Some((question, behind)) => {
            let split = split_by_marks(text);
            let outside = assess_need(split.head(text)).max(assess_need(split.tail(text)));
            let need = assess_need(&question).max(outside);
            Ok(FoundQuestion {
                split,
                question: clip(&question),
                need,
                is_prefix: behind,
            })
        }
        None => Ok(read_question(request, text)),
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
            let need = assess_need(&prompt);
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

/// Finds the question in another text of the document's turn: the last one behind the document, else the last
/// before.
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

/// Finds the question in the instructions around the document, in the same text.
fn read_question(request: &Request<'_>, text: &str) -> FoundQuestion {
    let split = split_by_reading(text);
    let (head, tail) = (split.head(text), split.tail(text));
    let mut needs = assess_need(head).max(assess_need(tail));
    if split.marks == Marks::Paragraphs {
        needs = needs.max(system_need(request));
    }
    let (head, tail) = (without_tags(head), without_tags(tail));
    let (question, is_prefix) = match (pick_question(&tail), pick_question(&head)) {
        // Without marks, what ends the text may be the document's own question: both are asked.
        (Some(last), Some(first)) if split.marks == Marks::Paragraphs && !only_points(first) => {
            (format!("{first}\n{last}"), false)
        }
        (Some(question), _) => (question.to_owned(), true),
        (None, Some(question)) => (question.to_owned(), false),
        // Whatever a template puts behind its document is what it wants to know.
        (None, None) => (last_paragraph(&tail).to_owned(), true),
    };
    let question = clip(&question);
    FoundQuestion {
        question,
        need: needs,
        is_prefix,
        split,
    }
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

/// Removes tags such as `<question>` from instructions: what was in one is a paragraph of its own.
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

/// Picks the part of some instructions that asks: behind a label, else the last paragraph that reads as a
/// question.
fn pick_question(instructions: &str) -> Option<&str> {
    let labelled = instructions
        .match_indices('\n')
        .map(|(at, _)| at + 1)
        .chain([0])
        .filter_map(|at| {
            let rest = question_label(&instructions[at..])?.trim();
            (!rest.is_empty()).then_some((at, rest))
        });
    if let Some((_, question)) = labelled.max_by_key(|(at, _)| *at) {
        return Some(before_answer(question)).filter(|question| !question.is_empty());
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

/// Returns the paragraph that a question starts, without the label that its answer is to follow.
fn before_answer(question: &str) -> &str {
    let mut end = 0;
    for line in question.split_inclusive('\n') {
        if line.trim().is_empty() || is_answer_label(line) {
            break;
        }
        end += line.len();
    }
    question[..end].trim()
}

/// Returns the last paragraph with a word in it.
fn last_paragraph(instructions: &str) -> &str {
    let paragraphs = instructions.rsplit("\n\n").map(str::trim);
    let mut words = paragraphs.filter(|text| text.contains(char::is_alphanumeric) && !is_answer_label(text));
    words.next().unwrap_or_default()
}

pub(super) fn clip(question: &str) -> String {
    let question = question.trim();
    question[..question.floor_char_boundary(ASKED)].to_owned()
}
