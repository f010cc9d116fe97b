//! Paired tags: `<context>...</context>`, runs of `<source id="1">...</source>`, blocks of a client's.
//!
//! The names do not matter, but for two kinds: HTML's own elements are a document's, and what is named for a
//! question is one. A tag that is only spoken of ("where the <source> tag carries an id") has no partner of its
//! own: a closing tag belongs to the last one open of its name.

use std::collections::HashMap;
use std::ops::Range;

use memchr::memchr_iter;

use super::labels::instructs;
use super::labels::{QuestionName, rank_name};

/// The longest opening tag that is one, in bytes.
const LONGEST_TAG: usize = 512;
/// The longest text that may stand between two elements of a run.
const GAP: usize = 80;

/// An element: its two tags, and what lies between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::reading) struct Pair<'a> {
    pub(in crate::reading) name: &'a str,
    /// Bytes from the opening tag's first to the closing tag's last.
    pub(in crate::reading) outer: Range<usize>,
    pub(in crate::reading) inner: Range<usize>,
}

impl Pair<'_> {
    pub(in crate::reading) fn question_name(&self) -> Option<QuestionName> {
        rank_name(self.name)
    }
}

/// The bytes that tags say are the document.
pub(super) struct Found {
    pub(super) range: Range<usize>,
    /// The tag is named for a question: the user's words and the document are in one.
    pub(super) is_question: bool,
}

/// Elements of HTML that hold a document's own parts.
#[rustfmt::skip]
const HTML: &[&str] = &[
    "html", "head", "body", "div", "span", "p", "a", "b", "i", "u", "em", "strong", "small", "sub", "sup", "br",
    "hr", "img", "ul", "ol", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tfoot", "tr", "td", "th",
    "caption", "h1", "h2", "h3", "h4", "h5", "h6", "header", "footer", "main", "nav", "aside", "section", "figure",
    "figcaption", "blockquote", "pre", "code", "style", "script", "noscript", "title", "meta", "link", "form",
    "label", "button", "select", "option", "textarea", "svg", "path", "g", "details", "summary", "iframe", "video",
    "audio", "picture", "template", "font", "center",
];

/// Finds the elements of a text that are not within others, in order. One pass.
pub(in crate::reading) fn pairs(text: &str) -> Vec<Pair<'_>> {
    let mut open: HashMap<&str, Vec<Range<usize>>> = HashMap::new();
    let mut found: Vec<Pair<'_>> = Vec::new();
    for at in memchr_iter(b'<', text.as_bytes()) {
        let Some(tag) = read_tag(text, at) else {
            continue;
        };
        if !tag.closes {
            open.entry(tag.name).or_default().push(tag.range);
            continue;
        }
        let Some(opening) = open.get_mut(tag.name).and_then(Vec::pop) else {
            continue;
        };
        // What it holds was found before it, and is within it.
        while found.last().is_some_and(|last| last.outer.start >= opening.start) {
            found.pop();
        }
        if found.last().is_some_and(|last| last.outer.end > opening.start) {
            continue;
        }
        found.push(Pair {
            name: tag.name,
            outer: opening.start..tag.range.end,
            inner: opening.end..tag.range.start,
        });
    }
    found
}

struct Tag<'a> {
    name: &'a str,
    closes: bool,
    range: Range<usize>,
}

fn read_tag(text: &str, at: usize) -> Option<Tag<'_>> {
    let rest = &text[at + 1..];
    let closes = rest.starts_with('/');
    let rest = &rest[usize::from(closes)..];
    if !rest.starts_with(char::is_alphabetic) {
        return None;
    }
    let name_end = rest.find(|c: char| !c.is_alphanumeric() && !"_-.:".contains(c))?;
    let name = &rest[..name_end];
    let bytes = rest.as_bytes();
    let close = memchr::memchr2(b'>', b'<', &bytes[..bytes.len().min(LONGEST_TAG)])?;
    let itself = bytes[close] != b'>' || bytes[close - 1] == b'/';
    let attributes = rest[name_end..close].is_empty() || rest[name_end..].starts_with(char::is_whitespace);
    if itself || !attributes || name.len() > 64 || is_html(name) {
        return None;
    }
    let start = at + 1 + usize::from(closes);
    Some(Tag {
        name,
        closes,
        range: at..start + close + 1,
    })
}

/// Returns the pieces of a text between its outermost elements, and between tags without a partner.
pub(in crate::reading) fn pieces_outside<'a>(text: &'a str, pairs: &[Pair<'a>]) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let ends = pairs.iter().map(|pair| pair.outer.clone());
    for element in ends.chain(std::iter::once(text.len()..text.len())) {
        let tags = memchr_iter(b'<', &text.as_bytes()[at..element.start]);
        let alone: Vec<_> = tags
            .filter_map(|tag| Some(read_tag(text, at + tag)?.range))
            .collect();
        // One within a line is spoken of: "quote what the <source> tag holds".
        let ends = |tag: &Range<usize>| starts_line(text, tag.start) || ends_line(text, tag.end);
        for tag in alone
            .into_iter()
            .filter(|tag| tag.end <= element.start && ends(tag))
        {
            pieces.push(text[at..tag.start].trim());
            at = tag.end;
        }
        pieces.push(text[at..element.start].trim());
        at = element.end;
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

fn is_html(name: &str) -> bool {
    HTML.iter().any(|element| element.eq_ignore_ascii_case(name))
}

/// Finds the document among the outermost elements: the longest one or the longest run of one name, if it is
/// more than half of the text; else all long ones together, if they stand side by side.
pub(super) fn find_document(text: &str, pairs: &[Pair<'_>]) -> Option<Found> {
    let is_half = |range: &Range<usize>| range.len() * 2 > text.len();
    let longest = pairs.iter().max_by_key(|pair| pair.inner.len())?;
    if is_half(&longest.inner) {
        let is_question = longest.question_name().is_some();
        let inner = longest.inner.clone();
        return Some(Found {
            range: if is_question {
                inner
            } else {
                inner_document(text, inner)
            },
            is_question,
        });
    }
    let same = |one: &Pair<'_>, next: &Pair<'_>| one.name == next.name && one.question_name().is_none();
    let long = |pair: &Pair<'_>| pair.inner.len() >= 1_000 && pair.question_name().is_none();
    let run = longest_run(text, pairs, same)
        .filter(is_half)
        .or_else(|| longest_run(text, pairs, |one, next| long(one) && long(next)).filter(is_half))?;
    Some(Found {
        range: run,
        is_question: false,
    })
}

/// Returns the longest run of elements that stand side by side and belong together.
fn longest_run(
    text: &str,
    pairs: &[Pair<'_>],
    together: impl Fn(&Pair<'_>, &Pair<'_>) -> bool,
) -> Option<Range<usize>> {
    let mut longest = 0..0;
    let mut run = 0..0;
    for (at, pair) in pairs.iter().enumerate() {
        let joined = at.checked_sub(1).is_some_and(|before| {
            let before = &pairs[before];
            let gap = text[before.outer.end..pair.outer.start].trim();
            gap.len() <= GAP && !gap.ends_with('?') && together(before, pair)
        });
        run = if joined { run.start } else { pair.outer.start }..pair.outer.end;
        if run.len() > longest.len() {
            longest = run.clone();
        }
    }
    (!longest.is_empty()).then_some(longest)
}

/// Looks into an element for the one that holds the document, where the rest of it is frame as well.
pub(in crate::reading) fn inner_document(text: &str, range: Range<usize>) -> Range<usize> {
    let mut range = range;
    for _ in 0..super::NESTED {
        let inner = &text[range.clone()];
        let children = pairs(inner);
        let Some(child) = children.iter().max_by_key(|pair| pair.inner.len()) else {
            break;
        };
        let (before, behind) = (&inner[..child.outer.start], &inner[child.outer.end..]);
        let framed = child.inner.len() * 2 > inner.len() && (instructs(before) || instructs(behind));
        if child.question_name().is_some() || !(framed || child.inner.len() * 10 > inner.len() * 9) {
            break;
        }
        range = range.start + child.inner.start..range.start + child.inner.end;
    }
    range
}

/// Returns the text without the blocks at its ends: elements that begin and end a line and are less than half
/// of it.
pub(super) fn without_outer_blocks(text: &str, pairs: &[Pair<'_>]) -> Range<usize> {
    let (mut start, mut end) = (0, text.len());
    let small = |pair: &&Pair<'_>| pair.outer.len() * 2 < text.len();
    for pair in pairs.iter().take_while(small) {
        if !text[start..pair.outer.start].trim().is_empty() || !ends_line(text, pair.outer.end) {
            break;
        }
        start = pair.outer.end;
    }
    for pair in pairs.iter().rev().take_while(small) {
        if pair.outer.start < start
            || !text[pair.outer.end..end].trim().is_empty()
            || !starts_line(text, pair.outer.start)
        {
            break;
        }
        end = pair.outer.start;
    }
    start..end
}

fn starts_line(text: &str, at: usize) -> bool {
    let before = text[..at].trim_end_matches([' ', '\t']);
    before.is_empty() || before.ends_with(['\n', '>'])
}

fn ends_line(text: &str, at: usize) -> bool {
    let behind = text[at..].trim_start_matches([' ', '\t', '\r']);
    behind.is_empty() || behind.starts_with(['\n', '<'])
}
