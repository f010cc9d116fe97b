//! Requests at the ends of a text that no mark tells from its document, in any language: last (or first) paragraphs of
//! another kind than their neighbours. What is in doubt belongs to the instructions.

use std::ops::Range;

use super::phrases::asks;
use super::speech::{RequestReader, is_certainly_content, list_mark, without_list_mark};
use super::split::{is_answer_label, lead_before_text};

/// The longest paragraph that is taken for a request, and the most bytes of all at one end.
const PARAGRAPH: usize = 2_000;
const NEAR: usize = 6_000;
/// Most paragraphs at one end.
const PARAGRAPHS: usize = 40;
/// The longest paragraph that closes a request ("Thanks, Anna"), and most of them.
const CLOSING: usize = 60;
const CLOSINGS: usize = 2;
/// The longest line, and the longest paragraph, that is taken for a request though it stands in a document's own form.
const LINE: usize = 500;
const DOUBTFUL: usize = 400;

/// Returns a document without the paragraphs at its ends that ask or order.
pub(super) fn without_requests(text: &str, document: Range<usize>) -> Range<usize> {
    let reader = RequestReader::for_document(&text[document.clone()]);
    let end = end_before_requests(text, document.clone(), &reader);
    let start = start_behind_requests(text, document.start..end, &reader);
    if (start..end) == document {
        document
    } else {
        trim(text, start..end)
    }
}

/// Returns a range without the white space at its ends.
pub(super) fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let inner = text.get(range.clone()).unwrap_or_default();
    let start = range.start + (inner.len() - inner.trim_start().len());
    start..start + inner.trim().len()
}

/// Finds where the document ends before last paragraphs that ask, with the items of a list behind one.
fn end_before_requests(text: &str, document: Range<usize>, reader: &RequestReader) -> usize {
    let within = &text[document.clone()];
    let trimmed = within.trim_end();
    let near = trimmed.ceil_char_boundary(trimmed.len().saturating_sub(NEAR));
    let (mut end, mut reached, mut closings) = (trimmed.len(), trimmed.len(), 0);
    for _ in 0..PARAGRAPHS {
        let Some(at) = trimmed[near..reached].rfind("\n\n").map(|at| near + at) else {
            break;
        };
        let paragraph = trimmed[at..reached].trim();
        if paragraph.len() > PARAGRAPH {
            break;
        }
        if asks_from_its_start(paragraph, reader) || is_answer_label(paragraph) {
            end = at;
        } else if !paragraph.is_empty() && list_mark(paragraph).is_none() {
            // Items of a list and a closing belong to the request before them, if there is one.
            closings += 1;
            if closings > CLOSINGS || paragraph.len() > CLOSING {
                break;
            }
        }
        reached = at;
    }
    if end < trimmed.len() {
        return document.start + end;
    }
    let line = trimmed[near..].rfind('\n').map(|at| near + at);
    let asking = line.filter(|at| {
        let line = trimmed[*at..].trim();
        line.len() <= LINE && (asks(line) || reader.is_request(line) && !stands_in_turn(trimmed, *at, line))
    });
    asking.map_or(document.end, |at| document.start + at)
}

/// Returns true if a last line has the form of the line before it, as a transcript's have: the same first word, or a
/// speaker's name.
fn stands_in_turn(text: &str, at: usize, line: &str) -> bool {
    let before = text[..at].trim_end();
    let before = before.rsplit('\n').next().unwrap_or_default();
    let speaks = |line: &str| {
        let name = line.find([':', '：']).filter(|at| *at <= 40);
        name.is_some() || list_mark(line).is_some()
    };
    speaks(before) && speaks(line)
}

/// Finds where the document starts behind first paragraphs that ask.
fn start_behind_requests(text: &str, document: Range<usize>, reader: &RequestReader) -> usize {
    let within = &text[document.clone()];
    let near = &within[..within.floor_char_boundary(NEAR.min(within.len()))];
    let mut start = 0;
    for _ in 0..PARAGRAPHS {
        let Some(length) = near[start..].find("\n\n").filter(|length| *length <= PARAGRAPH) else {
            break;
        };
        let paragraph = near[start..start + length].trim();
        if !(paragraph.is_empty() || asks_from_its_start(paragraph, reader))
            || lead_before_text(paragraph).is_some()
        {
            break;
        }
        start += length + 2;
    }
    document.start + start
}

/// Returns true for a paragraph that asks from its first line on: a last line may ask behind a document's own text.
fn asks_from_its_start(paragraph: &str, reader: &RequestReader) -> bool {
    let first = paragraph.lines().next().unwrap_or_default();
    let alone = first.len() == paragraph.len();
    reader.is_request(paragraph) && (alone || reader.is_request(first) || first.starts_with('#'))
}

/// Returns the document before a last (else behind a first) paragraph that may be a request: one that is short, and
/// not surely of the document's kind. For a text of which nothing is asked elsewhere.
pub(super) fn without_doubtful(text: &str, document: Range<usize>) -> Option<Range<usize>> {
    let within = text[document.clone()].trim_end();
    let paragraphs = memchr::memmem::find_iter(within.as_bytes(), "\n\n").count() + 1;
    // What has the length of the document's own paragraphs is one of them.
    let longest = DOUBTFUL.min(within.len() / paragraphs / 2);
    let doubtful = |paragraph: &str| {
        let paragraph = paragraph.trim();
        let letters = paragraph.contains(char::is_alphabetic);
        let short = paragraph.len() <= longest && paragraph.len() * 10 <= within.len();
        letters
            && short
            && without_list_mark(paragraph).len() == paragraph.len()
            && !is_certainly_content(paragraph)
    };
    let near = within.ceil_char_boundary(within.len().saturating_sub(NEAR));
    let last = within[near..].rfind("\n\n").map(|at| near + at);
    if let Some(at) = last.filter(|at| doubtful(&within[*at..])) {
        return Some(trim(text, document.start..document.start + at));
    }
    let near = within.floor_char_boundary(NEAR.min(within.len()));
    let first = within[..near].find("\n\n");
    first
        .filter(|at| doubtful(&within[..*at]))
        .map(|at| trim(text, document.start + at..document.end))
}
