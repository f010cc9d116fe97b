//! Runs of numbered passages: `[1] ...`, `Document 2: ...`, as retrieval puts them into a prompt.

use super::labels::{instructs, is_document_name};
use super::paragraphs::orders;
use super::{PARAGRAPH, front, lines};

/// A run is looked for from so many lines that could begin one.
const TRIES: usize = 8;
/// A longer text before the first passage must ask or instruct to be no document's introduction.
const TITLE: usize = 200;

/// Finds where the first of at least two numbered passages starts, if what stands before it is a title or
/// instructions.
pub(super) fn first_passage(text: &str) -> Option<usize> {
    let first = lines(text, 0..front(text).len())
        .filter_map(|line| Some((line.start, next_number(&text[line])?)))
        .take(TRIES)
        .find(|(start, next)| memchr::memmem::find(&text.as_bytes()[*start..], next.as_bytes()).is_some());
    let (start, _) = first?;
    let preface = text[..start].trim();
    let framed = || preface.split("\n\n").any(orders) || instructs(preface);
    let short = preface.len() <= TITLE || (preface.len() <= 2 * PARAGRAPH && framed());
    short.then_some(start)
}

/// Returns how the second passage of a run starts, for a line that can start the first one.
fn next_number(line: &str) -> Option<String> {
    let at = line
        .find(|c: char| c.is_ascii_digit())
        .filter(|at| *at > 0 && *at <= 24)?;
    let (before, from) = line.split_at(at);
    let digits = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
    let number: u32 = from[..digits].parse().ok().filter(|number| *number <= 1)?;
    let bracketed = before.trim_end().ends_with(['[', '(', '【', '<', '{']);
    let name = before.trim_matches(|c: char| !c.is_alphanumeric());
    if !(bracketed || is_document_name(name)) {
        return None;
    }
    let behind = from[digits..].chars().next();
    let closing = behind.filter(|c| !c.is_alphanumeric()).map(String::from);
    Some(format!("\n{before}{}{}", number + 1, closing.unwrap_or_default()))
}
