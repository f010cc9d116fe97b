//! Finds the labels of passages that a prompt numbers so that answers can cite them: `[17]`, `Passage 3:`,
//! `Document 2 (Title: ...)`, `<source id="13">`. A label leads what stands under it.

use super::lines::Line;
use super::words;

/// Words that name a passage before its number, in lower case.
const NAMES: &[&str] = &[
    "auszug",
    "bron",
    "chunk",
    "citation",
    "context",
    "doc",
    "document",
    "documento",
    "dokument",
    "evidence",
    "excerpt",
    "extract",
    "extrait",
    "fonte",
    "fragment",
    "fragmento",
    "fuente",
    "page",
    "pasaje",
    "passage",
    "quelle",
    "reference",
    "result",
    "snippet",
    "source",
    "textstelle",
    "trecho",
];

/// Names of tags around a passage.
const TAGS: &[&str] = &[
    "chunk",
    "context",
    "doc",
    "document",
    "excerpt",
    "file",
    "passage",
    "reference",
    "result",
    "search_result",
    "snippet",
    "source",
];

/// Tags inside of a passage that open its text.
const INNER_TAGS: &[&str] = &[
    "<document_content>",
    "<content>",
    "<text>",
    "<page_content>",
    "<document_contents>",
];

/// Longest title that belongs to a label, in words; longest label, in bytes.
const MAX_TITLE_WORDS: usize = 14;
const MAX_LABEL_BYTES: usize = 240;

/// Fewest labels without a tag.
const MIN_LABELS: usize = 2;

/// What is known of the labels of a document.
#[derive(Default)]
pub(super) struct Passages {
    numbered: bool,
    named: bool,
}

/// What a line says of passages.
pub(super) enum Mark {
    /// It begins a passage; the label ends at this byte of the document.
    Label(usize),
    /// It is the tag that closes one.
    Close,
}

impl Passages {
    /// Counts the labels of a document: a single one may be a footnote.
    pub(super) fn find(text: &str, lines: &[Line]) -> Self {
        let (mut numbered, mut named) = (0, 0);
        for line in lines {
            let line = line.text(text).trim();
            if find_number_end(line).is_some() {
                numbered += 1;
            } else if find_name_end(line).is_some() {
                named += 1;
            }
        }
        Self {
            numbered: numbered >= MIN_LABELS,
            named: named >= MIN_LABELS,
        }
    }

    /// Reads the mark that a line begins with.
    pub(super) fn find_mark(&self, text: &str, lines: &[Line], at: usize) -> Option<Mark> {
        let line = lines[at];
        let content = line.text(text).trim();
        let start = line.end - line.text(text).trim_start().len();
        if content.starts_with('<') {
            if content
                .strip_prefix("</")
                .is_some_and(|rest| read_tag(rest).is_some())
            {
                return Some(Mark::Close);
            }
            return find_tag_end(text, lines, at, start).map(Mark::Label);
        }
        let end = if self.numbered {
            find_number_end(content)
        } else {
            None
        };
        let end = end.or_else(|| self.named.then(|| find_name_end(content)).flatten())?;
        Some(Mark::Label(start + with_title(content, end)))
    }
}

/// Returns the end of a number in brackets, such as `[17]` or `[Source 3]`, that a line begins with.
fn find_number_end(line: &str) -> Option<usize> {
    let inner = line.strip_prefix(['[', '【'])?;
    let close = inner
        .char_indices()
        .take(24)
        .find(|&(_, c)| c == ']' || c == '】')?;
    let inside = &inner[..close.0];
    let number = inside.trim_start_matches(|c: char| c.is_alphabetic() || c == ' ' || c == '#');
    let name = inside[..inside.len() - number.len()]
        .trim_matches([' ', '#'])
        .to_lowercase();
    let named = name.is_empty() || NAMES.contains(&name.as_str());
    let end = line.len() - inner.len() + close.0 + close.1.len_utf8();
    let rest = &line[end..];
    let followed = rest.chars().next().is_none_or(|c| c.is_whitespace() || c == ':');
    // "[1]: https://..." is the target of a link.
    let link = rest.starts_with(": http") || rest.starts_with(": <");
    (is_number(number) && named && followed && !link).then_some(end)
}

/// Returns the end of a name with a number, such as `Passage 3:` or `Document [2](Title: ...)`, that a line begins
/// with.
fn find_name_end(line: &str) -> Option<usize> {
    let decorated = |c: char| matches!(c, '#' | '*' | '=' | '-' | '_' | ' ' | '(' | '[');
    let inner = line.trim_start_matches(decorated);
    let name_end = inner.find(|c: char| !c.is_alphabetic()).unwrap_or(inner.len());
    if name_end == 0 || name_end > 12 || !NAMES.contains(&inner[..name_end].to_lowercase().as_str()) {
        return None;
    }
    let rest = inner[name_end..].trim_start_matches([' ', '[', '(', '#', '-']);
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    if !(1..=4).contains(&digits) {
        return None;
    }
    let after = rest[digits..].trim_start_matches([']', ')', '*']);
    let title = after
        .trim_start()
        .strip_prefix('(')
        .and_then(|title| title.find(')'));
    let behind = after.trim_start_matches(['=', '-', ' ', '_']);
    let end = line.len() - after.len();
    match title {
        Some(close) => {
            let end = line.len() - after.trim_start().len() + close + 2;
            Some(end + usize::from(line[end..].starts_with(':')))
        }
        None if after.starts_with(':') => Some(end + 1),
        // "Page 3" alone is the number of a page; "Document 3 says" is a sentence.
        None if behind.is_empty() && !inner[..name_end].eq_ignore_ascii_case("page") => Some(line.len()),
        None => None,
    }
}

fn is_number(text: &str) -> bool {
    (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// Adds the title behind a label: the rest of a line that is short and no sentence.
fn with_title(line: &str, end: usize) -> usize {
    let rest = line[end..].trim();
    let title = line.len() <= MAX_LABEL_BYTES
        && words::word_count(rest) <= MAX_TITLE_WORDS
        && !rest.ends_with(['.', '!', '?', ',', ';', '。']);
    if title { line.len() } else { end }
}

/// Returns the name of the tag that a text begins with, if it is one of a passage.
fn read_tag(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !(c.is_ascii_alphabetic() || c == '_'))?;
    let (name, rest) = text.split_at(end);
    let opens = rest.starts_with(['>', ' ']);
    (opens && TAGS.iter().any(|tag| tag.eq_ignore_ascii_case(name))).then_some(name)
}

/// Returns the end of the tag that opens a passage, with the lines on its source and title.
fn find_tag_end(text: &str, lines: &[Line], at: usize, start: usize) -> Option<usize> {
    let line = lines[at];
    let content = text.get(start..line.end)?;
    let name = read_tag(content.strip_prefix('<')?)?;
    let close = content.find('>')? + 1;
    let rest = content[close..].trim();
    if !rest.is_empty() {
        // A tag that closes in its line is a part of something else.
        let closing = format!("</{name}>");
        return (!rest.contains(&closing)).then_some(start + close);
    }
    let mut end = start + close;
    for line in lines.iter().skip(at + 1).take(4) {
        let inner = line.text(text).trim();
        let about = inner.starts_with('<') && inner.contains("</") && inner.ends_with('>');
        if inner.len() > MAX_LABEL_BYTES || !(about || INNER_TAGS.contains(&inner)) {
            break;
        }
        end = line.start + line.text(text).trim_end().len();
    }
    Some(end)
}
