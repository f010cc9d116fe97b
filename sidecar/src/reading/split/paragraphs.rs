//! Paragraphs at the ends of a text that ask or instruct, without a mark around them.

use super::fences::{is_banner, is_ruler};
use super::labels::{is_answer_label, label_of_question};
use super::markers::is_marker_line;
use super::passages::first_passage;
use super::{Marks, PARAGRAPH, Split, back, front};
use crate::need::QUESTION_MARKS;
use crate::reading::phrases::{asks, has_phrase};

/// Instructions have at most this many paragraphs at each end.
const PARAGRAPHS: usize = 8;

/// White space between two columns of a line, and the fewest such gaps of a text in columns.
const GAP: &str = "   ";
const GAPS: usize = 2;

/// First words of an order to a model.
#[rustfmt::skip]
const IMPERATIVES: &[&str] = &[
    "use", "answer", "respond", "reply", "cite", "write", "return", "output", "quote", "ignore", "keep", "be", "base",
    "rely", "do", "don't", "never", "always", "only", "think", "avoid", "ensure", "refer", "treat", "work", "consider",
    "include", "provide", "give", "format", "limit", "produce", "end", "start", "begin", "assume", "follow", "stick",
    "remember", "please", "read", "explain", "make", "mention", "say",
    "antworte", "antworten", "verwende", "verwenden", "nutze", "nenne", "zitiere", "schreibe", "gib", "bitte",
    "réponds", "répondez", "utilise", "utilisez", "cite", "citez", "écris", "indique", "indiquez",
    "responde", "responda", "usa", "use", "cita", "escribe", "indica",
];

/// Words by which an instruction speaks to a model, or of its answer.
#[rustfmt::skip]
const ADDRESSES: &[&str] = &[
    "you are ", "you're ", "you must ", "you should ", "your answer", "your response", "your reply", "your task",
    "your job", "your role", "if the answer", "if you ", "if unsure", "if uncertain", "du bist ", "sie sind ",
    "deine antwort", "ihre antwort", "wenn du ", "wenn die antwort", "vous êtes ", "tu es ", "ta réponse",
    "votre réponse", "si la réponse", "si tu ", "si vous ", "eres ", "usted es ", "tu respuesta", "su respuesta",
    "si la respuesta", "si no ",
];

/// Words of orders about an answer's form.
#[rustfmt::skip]
const FORM: &[&str] = &[
    "json", "xml", "yaml", "markdown", "csv", "html", "format", "schema", "field", "fields", "keys", "sentence",
    "sentences", "words", "bullet", "bullets", "citation", "citations", "cite", "concise", "concisely", "brief",
    "briefly", "short", "marker", "tags", "step by step", "tone", "language", "prefix", "don't know", "do not know",
    "not in the", "make up", "satz", "sätze", "sätzen", "stichpunkte", "stichpunkten", "quelle", "quellen", "knapp",
    "phrase", "phrases", "mots", "sources", "brièvement", "frase", "frases", "palabras", "fuentes", "brevemente",
];

pub(super) fn split_by_paragraphs(text: &str) -> Option<Split> {
    let (start, end) = (head_start(text), tail_start(text));
    if start == 0 && end == text.len() {
        return None;
    }
    Split::new(text, start..end.max(start), Marks::Paragraphs)
}

/// Finds where the document starts: at the first of its numbered passages, or behind instructions.
fn head_start(text: &str) -> usize {
    first_passage(text).unwrap_or_else(|| head_paragraphs(text))
}

/// Finds where the document starts behind first paragraphs that ask or instruct, or a first line that does.
pub(super) fn head_paragraphs(text: &str) -> usize {
    let head = front(text);
    let mut start = 0;
    for _ in 0..PARAGRAPHS {
        let Some(length) = head[start..].find("\n\n").filter(|length| *length <= PARAGRAPH) else {
            break;
        };
        let paragraph = &head[start..start + length];
        if start + length > 2 * PARAGRAPH || !(asks(paragraph) || orders(paragraph)) {
            break;
        }
        if is_speakers_turn(&head[start + length..], paragraph) {
            break;
        }
        if let Some(lead) = lead_before_text(paragraph) {
            return start + lead;
        }
        start += length + 2;
    }
    if start > 0 {
        return start;
    }
    let line = head.find('\n').unwrap_or(0);
    let first = head[..line].trim_end();
    let leads = first.len() <= 200 && first.ends_with(':');
    if is_speakers_turn(&head[line..], first) {
        return 0;
    }
    if line <= 500 && (leads || (asks(first) && first.ends_with(['?', ':', '.']))) {
        line
    } else {
        0
    }
}

/// Returns true for a line or paragraph with the name of a speaker who speaks near it as well: a transcript's, whatever
/// it asks.
pub(in crate::reading) fn is_speakers_turn(near: &str, paragraph: &str) -> bool {
    let paragraph = paragraph.trim_start();
    let Some(name) = paragraph.find([':', '：']).filter(|at| (1..=40).contains(at)) else {
        return false;
    };
    let Some(name) = paragraph
        .get(..=name)
        .filter(|name| name.starts_with(char::is_alphanumeric))
    else {
        return false;
    };
    label_of_question(paragraph).is_none()
        && memchr::memmem::find_iter(near.as_bytes(), name).any(|at| starts_line(near, at))
}

fn starts_line(text: &str, at: usize) -> bool {
    text[..at].trim_end_matches([' ', '\t']).ends_with('\n') || at == 0
}

/// Returns the length of a paragraph's first line if it leads to the text on the lines behind it: `Extract from:`.
pub(in crate::reading) fn lead_before_text(paragraph: &str) -> Option<usize> {
    let (lead, text) = paragraph.split_once('\n')?;
    let leads = lead.len() <= 200 && lead.trim_end().ends_with([':', '：']);
    let list = text.trim_start().starts_with(['-', '*', '•', '1', '(']);
    (leads && !list && text.len() >= 200 && !asks(text) && !orders(text)).then_some(lead.len())
}

/// Returns true for words in columns, as forms, tables and signatures have them: no sentences.
pub(in crate::reading) fn is_laid_out(text: &str) -> bool {
    let mut gaps = text
        .match_indices(GAP)
        .filter(|(at, _)| !text[..*at].ends_with([' ', '\n']));
    gaps.nth(GAPS - 1).is_some()
}

/// Returns true for a paragraph that tells a model what to do: it opens with an order or speaks to the model.
/// What it says may be a document's as well; then it only stays as it is.
pub(in crate::reading) fn orders(paragraph: &str) -> bool {
    let paragraph = without_headings(paragraph);
    let lower = paragraph.to_lowercase();
    let first = lower.split_whitespace().next().unwrap_or_default();
    let first = first.trim_matches(|c: char| !(c.is_alphanumeric() || c == '\''));
    let first = if first.is_empty() {
        second_word(&lower)
    } else {
        first
    };
    IMPERATIVES.contains(&first)
        || (paragraph.len() <= 200 && paragraph.ends_with(':') && !is_laid_out(paragraph))
        || ADDRESSES.iter().any(|phrase| has_phrase(&lower, phrase))
}

/// Words by which a sentence rules what somebody is to do, wherever they stand in it.
#[rustfmt::skip]
const RULING: &[&str] = &[
    "you must ", "you should ", "your answer", "your response", "your reply", "your task is", "your job", "your role", "never ", "always ",
    "do not ", "don't ", "niemals ", "immer ", "toujours ", "ne jamais", "siempre ", "nunca ", "sempre ", "altijd ", "nooit ", "zawsze ", "nigdy ",
    "всегда ", "никогда ", "завжди ", "ніколи ", "alltid ", "aldrig ", "selalu ", "jangan ", "luôn ", "务必", "必须", "不要", "必ず", "しないで", "항상", "절대",
];

/// First words of a sentence that says who an assistant is.
#[rustfmt::skip]
const PERSONAS: &[&str] = &[
    "you ", "you're ", "act as ", "as an ai", "du bist ", "sie sind ", "tu es ", "vous êtes ", "eres ", "usted es ", "sei un", "lei è ", "você é ",
    "je bent ", "u bent ", "jesteś ", "ты ", "вы ", "ти ", "ви ", "sen ", "siz ", "du är ", "kamu adalah ", "anda adalah ", "bạn là ", "أنت ",
    "你是", "您是", "あなたは", "당신은 ", "너는 ", "आप ", "तुम ", "אתה ", "את ",
];

/// Returns true for a sentence that says who an assistant is or what it does: "You review contracts."
pub(in crate::reading) fn is_persona(sentence: &str) -> bool {
    let lower = sentence.trim_start().to_lowercase();
    PERSONAS.iter().any(|start| lower.starts_with(start)) && !sentence.contains(QUESTION_MARKS)
}

/// Returns true for a sentence that rules what somebody is to do from now on.
pub(in crate::reading) fn is_ruling(sentence: &str) -> bool {
    let lower = sentence.to_lowercase();
    RULING.iter().any(|phrase| has_phrase(&lower, phrase))
}

/// Returns true for a sentence that orders somebody: a persona, a rule, an imperative at its start or behind a comma.
pub(in crate::reading) fn is_rule(sentence: &str) -> bool {
    let lower = sentence.to_lowercase();
    let first = lower.split_whitespace().next().unwrap_or_default();
    let behind_comma = lower.split(", ").skip(1).any(|clause| {
        let word = clause.split_whitespace().next().unwrap_or_default();
        IMPERATIVES.contains(&word)
            && !["include", "end", "start", "limit", "format", "work", "use"].contains(&word)
    });
    IMPERATIVES.contains(&first.trim_matches(|c: char| !c.is_alphanumeric() && c != '\''))
        || behind_comma
        || [
            "you are ",
            "you're the",
            "du bist ",
            "tu es ",
            "vous êtes ",
            "eres ",
        ]
        .iter()
        .any(|start| lower.starts_with(start))
        || is_ruling(sentence)
}

/// Returns the word behind a list's mark.
fn second_word(text: &str) -> &str {
    let word = text.split_whitespace().nth(1).unwrap_or_default();
    word.trim_matches(|c: char| !(c.is_alphanumeric() || c == '\''))
}

/// Returns a paragraph behind its headings, banners and labels.
fn without_headings(paragraph: &str) -> &str {
    let mut rest = paragraph.trim();
    while let Some((line, behind)) = rest.split_once('\n')
        && (line.starts_with('#')
            || is_banner(line)
            || label_of_question(line).is_some_and(|(_, label)| label.alone))
    {
        rest = behind.trim_start();
    }
    rest
}

/// Returns true for an order about the answer's form, which asks nothing of the document.
pub(in crate::reading) fn is_about_form(paragraph: &str) -> bool {
    let lower = paragraph.to_lowercase();
    let says = |phrase: &&str| has_phrase(&lower, phrase) && !lower.contains(QUESTION_MARKS);
    paragraph.lines().any(is_marker_line)
        || lower.contains("[[ ##")
        || (orders(paragraph) && FORM.iter().any(says))
}

/// Returns true for a table's rows, as a request has them for an answer to fill in.
pub(in crate::reading) fn is_table(paragraph: &str) -> bool {
    let paragraph = paragraph.trim();
    let is_row = |line: &str| line.trim().starts_with('|') && line.trim().ends_with('|');
    !paragraph.is_empty() && paragraph.len() <= PARAGRAPH && paragraph.lines().all(is_row)
}

/// Returns true for notes of a client beside the user's words: `Current time: ...`, headings with lists, a remark in
/// brackets.
pub(in crate::reading) fn is_note(text: &str) -> bool {
    let text = text.trim();
    if text.contains(QUESTION_MARKS) || text.lines().any(|line| label_of_question(line).is_some()) {
        return false;
    }
    let bracketed = text.starts_with('[') && text.ends_with(']');
    let headed = text.starts_with('#') && text.contains('\n');
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    bracketed || headed || lines.all(is_named_value)
}

/// Returns true for a line such as `Current time: 9:12`.
fn is_named_value(line: &str) -> bool {
    let name = line.split_once(": ").map(|(name, _)| name.trim());
    name.is_some_and(|name| {
        name.len() <= 32 && name.split_whitespace().count() <= 4 && !asks(name) && !orders(name)
    })
}

/// `end`, or where a ruler or fence starts that stands alone before it.
fn before_ruler(text: &str, end: usize) -> usize {
    let before = text[..end].trim_end();
    let line = before.rfind('\n').map_or(0, |at| at + 1);
    if end < text.len() && is_ruler(&before[line..]) {
        line
    } else {
        end
    }
}

/// Returns true if a paragraph asks or instructs, and does so from its first line on: a last line may ask
/// behind a document's own text.
fn asks_throughout(paragraph: &str) -> bool {
    let paragraph = paragraph.trim();
    let asks = |text: &str| asks(text) || orders(text);
    asks(paragraph)
        && paragraph
            .lines()
            .next()
            .is_some_and(|line| line.len() == paragraph.len() || line.starts_with('#') || asks(line))
}

/// Finds where the document ends before last paragraphs that ask or instruct.
pub(super) fn last_paragraphs(text: &str) -> usize {
    let trimmed = text.trim_end();
    let near = back(trimmed).start;
    let mut end = trimmed.len();
    for _ in 0..PARAGRAPHS {
        let Some(at) = trimmed[near..end].rfind("\n\n").map(|at| near + at) else {
            break;
        };
        let paragraph = trimmed[at..end].trim();
        let asks = paragraph.is_empty() || is_answer_label(paragraph) || asks_throughout(paragraph);
        if trimmed.len() - at > 2 * PARAGRAPH || !asks {
            break;
        }
        end = at;
    }
    if end < trimmed.len() { end } else { text.len() }
}

/// Finds where the document ends before last paragraphs that ask or instruct, a last line, or a last sentence,
/// and a ruler that stands before them.
pub(super) fn tail_start(text: &str) -> usize {
    before_ruler(text, last_words(text))
}

fn last_words(text: &str) -> usize {
    let end = last_paragraphs(text);
    let text = text.trim_end();
    if end < text.len() {
        return end;
    }
    let near = back(text).start;
    let line = text[near..].rfind('\n').map(|at| near + at);
    let asking = |at: &usize| {
        let turn = is_speakers_turn(&text[near..*at], &text[*at..]);
        text.len() - at <= 500 && asks(&text[*at..]) && !turn
    };
    if let Some(at) = line.filter(asking) {
        return at;
    }
    let sentence = text[near..]
        .rfind(['.', '!', '。'])
        .map(|at| near + at + text[near + at..].chars().next().map_or(1, char::len_utf8));
    sentence
        .filter(|at| text.len() - at <= 300 && text.ends_with(['?', '？']))
        .unwrap_or(text.len())
}
