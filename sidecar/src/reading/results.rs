//! Documents in what tools answered: the whole text, or the long texts in its JSON, never the JSON itself.

use std::ops::Range;
use std::sync::Arc;

use super::output::{reason_by_kind, reason_to_keep, reason_to_keep_value};
use super::split::{Marks, is_note, split_by_marks};
use crate::api::Reason;
use crate::request::Text;

/// Shorter texts stay, in bytes.
const SHORTEST: usize = 200;
/// The longest text that is a passage among others.
const LONGEST_PASSAGE: usize = 12 << 10;
/// The longest remark behind a result: "[truncated; call again with an offset]".
const REMARK: usize = 300;

/// A document in a tool's answer.
pub(super) struct ResultDocument<'a> {
    pub(super) text: Arc<Text<'a>>,
    pub(super) range: Range<usize>,
    pub(super) passage: bool,
    pub(super) keep: Option<Reason>,
}

/// Finds the documents in a tool's answer.
pub(super) fn read_result<'a>(text: &Arc<Text<'a>>) -> Vec<ResultDocument<'a>> {
    if text.as_str().len() < SHORTEST {
        return Vec::new();
    }
    match read_json(text, 0..text.as_str().len()) {
        Some(found) => found,
        None => vec![read_text(text)],
    }
}

/// Finds the documents in the JSON that fills a range of a text; `None` if that is no JSON.
pub(super) fn read_json<'a>(text: &Arc<Text<'a>>, range: Range<usize>) -> Option<Vec<ResultDocument<'a>>> {
    let long = text
        .strings_in(range)?
        .into_iter()
        .filter(|value| !holds_no_document(&value.key) && is_long_text(value.text.as_str()));
    let long: Vec<_> = long.map(|value| value.text).collect();
    let several = long.len() > 1;
    Some(long.into_iter().map(|text| read_value(text, several)).collect())
}

fn read_value(text: Arc<Text<'_>>, several: bool) -> ResultDocument<'_> {
    let said = text.as_str();
    ResultDocument {
        range: 0..said.len(),
        passage: several && said.len() <= LONGEST_PASSAGE,
        keep: reason_to_keep_value(said),
        text,
    }
}

/// Cuts the document from marks and remarks around it.
fn read_text<'a>(text: &Arc<Text<'a>>) -> ResultDocument<'a> {
    let said = text.as_str();
    let split = split_by_marks(said);
    let range = without_remark(said, split.document);
    let document = &said[range.clone()];
    let keep = match split.marks {
        Marks::Fence { code: true, .. } => Some(Reason::Code),
        Marks::Fence { .. } => reason_by_kind(document).or_else(|| reason_to_keep(document)),
        _ => reason_to_keep(document),
    };
    ResultDocument {
        text: Arc::clone(text),
        range,
        passage: false,
        keep,
    }
}

/// Returns a document without a remark in brackets behind it.
fn without_remark(text: &str, document: Range<usize>) -> Range<usize> {
    let within = text[document.clone()].trim_end();
    let start = within.rfind('\n').map_or(0, |at| at + 1);
    let last = within[start..].trim();
    let remark =
        start > 0 && last.len() <= REMARK && (is_note(last) && last.starts_with('[') || is_in_brackets(last));
    if remark {
        document.start..document.start + within[..start].trim_end().len()
    } else {
        document
    }
}

fn is_in_brackets(line: &str) -> bool {
    (line.starts_with('(') && line.ends_with(')')) || (line.starts_with('<') && line.ends_with('>'))
}

/// Returns true for a text of a JSON value that may be a document: long, of words.
fn is_long_text(text: &str) -> bool {
    let sample = &text[..text.floor_char_boundary(2_000.min(text.len()))];
    let spaces = sample.chars().filter(|c| c.is_whitespace()).count();
    let ideographs = sample.chars().filter(|c| *c >= '\u{e00}').count();
    text.len() >= SHORTEST && (spaces * 25 >= sample.len() || ideographs * 6 >= sample.len())
}

/// Returns true for the name of a value that says what went wrong, or repeats what was asked.
fn holds_no_document(key: &str) -> bool {
    #[rustfmt::skip]
    let names = [
        "error", "errors", "stack", "stacktrace", "stack_trace", "traceback", "stderr", "command", "cmd", "query", "prompt", "system", "instruction",
        "instructions", "schema", "signature", "code", "diff", "patch",
    ];
    names.contains(&key.to_lowercase().as_str())
}
