//! Labels before the parts of a prompt, and the names that they share with tags and marker lines.

use super::markers::marker_name;
use super::paragraphs::{head_paragraphs, is_table, last_paragraphs, orders};
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
    "contesto", "testo", "agreement", "input", "file", "files", "attachment", "attachments", "observation", "observations", "email", "emails",
    "paper", "page", "pages", "letter", "minutes", "vereinbarung", "datei", "dateien", "fichier", "fichiers", "archivo", "archivos",
];

/// The longest instructions before a document's label that ask a labelled question, in bytes.
const HEAD: usize = 8_000;

/// Names of what a user asks.
#[rustfmt::skip]
const QUESTION_NAMES: &[&str] = &[
    "question", "query", "q", "ask", "frage", "anfrage", "pregunta", "consulta", "pergunta", "domanda", "vraag",
    "user message", "message user", "user input", "questions", "queries", "fragen", "preguntas", "perguntas", "domande", "vragen", "вопрос",
    "вопросы", "问题", "問題", "質問", "질문",
];

/// Names of what a user orders, and of all that he says.
const TASK_NAMES: &[&str] = &[
    "task", "request", "prompt", "aufgabe", "tâche", "tarea", "tarefa", "compito", "feedback",
];

/// Names above what a user wants. Documents have such headings too, so these part no text; what stands behind one in
/// words that ask does not mean the name itself.
#[rustfmt::skip]
const GOAL_NAMES: &[&str] = &[
    "goal", "goals", "objective", "objectives", "aim", "purpose", "need", "needs", "what i need", "what i want", "what i want to know", "what to do",
    "job", "assignment", "ziel", "ziele", "auftrag", "zweck", "objectif", "objectifs", "but", "objetivo", "objetivos", "obiettivo", "scopo", "doel",
    "opdracht", "mål", "uppgift", "opgave", "oppgave", "cel", "zadanie", "tavoite", "tehtävä", "hedef", "görev", "цель", "задача", "задание", "мета",
    "завдання", "tujuan", "tugas", "mục tiêu", "nhiệm vụ", "目标", "目標", "任务", "任務", "目的", "課題", "タスク", "목표", "과제", "작업",
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
    let unnumbered = || name.trim_end_matches(|c: char| c.is_ascii_digit());
    names.contains(&name) || names.contains(&&*bare()) || names.contains(&unnumbered())
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
    read_label(line, is_answer_name).is_some_and(|label| label.rest.trim().is_empty())
}

/// Returns true for the name of an answer, with or without a number.
pub(in crate::reading) fn is_answer_name(name: &str) -> bool {
    #[rustfmt::skip]
    let names = [
        "answer", "a", "helpful answer", "your answer", "final answer", "response", "your response", "assistant",
        "output", "thought", "antwort", "réponse", "respuesta", "risposta", "resposta",
    ];
    let lower = name.to_lowercase();
    names.contains(&lower.trim_end_matches(|c: char| c.is_ascii_digit()))
}

/// Returns true for a line that opens a step in an agent's notes, which stand in one text with the question:
/// `Thought: I should look it up.`
pub(in crate::reading) fn is_step_label(line: &str) -> bool {
    let steps = [
        "thought",
        "thoughts",
        "action",
        "action input",
        "observation",
        "final answer",
    ];
    read_label(line, |name| steps.contains(&name.to_lowercase().as_str())).is_some()
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

/// Returns a text without a first line, or the beginning of it, that only says that a task or a goal follows: `# Goal`,
/// `**Task:** ...`.
pub(in crate::reading) fn without_goal_label(text: &str) -> &str {
    let is_goal = |name: &str| {
        let goal = is_one_of(&normalize(name), GOAL_NAMES);
        goal || matches!(rank_name(name), Some(QuestionName::Task | QuestionName::Question))
    };
    read_label(text, is_goal).map_or(text, |label| label.rest.trim())
}

/// Returns true for a short text that asks, or that labels what asks.
pub(super) fn instructs(text: &str) -> bool {
    let short = text.len() <= 2 * PARAGRAPH;
    short && (text.split("\n\n").any(asks) || text.lines().any(|line| label_of_question(line).is_some()))
}

/// Splits by the label of the document, the first of its numbered passages, and the label of the question or of
/// the answer. `find_end` finds the end of a document whose end has no label.
pub(super) fn split_by_labels(text: &str, find_end: impl Fn(&str) -> usize) -> Option<Split> {
    let mut opens = lines(text, 0..front(text).len()).filter_map(|line| {
        let label = read_label(&text[line.clone()], is_document_name)?;
        let step = is_step_label(&text[line.clone()]);
        is_preface(&text[..line.start]).then_some((line.end - label.rest.len(), step))
    });
    let opens = opens.next().map(|(start, step)| {
        // A template explains its steps before it takes them.
        let later = step.then(|| opens.take_while(|(_, step)| *step).last()).flatten();
        later.map_or(start, |(start, _)| start)
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
        // Lines of one paragraph are a list: `Q1: ...`, `Q2: ...`.
        let listed = !text[before..start].contains("\n\n");
        if (other == name && !listed) || start - before > PARAGRAPH {
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
    let labels = || text.lines().filter_map(|line| Some(label_of_question(line)?.0));
    text.len() <= 200
        || (text.len() <= HEAD && labels().any(|name| name == QuestionName::Question))
        || (text.len() <= 2 * PARAGRAPH && labels().next().is_some())
        || (text.len() <= 2 * PARAGRAPH
            && text.split("\n\n").all(|part| {
                asks(part) || orders(part) || is_table(part) || label_of_question(part.trim()).is_some()
            }))
}

/// Finds where a closing `Answer:` starts, or the end of the text.
fn answer_start(text: &str) -> usize {
    let last = lines(text, back(text))
        .filter(|line| !text[line.clone()].trim().is_empty())
        .last();
    last.filter(|line| is_answer_label(&text[line.clone()]))
        .map_or(text.len(), |line| line.start)
}
