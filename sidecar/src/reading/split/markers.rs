//! Marker lines: sections that a template opens with a line of its own, such as `[[ ## context ## ]]`,
//! `<|document|>` or `=== QUESTION ===`.
//!
//! A name in brackets of two marks is nobody's heading, whatever it says. One between rules is a document's
//! heading too, and counts only if it names a document or a question.

use std::ops::Range;

use super::labels::{is_document_name, rank_name};
use super::paragraphs::last_paragraphs;
use super::{Marks, Split, lines};

/// The longest marker line, in bytes.
const LONGEST: usize = 80;
/// A template has fewer sections; a document that has more of this form is no template.
const SECTIONS: usize = 32;
/// Brackets of two marks, opening.
const BRACKETS: [&str; 5] = ["[[", "<<", "{{", "<|", "[#"];

/// A line that opens a section.
struct Marker<'a> {
    /// What stands before the name.
    style: &'a str,
    name: &'a str,
}

/// Reads a marker line: a short name between two equal decorations.
fn read_marker(line: &str) -> Option<Marker<'_>> {
    let line = line.trim();
    let decorated = line.starts_with(|c: char| !c.is_alphanumeric());
    if line.len() > LONGEST || !decorated || line.ends_with(char::is_alphanumeric) {
        return None;
    }
    let start = line.find(char::is_alphanumeric)?;
    let last = line.char_indices().rfind(|(_, c)| c.is_alphanumeric())?;
    let end = last.0 + last.1.len_utf8();
    let (style, name, closing) = (&line[..start], &line[start..end], &line[end..]);
    let plain = name.chars().all(|c| c.is_alphanumeric() || " _-.#".contains(c));
    let mirrored = closing.chars().rev().map(mirror).eq(style.chars());
    if !plain || !mirrored || name.split_whitespace().count() > 5 {
        return None;
    }
    let rule = style.trim();
    let bracketed = BRACKETS.iter().any(|bracket| rule.starts_with(bracket));
    // A number makes it the heading of a passage.
    let numbered = name.contains(|c: char| c.is_ascii_digit());
    let named = || !numbered && (is_document_name(name) || rank_name(name).is_some());
    let ruled = rule.len() >= 2 || rule == "[";
    (bracketed || (ruled && named())).then_some(Marker { style, name })
}

fn mirror(mark: char) -> char {
    match mark {
        ']' => '[',
        '>' => '<',
        '}' => '{',
        ')' => '(',
        other => other,
    }
}

/// Returns true for a line that opens or closes a section of a template.
pub(in crate::reading) fn is_marker_line(line: &str) -> bool {
    read_marker(line).is_some() || is_closing(line)
}

/// Returns true for a line such as `[/CONTEXT]`.
fn is_closing(line: &str) -> bool {
    let short = line.trim().len() <= LONGEST && line.contains('/');
    short && read_marker(&line.replacen('/', "", 1)).is_some()
}

/// Returns the name on a marker line.
pub(super) fn marker_name(line: &str) -> Option<&str> {
    read_marker(line).map(|marker| marker.name)
}

/// Splits a text into the sections of its marker lines. The longest one is the document, if it is more than a
/// third of all; orders at the end of the last section are no part of it.
pub(super) fn split_by_markers(text: &str) -> Option<Split> {
    let mut markers = lines(text, 0..text.len())
        .filter_map(|line| Some((line.clone(), read_marker(&text[line])?)))
        .peekable();
    let style = markers.peek()?.1.style;
    let markers: Vec<_> = markers
        .filter(|(_, marker)| marker.style == style)
        .take(SECTIONS + 1)
        .collect();
    if markers.len() > SECTIONS {
        return None;
    }
    let ends = markers.iter().skip(1).map(|(line, _)| line.start);
    let sections = markers.iter().zip(ends.chain([text.len()]));
    let evidence = sections.filter(|((_, marker), _)| rank_name(marker.name).is_none());
    let (start, end) = evidence
        .map(|((line, _), end)| (line.end, end))
        .max_by_key(|(start, end)| end - start)?;
    let section = text[start..end].trim_end();
    let last = section.rfind('\n').map_or(0, |at| at + 1);
    if is_closing(&section[last..]) {
        return Split::of_share(text, start..start + last, Marks::Tags, 3);
    }
    let section = &text[start..end];
    let end = if end == text.len() {
        start + last_paragraphs(section)
    } else {
        end
    };
    let range: Range<usize> = start..end;
    Split::of_share(text, range, Marks::Tags, 3)
}
