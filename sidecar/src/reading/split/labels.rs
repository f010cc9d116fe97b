//! Labels before the parts of a prompt, and the names that they share with tags and marker lines.

use super::markers::marker_name;
use super::paragraphs::{head_paragraphs, last_paragraphs};
use super::passages::first_passage;
use super::{Marks, PARAGRAPH, Split, back, front, lines};
use crate::reading::phrases::asks;

#[rustfmt::skip]
const DOCUMENT_NAMES: &[&str] = &[
    "context", "document", "documents", "text", "article", "transcript", "passage", "passages", "source",
    "sources", "contract", "content", "data", "background", "information", "report", "meeting transcript",
    "context information", "reference", "references", "excerpts", "excerpt", "chunks", "snippets", "materials",
    "material", "knowledge base", "search results", "results", "kontext", "dokument", "dokumente", "vertrag",
    "contexte", "texte", "documents fournis", "contexto", "documento", "documentos", "texto", "contrato", "contrat",
    "contesto", "testo",
];

/// Names of what a user asks.
#[rustfmt::skip]
const QUESTION_NAMES: &[&str] = &[
    "question", "query", "q", "ask", "frage", "anfrage", "pregunta", "consulta", "pergunta", "domanda", "vraag",
    "user message", "message user", "user input", "вопрос", "问题", "問題", "質問", "질문",
];

/// Names of what a user orders, and of all that he says.
const TASK_NAMES: &[&str] = &[
    "task", "request", "prompt", "aufgabe", "tâche", "tarea", "tarefa", "compito", "feedback",
];

/// Names of what a template orders.
const INSTRUCTION_NAMES: &[&str] = &[
    "instruction",
    "instructions",
    "anweisung",
    "anweisungen",
    "consigne",
    "consignes",
    "instrucciones",
];

/// Words around a name that leave it what it is.
#[rustfmt::skip]
const QUALIFIERS: &[&str] = &[
    "my", "your", "the", "user", "users", "user's", "human", "original", "current", "new", "final", "actual",
    "customer", "retrieved", "relevant", "given", "provided", "following", "begin", "start", "of", "input", "and",
    "here", "is", "are",
];

/// The kind of question that a name announces, the surest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::reading) enum QuestionName {
    /// `<instructions>`: what a template orders, and sometimes all there is.
    Instructions,
    /// `<task>`: what a user orders.
    Task,
    /// `Question:`: what a user asks.
    Question,
}

/// Returns the kind of question that the name of a tag, a label or a section announces.
pub(in crate::reading) fn rank_name(name: &str) -> Option<QuestionName> {
    let name = normalize(name);
    let is = |names: &[&str]| is_one_of(&name, names);
    if is(QUESTION_NAMES) {
        Some(QuestionName::Question)
    } else if is(TASK_NAMES) {
        Some(QuestionName::Task)
    } else {
        is(INSTRUCTION_NAMES).then_some(QuestionName::Instructions)
    }
}

/// Returns true for the name of a document.
pub(in crate::reading) fn is_document_name(name: &str) -> bool {
    is_one_of(&normalize(name), DOCUMENT_NAMES)
}

/// Writes a name in lower case, with spaces between its words: those of `userRequest` too.
fn normalize(name: &str) -> String {
    let mut spaced = String::with_capacity(name.len() + 4);
    let mut before = ' ';
    for c in name.chars() {
        if before.is_lowercase() && c.is_uppercase() {
            spaced.push(' ');
        }
        spaced.extend(if "_-.".contains(c) { ' ' } else { c }.to_lowercase());
        before = c;
    }
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns true if `name` is one of `names`, as it stands or without the words that only qualify it.
fn is_one_of(name: &str, names: &[&str]) -> bool {
    let bare = || {
        let words = name.split(' ').filter(|word| {
            let numbered = word
                .trim_start_matches('#')
                .bytes()
                .all(|byte| byte.is_ascii_digit());
            !numbered && !QUALIFIERS.contains(word)
        });
        words.collect::<Vec<_>>().join(" ")
    };
    names.contains(&name) || names.contains(&&*bare())
}

/// A line that names the part of a prompt that follows.
pub(in crate::reading) struct Label<'a> {
    name: &'a str,
    /// What follows the name, all of it.
    pub(in crate::reading) rest: &'a str,
    /// Nothing follows the name on its own line.
    pub(in crate::reading) alone: bool,
}

/// Reads a label at the start of `text`: `Question: ...`, `**Question:** ...`, `## Question`, `== Question ==`.
fn read_label(text: &str, is_name: impl Fn(&str) -> bool) -> Option<Label<'_>> {
    let line = &text[..text.find('\n').unwrap_or(text.len())];
    let bare = line.trim_start_matches(['#', '*', '_', ' ', '\t', '[', '<', '{', '=', '|']);
    let decorated = bare.len() < line.trim_start().len();
    let colon = bare.find([':', '：']);
    let name = bare[..colon.unwrap_or(bare.len())].trim_end_matches(|c: char| !c.is_alphanumeric());
    let behind = bare[name.len()..].trim_end();
    // A heading, or marks on both sides, do for a colon.
    let heading = line.starts_with('#') || (decorated && behind.len() > 1);
    if !(colon.is_some() || heading) || name.is_empty() || name.len() > 32 || !is_name(name) {
        return None;
    }
    let said = match colon {
        Some(at) => bare[at..].trim_start_matches([':', '：', '*', '_', ' ', ']', '\t', '\r']),
        None => "",
    };
    Some(Label {
        name,
        rest: &text[line.len() - said.len()..],
        alone: said.trim().is_empty(),
    })
}

/// Returns true for a line that only asks for the answer to be put behind it: `Answer:`, `Helpful answer:`.
pub(in crate::reading) fn is_answer_label(line: &str) -> bool {
    #[rustfmt::skip]
    let labels = [
        "answer", "a", "helpful answer", "your answer", "final answer", "response", "your response", "assistant",
        "output", "antwort", "réponse", "respuesta", "risposta", "resposta",
    ];
    let is_name = |name: &str| labels.contains(&name.to_lowercase().as_str());
    read_label(line, is_name).is_some_and(|label| label.rest.trim().is_empty())
}

/// Returns true for a line that labels a document.
pub(in crate::reading) fn is_document_label(line: &str) -> bool {
    read_label(line, is_document_name).is_some()
}

/// Returns the label of a question at the start of `text`.
pub(in crate::reading) fn label_of_question(text: &str) -> Option<(QuestionName, Label<'_>)> {
    let marked = || {
        let line = &text[..text.find('\n').unwrap_or(text.len())];
        let name = marker_name(line)?;
        Some(Label {
            name,
            rest: &text[line.len()..],
            alone: true,
        })
    };
    let label = read_label(text, |name| rank_name(name).is_some()).or_else(marked)?;
    Some((rank_name(label.name)?, label))
}

/// Returns true for a short text that asks, or that labels what asks.
pub(super) fn instructs(text: &str) -> bool {
    let short = text.len() <= 2 * PARAGRAPH;
    short && (text.split("\n\n").any(asks) || text.lines().any(|line| label_of_question(line).is_some()))
}

/// Splits by the label of the document, the first of its numbered passages, and the label of the question or of
/// the answer. `find_end` finds the end of a document whose end has no label.
pub(super) fn split_by_labels(text: &str, find_end: impl Fn(&str) -> usize) -> Option<Split> {
    let opens = lines(text, 0..front(text).len()).find_map(|line| {
        let label = read_label(&text[line.clone()], is_document_name)?;
        is_preface(&text[..line.start]).then_some(line.end - label.rest.len())
    });
    let closes = question_start(text).unwrap_or_else(|| answer_start(text));
    let end = if closes < text.len() {
        last_paragraphs(&text[..closes])
    } else {
        find_end(text)
    };
    let start = match opens.or_else(|| first_passage(text)) {
        Some(start) => start,
        None if closes < text.len() => head_paragraphs(text),
        None => return None,
    };
    Split::new(text, start..end.max(start), Marks::Labels)
}

/// Finds the first of the labels behind the document: the last question or task, and others that stand close
/// before it. A label of the same name is the document's own, or an example's.
fn question_start(text: &str) -> Option<usize> {
    let labels = lines(text, back(text)).filter(|line| text.len() - line.start <= 2 * PARAGRAPH);
    let labels: Vec<_> = labels
        .filter_map(|line| Some((line.start, label_of_question(&text[line])?.0)))
        .collect();
    let mut labels = labels.into_iter().rev();
    let (mut start, mut name) = labels.next()?;
    for (before, other) in labels {
        if other == name || start - before > PARAGRAPH {
            break;
        }
        (start, name) = (before, other);
    }
    Some(start)
}

/// Returns true if what stands before a document's label is nothing, a title, or instructions: a document has
/// labelled sections of its own.
fn is_preface(text: &str) -> bool {
    let text = text.trim();
    text.len() <= 200
        || (text.len() <= 2 * PARAGRAPH
            && text
                .split("\n\n")
                .all(|part| asks(part) || label_of_question(part.trim()).is_some()))
}

/// Finds where a closing `Answer:` starts, or the end of the text.
fn answer_start(text: &str) -> usize {
    let last = lines(text, back(text))
        .filter(|line| !text[line.clone()].trim().is_empty())
        .last();
    last.filter(|line| is_answer_label(&text[line.clone()]))
        .map_or(text.len(), |line| line.start)
}
