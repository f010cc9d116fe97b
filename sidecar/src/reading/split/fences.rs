//! Fences and rulers around a document: three backticks, `"""`, a line of dashes.

use std::ops::Range;

use super::labels::{instructs, label_of_question};
use super::{Marks, PARAGRAPH, Split, back, front, lines};
use crate::reading::output::reason_to_keep;

/// Marks of fences: what opens with one is closed by the same.
const QUOTES: [&str; 4] = ["```", "~~~", "\"\"\"", "'''"];

/// Marks that rulers and banners are made of.
const RULES: &str = "-=*#_";
/// The shortest ruler, in marks.
const SHORTEST_RULER: usize = 3;

/// The line around YAML front matter.
const FRONT_MATTER: &str = "---";

/// The longest line that is a banner, in bytes.
const LONGEST_BANNER: usize = 80;

/// A line that opens or closes a quoted document: the mark, and what follows it on the line.
#[derive(Clone, Copy)]
struct Fence<'a> {
    mark: &'static str,
    info: &'a str,
    /// A label stands before it: `Text: """`.
    labelled: bool,
}

fn read_fence(line: &str) -> Option<Fence<'_>> {
    let line = line.trim();
    let labelled = |mark: &&str| {
        let label = line.strip_suffix(*mark);
        label.is_some_and(|label| label.trim_end().ends_with(':') && label.len() <= 80)
    };
    if let Some(mark) = QUOTES.into_iter().find(labelled) {
        return Some(Fence {
            mark,
            info: "",
            labelled: true,
        });
    }
    let mark = QUOTES.into_iter().find(|mark| line.starts_with(mark))?;
    let info = name_of_file(line.trim_start_matches(&mark[..1]).trim());
    // More than a word behind the mark is a sentence that begins with a quotation.
    (!info.contains([' ', '`'])).then_some(Fence {
        mark,
        info,
        labelled: false,
    })
}

/// Returns the ending of a file that a fence names instead of a language: `docs/lease.md (1-40)`.
fn name_of_file(info: &str) -> &str {
    let (path, lines) = info.split_once(' ').unwrap_or((info, ""));
    match path.rsplit_once('.') {
        Some((_, ending)) if lines.is_empty() || lines.starts_with('(') => ending,
        _ => info,
    }
}

/// Returns true for a line of one repeated mark, such as `---`.
pub(in crate::reading) fn is_ruler(line: &str) -> bool {
    let line = line.trim();
    let mut marks = line.chars();
    let mark = marks.next().filter(|mark| RULES.contains(*mark));
    line.len() >= SHORTEST_RULER && marks.all(|other| Some(other) == mark)
}

/// Returns true for a line of words between two rulers: `===== END OF TEXT =====`.
pub(in crate::reading) fn is_banner(line: &str) -> bool {
    let line = line.trim();
    let is_mark = |c: char| RULES.contains(c);
    let is_ruled = |rest: &str| line.len() - rest.len() >= SHORTEST_RULER;
    line.len() <= LONGEST_BANNER
        && is_ruled(line.trim_start_matches(is_mark))
        && is_ruled(line.trim_end_matches(is_mark))
        && line.contains(char::is_alphanumeric)
}

/// Fences that name one of these hold prose or data, not code.
#[rustfmt::skip]
const NOT_CODE: &[&str] = &[
    "", "text", "txt", "plaintext", "plain", "markdown", "md", "json", "jsonl", "csv", "tsv", "html", "xml", "log",
    "logs", "output", "pdf", "doc", "docx", "odt", "rtf", "rst", "eml", "vtt", "srt",
];

/// Fences that name one of these hold settings, or records with long texts in them.
const RECORDS: &[&str] = &["yaml", "yml", "toml"];

/// Returns whether the block of a fence is code, or settings that a later step must match exactly.
fn is_code(info: &str, block: &str) -> bool {
    let info = info.to_ascii_lowercase();
    match info.as_str() {
        info if RECORDS.contains(&info) => reason_to_keep(block).is_some(),
        info => !NOT_CODE.contains(&info),
    }
}

/// Finds where the YAML front matter of a text ends, if it says what is asked: `---`, lines of `name: value`, `---`.
pub(super) fn asking_front_matter(text: &str) -> Option<usize> {
    let mut lines = lines(text, 0..front(text).len());
    lines
        .next()
        .filter(|line| text[line.clone()].trim_end() == FRONT_MATTER)?;
    let close = lines.find(|line| text[line.clone()].trim_end() == FRONT_MATTER)?;
    let head = &text[..close.start];
    (close.start <= PARAGRAPH && head.lines().any(|line| label_of_question(line).is_some()))
        .then_some(close.end)
}

pub(super) fn split_by_fences(text: &str) -> Option<Split> {
    split_by_quotes(text).or_else(|| split_by_rulers(text))
}

/// Splits by the longest fenced block. A document with fenced blocks of its own is none.
fn split_by_quotes(text: &str) -> Option<Split> {
    let mut open: Vec<(Fence<'_>, usize)> = Vec::new();
    let mut longest: Option<(Fence<'_>, Range<usize>)> = None;
    for line in lines(text, 0..text.len()) {
        let Some(fence) = read_fence(&text[line.clone()]) else {
            continue;
        };
        let same = || open.last().is_some_and(|(last, _)| last.mark == fence.mark);
        let closes = fence.info.is_empty() && !fence.labelled && same();
        if !closes {
            // Inside a quotation only a fence that names its language opens another.
            open.push((fence, line.end));
        } else if let Some((opening, start)) = open.pop() {
            let block = start..line.start;
            if longest
                .as_ref()
                .is_none_or(|(_, other)| block.len() > other.len())
            {
                longest = Some((opening, block));
            }
        }
    }
    let (fence, block) = longest?;
    let code = is_code(fence.info, &text[block.clone()]);
    Split::new(text, block, Marks::Fence { code, ruler: false })
}

/// Splits by the first ruler and the last one like it. Documents have rulers of their own: these count only
/// with an instruction outside them.
fn split_by_rulers(text: &str) -> Option<Split> {
    let open = lines(text, 0..front(text).len()).find(|line| is_ruler(&text[line.clone()]))?;
    let ruler = text[open.clone()].trim();
    let close = lines(text, back(text))
        .filter(|line| line.start > open.end && text[line.clone()].trim() == ruler)
        .last()?;
    let marks = Marks::Fence {
        code: false,
        ruler: true,
    };
    let split = Split::new(text, open.end..close.start, marks)?;
    (instructs(split.head(text)) || instructs(split.tail(text))).then_some(split)
}
