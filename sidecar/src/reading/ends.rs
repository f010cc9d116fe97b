//! Requests at the ends of a text that no mark tells from its document, in any language: last (or first) paragraphs of
//! another kind than their neighbours. What is in doubt belongs to the instructions.

use std::ops::Range;

use super::speech::{
    RequestReader, is_certainly_content, is_request_by_model, judge, list_mark, without_list_mark,
};
use super::split::{is_answer_label, is_speakers_turn, is_table, lead_before_text};
use crate::need::{Need, QUESTION_MARKS};

/// The longest paragraph that is taken for a request, and the most bytes of all at one end.
const PARAGRAPH: usize = 2_000;
const NEAR: usize = 6_000;
/// Most paragraphs at one end.
const PARAGRAPHS: usize = 40;
/// The longest paragraph that closes a request ("Thanks, Anna"), and most of them.
const CLOSING: usize = 60;
const CLOSINGS: usize = 2;
/// The longest paragraph that says something beside a request, most of them before one, and the fewest words of each.
const BESIDE: usize = 600;
const BESIDES: usize = 3;
const FEWEST_WORDS: usize = 5;
/// The longest remark beside a document, in bytes.
const REMARK: usize = 200;
/// The longest last line that is a request, and the longest paragraph that may be one.
const LINE: usize = 500;
const DOUBTFUL: usize = 400;

/// Returns a document without the paragraphs at its ends that ask or order: those that show it by their words, and
/// where none has a question mark those that the model finds.
pub(super) fn without_requests(text: &str, document: Range<usize>) -> Range<usize> {
    let by_form = &RequestReader::BY_FORM;
    let mut end = end_before_requests(text, document.clone(), by_form);
    let mut start = start_behind_requests(text, document.start..end, by_form);
    let asks = |frame: Range<usize>| text[frame].contains(QUESTION_MARKS);
    let reader = RequestReader::for_document(&text[start..end]);
    if !asks(document.start..start) && !asks(end..document.end) {
        let behind = start_behind_requests(text, start..end, &reader);
        if asks(start..behind) {
            start = behind;
        } else {
            let before = end;
            end = end_before_requests(text, start..end, &reader);
            start = if end == before { behind } else { start };
        }
    } else {
        // The question is known; a short remark beside the document stays as it is.
        end = end_before_remark(text, start..end, &reader);
        start = start_behind_remark(text, start..end, &reader);
    }
    if (start..end) == document {
        document
    } else {
        trim(text, start..end)
    }
}

fn end_before_remark(text: &str, document: Range<usize>, reader: &RequestReader) -> usize {
    let within = text[document.clone()].trim_end();
    let near = within.ceil_char_boundary(within.len().saturating_sub(REMARK));
    let last = within[near..].rfind("\n\n").map(|at| near + at);
    let remark = last
        .filter(|at| reader.is_request(&within[*at..]) && !is_speakers_turn(&within[..*at], &within[*at..]));
    remark.map_or(document.end, |at| document.start + at)
}

fn start_behind_remark(text: &str, document: Range<usize>, reader: &RequestReader) -> usize {
    let within = text[document.clone()].trim_start();
    let near = &within[..within.floor_char_boundary(REMARK.min(within.len()))];
    let first = near
        .find("\n\n")
        .filter(|at| reader.is_request(&near[..*at]) && !is_speakers_turn(&within[*at..], near));
    first.map_or(document.start, |at| {
        document.end - text[document.clone()].trim_start().len() + at
    })
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
        let asks = asks_from_its_start(paragraph, reader) && !is_speakers_turn(&trimmed[near..at], paragraph);
        if asks || is_answer_label(paragraph) {
            end = at;
        } else if !paragraph.is_empty() && list_mark(paragraph).is_none() {
            // Items of a list and a closing belong to the request before them, if there is one.
            closings += 1;
            let closes = paragraph.len() <= CLOSING || speaks_beside(paragraph, reader);
            if end < trimmed.len() || closings > CLOSINGS || !closes {
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
        line.len() <= LINE && reader.is_request(line) && !is_speakers_turn(&trimmed[near..*at], line)
    });
    asking.map_or(document.end, |at| document.start + at)
}

/// Finds where the document starts behind first paragraphs that ask, with a greeting or a word beside them.
fn start_behind_requests(text: &str, document: Range<usize>, reader: &RequestReader) -> usize {
    let within = &text[document.clone()];
    let near = &within[..within.floor_char_boundary(NEAR.min(within.len()))];
    let (mut start, mut reached, mut beside) = (0, 0, 0);
    for _ in 0..PARAGRAPHS {
        let Some(length) = near[reached..].find("\n\n").filter(|length| *length <= PARAGRAPH) else {
            break;
        };
        let paragraph = near[reached..reached + length].trim();
        if lead_before_text(paragraph).is_some() || is_speakers_turn(&near[reached + length..], paragraph) {
            break;
        }
        reached += length + 2;
        let asks = asks_from_its_start(paragraph, reader);
        match () {
            () if asks
                && (beside == 0 || paragraph.ends_with(QUESTION_MARKS) || is_request_by_model(paragraph)) =>
            {
                (start, beside) = (reached, 0);
            }
            () if paragraph.is_empty() || closes(paragraph, start) || (start > 0 && is_table(paragraph)) => {
                start = if beside == 0 { reached } else { start };
            }
            () if beside < BESIDES && (is_greeting(paragraph) || speaks_beside(paragraph, reader)) => {
                beside += 1;
            }
            () => break,
        }
    }
    document.start + start
}

/// Returns true for a greeting or thanks: one line that ends with a comma, or that asks nothing.
fn is_greeting(paragraph: &str) -> bool {
    let short =
        paragraph.len() <= CLOSING && !paragraph.contains('\n') && !paragraph.contains(QUESTION_MARKS);
    short
        && (paragraph.ends_with([',', '，', '،'])
            || (paragraph.ends_with(['!', '！', '.']) && judge(paragraph) == Need::None))
}

/// Returns true for the closing of a request that stands before it: "Best,\nJo".
fn closes(paragraph: &str, start: usize) -> bool {
    let first = paragraph.lines().next().unwrap_or_default();
    start > 0 && paragraph.len() <= CLOSING && is_greeting(first)
}

/// Returns true for what somebody says beside a request, unlike the document: "I got this from a colleague who has left."
fn speaks_beside(paragraph: &str, reader: &RequestReader) -> bool {
    let enough = paragraph.split_whitespace().nth(FEWEST_WORDS - 1).is_some();
    enough && paragraph.len() <= BESIDE && reader.is_unlike_document(paragraph)
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
