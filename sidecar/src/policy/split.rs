//! Finds the document inside one text: instructions before it, instructions behind it, and which of them asks.
//!
//! Prompts are made from templates, and templates mark their parts. Tried in this order: tags
//! (`<document>...</document>`), fences and rulers (three backticks, `"""`, `---`), labels (`Context:`,
//! `Question:`), and at last a first or last paragraph that reads as a question.

use std::ops::Range;

use super::need::asks;

/// The marks of a template stand near the ends: this many bytes are searched at each.
const NEAR: usize = 16 << 10;
/// The longest instruction that is taken for one without a mark around it.
const PARAGRAPH: usize = 2_000;

/// A text cut into instructions and document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Bytes of the document. Between instructions it has no white space at its ends; alone it is the whole
    /// text.
    pub document: Range<usize>,
    /// The marks that were found.
    pub marks: Marks,
}

/// The marks that tell a document from the instructions around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// Tags around the document.
    Tags,
    /// Fences or rulers around it.
    Fence {
        /// The fence names a programming language.
        code: bool,
        /// The fence is a ruler such as `---`, which documents have too.
        ruler: bool,
    },
    /// Labels before it or behind it.
    Labels,
    /// Nothing but how the first or last paragraph reads.
    Paragraphs,
    /// No marks: all of it is the document.
    None,
}

impl Split {
    /// Returns the instructions before the document.
    pub fn head<'a>(&self, text: &'a str) -> &'a str {
        text[..self.document.start].trim()
    }

    /// Returns the instructions behind the document.
    pub fn tail<'a>(&self, text: &'a str) -> &'a str {
        text[self.document.end..].trim()
    }

    fn new(text: &str, range: Range<usize>, marks: Marks) -> Option<Self> {
        let inner = text.get(range.clone())?;
        let start = range.start + (inner.len() - inner.trim_start().len());
        let document = start..start + inner.trim().len();
        (document.len() * 2 > text.len()).then_some(Self { document, marks })
    }
}

/// Splits a text by marks that no document has by chance: for a text whose question stands elsewhere.
pub fn split_by_marks(text: &str) -> Split {
    let quoted =
        || split_by_fences(text).filter(|split| matches!(split.marks, Marks::Fence { ruler: false, .. }));
    let found = split_by_tags(text)
        .or_else(quoted)
        .or_else(|| split_by_labels(text).filter(|split| split.tail(text).is_empty()));
    found.unwrap_or_else(|| leave_whole(text))
}

/// Splits a text that holds document and question.
pub fn split_by_reading(text: &str) -> Split {
    let found = split_by_tags(text)
        .or_else(|| split_by_fences(text))
        .or_else(|| split_by_labels(text))
        .or_else(|| split_by_paragraphs(text));
    found.unwrap_or_else(|| leave_whole(text))
}

fn leave_whole(text: &str) -> Split {
    Split {
        document: 0..text.len(),
        marks: Marks::None,
    }
}

fn front(text: &str) -> &str {
    &text[..text.floor_char_boundary(NEAR.min(text.len()))]
}

fn back(text: &str) -> Range<usize> {
    text.ceil_char_boundary(text.len().saturating_sub(NEAR))..text.len()
}

#[rustfmt::skip]
const TAGS: &[&str] = &[
    "document", "documents", "doc", "docs", "context", "text", "source", "sources", "content", "article",
    "transcript", "passage", "passages", "contract", "file", "files", "data", "input", "report", "paper",
    "book", "email", "emails", "meeting", "reference", "references", "knowledge", "background", "information",
    "page", "pages", "search_results", "retrieved_context", "dokument", "kontext", "contexte", "contexto",
    "documento",
];

fn split_by_tags(text: &str) -> Option<Split> {
    let head = front(text);
    for (at, _) in head.match_indices('<') {
        let rest = &head[at + 1..];
        let name_end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '-')?;
        let name = &rest[..name_end];
        let Some(close) = rest.find('>').filter(|close| *close < 256) else {
            continue;
        };
        if !TAGS.iter().any(|tag| tag.eq_ignore_ascii_case(name)) {
            continue;
        }
        let open_end = at + 1 + close + 1;
        let closing = format!("</{name}>");
        let tail = back(text);
        let found = text[tail.clone()].rfind(&closing).map(|end| tail.start + end);
        if let Some(split) = found.and_then(|end| Split::new(text, open_end..end, Marks::Tags)) {
            return Some(split);
        }
    }
    None
}

/// A line that opens and closes a quoted document: the mark, and what follows it on the line.
fn fence(line: &str) -> Option<(&'static str, &str)> {
    let line = line.trim();
    for mark in ["```", "~~~", "\"\"\"", "'''"] {
        if let Some(rest) = line.strip_prefix(mark) {
            return Some((mark, rest.trim_start_matches(&mark[..1])));
        }
    }
    let ruler = ["---", "===", "***", "###", "___"]
        .into_iter()
        .find(|ruler| line.starts_with(ruler))?;
    line.trim_start_matches(&ruler[..1])
        .is_empty()
        .then_some((ruler, ""))
}

/// Fences that name one of these hold prose or data, not code.
const NOT_CODE: &[&str] = &[
    "",
    "text",
    "txt",
    "plaintext",
    "markdown",
    "md",
    "json",
    "csv",
    "tsv",
    "html",
    "xml",
];

fn split_by_fences(text: &str) -> Option<Split> {
    let (open, (mark, language)) =
        lines(text, 0..front(text).len()).find_map(|line| Some((line.clone(), fence(&text[line])?)))?;
    let tail = back(text);
    let close = lines(text, tail)
        .filter(|line| {
            line.start > open.end && fence(&text[line.clone()]).is_some_and(|(end, _)| end == mark)
        })
        .last()?;
    let code = !NOT_CODE.contains(&language.trim().to_ascii_lowercase().as_str());
    let ruler = !mark.starts_with(['`', '~', '"', '\'']);
    let split = Split::new(text, open.end..close.start, Marks::Fence { code, ruler })?;
    // Documents have rulers of their own: these count only with an instruction outside them.
    (!ruler || instructs(split.head(text)) || instructs(split.tail(text))).then_some(split)
}

fn instructs(text: &str) -> bool {
    let short = text.len() <= 2 * PARAGRAPH;
    short && (text.split("\n\n").any(asks) || text.lines().any(|line| question_label(line).is_some()))
}

#[rustfmt::skip]
const DOCUMENT_LABELS: &[&str] = &[
    "context", "document", "documents", "text", "article", "transcript", "passage", "passages", "source",
    "sources", "contract", "content", "data", "background", "information", "report", "meeting transcript",
    "context information", "retrieved context", "reference", "references", "kontext", "dokument", "vertrag",
    "contexte", "texte", "contexto", "documento", "texto", "contrato", "contrat",
];

#[rustfmt::skip]
const QUESTION_LABELS: &[&str] = &[
    "question", "query", "q", "task", "instruction", "instructions", "user question", "user query",
    "request", "prompt", "my question", "frage", "aufgabe", "anweisung", "tâche", "consigne", "pregunta",
    "consulta", "tarea", "instrucciones",
];

/// Returns what follows a label at the start of `line`: `Question: ...`, `**Question:** ...`, `## Question`.
fn label<'a>(line: &'a str, labels: &[&str]) -> Option<&'a str> {
    let bare = line.trim_start_matches(['#', '*', '_', ' ', '\t', '[']);
    let heading = line.starts_with('#');
    let end = bare.find([':', '\n', '：']).unwrap_or(bare.len());
    let name = bare.get(..end)?.trim_end_matches(['*', '_', ' ', '\r', ']']);
    let colon = bare[end..].starts_with([':', '：']);
    if !(colon || heading) || name.len() > 32 || !labels.contains(&name.to_lowercase().as_str()) {
        return None;
    }
    Some(bare[end..].trim_start_matches([':', '：', '*', '_', ' ', ']']))
}

/// Returns true for a line that only asks for the answer to be put behind it: `Answer:`, `Helpful answer:`.
pub(super) fn is_answer_label(line: &str) -> bool {
    let labels = [
        "answer",
        "a",
        "helpful answer",
        "your answer",
        "antwort",
        "réponse",
        "respuesta",
    ];
    label(line, &labels).is_some_and(|rest| rest.trim().is_empty())
}

/// Returns what follows the label of a question.
pub(super) fn question_label(text: &str) -> Option<&str> {
    label(text, QUESTION_LABELS)
}

fn split_by_labels(text: &str) -> Option<Split> {
    let asks = |line: &Range<usize>| question_label(&text[line.clone()]).is_some();
    let near_end = |line: &Range<usize>| text.len() - line.start <= 2 * PARAGRAPH;
    let question = lines(text, back(text))
        .filter(|line| asks(line) && near_end(line))
        .last();
    let opens = lines(text, 0..front(text).len()).find_map(|line| {
        let rest = label(&text[line.clone()], DOCUMENT_LABELS)?;
        is_preface(&text[..line.start]).then_some(line.end - rest.len())
    });
    let end = question.map_or_else(|| answer_label(text), |line| line.start);
    let start = match opens {
        Some(start) => start,
        None if end < text.len() => head_paragraphs(text),
        None => return None,
    };
    Split::new(text, start..end.max(start), Marks::Labels)
}

/// Returns true if what stands before a document's label is nothing, a title, or instructions: a document has
/// labelled sections of its own.
fn is_preface(text: &str) -> bool {
    let text = text.trim();
    text.len() <= 200
        || (text.len() <= 2 * PARAGRAPH
            && text
                .split("\n\n")
                .all(|part| asks(part) || question_label(part.trim()).is_some()))
}

/// Finds where a closing `Answer:` starts, or the end of the text.
fn answer_label(text: &str) -> usize {
    let last = lines(text, back(text))
        .filter(|line| !text[line.clone()].trim().is_empty())
        .last();
    last.filter(|line| is_answer_label(&text[line.clone()]))
        .map_or(text.len(), |line| line.start)
}

fn split_by_paragraphs(text: &str) -> Option<Split> {
    let (start, end) = (head_paragraphs(text), before_ruler(text, tail_paragraphs(text)));
    if start == 0 && end == text.len() {
        return None;
    }
    Split::new(text, start..end.max(start), Marks::Paragraphs)
}

/// Finds where the document starts behind first paragraphs that instruct (at most three), or a first line
/// that does.
fn head_paragraphs(text: &str) -> usize {
    let head = front(text);
    let mut start = 0;
    for _ in 0..3 {
        let Some(length) = head[start..].find("\n\n").filter(|length| *length <= PARAGRAPH) else {
            break;
        };
        if !asks(&head[start..start + length]) {
            break;
        }
        start += length + 2;
    }
    if start > 0 {
        return start;
    }
    let line = head.find('\n').unwrap_or(0);
    let first = &head[..line];
    if line <= 500 && asks(first) && first.trim_end().ends_with(['?', ':', '.']) {
        line
    } else {
        0
    }
}

/// `end`, or where a ruler starts that stands alone before it.
fn before_ruler(text: &str, end: usize) -> usize {
    let before = text[..end].trim_end();
    let line = before.rfind('\n').map_or(0, |at| at + 1);
    if end < text.len() && fence(&before[line..]).is_some() {
        line
    } else {
        end
    }
}

/// Returns true if a paragraph asks, and does so from its first line on: a last line may ask behind a
/// document's own text.
fn asks_throughout(paragraph: &str) -> bool {
    let paragraph = paragraph.trim();
    asks(paragraph)
        && paragraph
            .lines()
            .next()
            .is_some_and(|line| line.len() == paragraph.len() || asks(line))
}

/// Finds where the document ends before last paragraphs that ask (at most three), a last line, or a last
/// sentence.
fn tail_paragraphs(text: &str) -> usize {
    let text = text.trim_end();
    let near = back(text).start;
    let mut end = text.len();
    for _ in 0..3 {
        let Some(at) = text[near..end].rfind("\n\n").map(|at| near + at) else {
            break;
        };
        let paragraph = &text[at..end];
        if paragraph.len() > PARAGRAPH || !asks_throughout(paragraph) {
            break;
        }
        end = at;
    }
    if end < text.len() {
        return end;
    }
    let line = text[near..].rfind('\n').map(|at| near + at);
    if let Some(at) = line.filter(|at| text.len() - at <= 500 && asks(&text[*at..])) {
        return at;
    }
    let sentence = text[near..]
        .rfind(['.', '!', '。'])
        .map(|at| near + at + text[near + at..].chars().next().map_or(1, char::len_utf8));
    sentence
        .filter(|at| text.len() - at <= 300 && text.ends_with(['?', '？']))
        .unwrap_or(text.len())
}

/// Ranges of the lines in `within`, without their line feeds; the first may start inside a line, and is then
/// left out unless `within` starts the text.
fn lines(text: &str, within: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = within.start;
    text[within.clone()]
        .split('\n')
        .enumerate()
        .filter_map(move |(number, line)| {
            let range = at..at + line.len();
            at = range.end + 1;
            (number > 0 || within.start == 0).then_some(range)
        })
}
