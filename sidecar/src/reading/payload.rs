//! A text of the user's that a program wrote: JSON with a document, a question, or both in it.

use std::sync::Arc;

use super::ends::trim;
use super::speech::is_request;
use super::split::{QuestionName, is_answer_name, rank_name};
use super::user::ReadText;
use super::view::AskSource;
use super::words::{Instructions, Said, read_instructions};
use crate::need::QUESTION_MARKS;
use crate::request::{JsonText, Text};

/// The longest string that asks, in bytes, and most of them: more are a document's own.
const LONGEST: usize = 2_000;
const MOST: usize = 24;

/// Reads texts that are JSON by the names in it, if no other text asks.
pub(super) fn read_payloads(texts: &[(usize, Arc<Text<'_>>)], read: &mut [ReadText]) {
    for at in 0..read.len() {
        let others = read
            .iter()
            .enumerate()
            .any(|(other, text)| other != at && text.asks());
        let (Some((_, text)), Some(found)) = (texts.get(at), read.get_mut(at)) else {
            continue;
        };
        let words = found.documents.is_empty();
        if (words || !others)
            && let Some(payload) = read_payload(text, words)
        {
            *found = payload;
        }
    }
}

/// Reads a text that is JSON and asks. `words` says that it holds no document.
fn read_payload(text: &Arc<Text<'_>>, words: bool) -> Option<ReadText> {
    let said = text.as_str();
    let strings = text.strings()?;
    // What comes with answers is a document: a list of questions and answers.
    let answers =
        |string: &JsonText<'_>| !string.text.as_str().trim().is_empty() && is_answer_name(&string.key);
    if strings.iter().any(answers) {
        return None;
    }
    let asked: Vec<_> = strings.iter().flat_map(read_string).collect();
    if asked.is_empty() || asked.len() > MOST {
        return None;
    }
    let request: Vec<_> = asked.iter().map(|said| said.text.as_str()).collect();
    let document = trim(said, 0..said.len());
    Some(ReadText {
        documents: if words { Vec::new() } else { vec![document] },
        instructions: Instructions {
            request: request.join("\n"),
            said: asked,
            ..Instructions::default()
        },
        words_start: Some(0),
        ..ReadText::default()
    })
}

/// Returns what a string asks: by the name of its value, or because it ends as a question does.
fn read_string(string: &JsonText<'_>) -> Vec<Said> {
    let text = string.text.as_str().trim();
    if text.len() > LONGEST || !text.contains(char::is_whitespace) && text.is_ascii() {
        return Vec::new();
    }
    let say = |source| {
        vec![Said {
            text: text.to_owned(),
            weight: 1.0,
            source,
        }]
    };
    match rank_name(&string.key) {
        Some(QuestionName::Question | QuestionName::Task) => say(AskSource::Label),
        Some(QuestionName::Instructions) => read_instructions(text).said,
        None if text.ends_with(QUESTION_MARKS) && is_request(text) => say(AskSource::Numbered),
        None => Vec::new(),
    }
}
