//! Fences and rulers around a document: three backticks, `"""`, a line of dashes.

use std::ops::Range;

use super::labels::instructs;
use super::{Marks, Split, back, front, lines};

/// Marks of fences: what opens with one is closed by the same.
const QUOTES: [&str; 4] = ["```", "~~~", "\"\"\"", "'''"];

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
    let info = line.trim_start_matches(&mark[..1]).trim();
    // More than a word behind the mark is a sentence that begins with a quotation.
    (!info.contains([' ', '`'])).then_some(Fence {
        mark,
        info,
        labelled: false,
    })
}

/// Returns true for a line of one repeated mark, such as `---`.
pub(in crate::reading) fn is_ruler(line: &str) -> bool {
    let line = line.trim();
    let mut marks = line.chars();
    let mark = marks.next().filter(|mark| "-=*#_".contains(*mark));
    line.len() >= 3 && marks.all(|other| Some(other) == mark)
}

/// Fences that name one of these hold prose or data, not code.
#[rustfmt::skip]
const NOT_CODE: &[&str] = &[
    "", "text", "txt", "plaintext", "plain", "markdown", "md", "json", "jsonl", "csv", "tsv", "html", "xml", "log",
    "logs", "output",
];

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
    let code = !NOT_CODE.contains(&fence.info.to_ascii_lowercase().as_str());
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
