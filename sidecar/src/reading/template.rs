//! What a framework's template says of itself: places for values, names of the parts that follow, fields that it
//! declares. None of it asks anything, but the fields that an answer is to have.

use super::asks::ask_of_field;
use super::phrases::only_points;
use super::speech::without_list_mark;
use super::split::{is_document_name, rank_name};
use super::view::AskSource;
use super::words::{LITTLE, Said};
use crate::request::AnswerField;

/// Returns true for the place that a template leaves for a value, with a comment or without: `{question}`.
pub(super) fn is_placeholder(text: &str) -> bool {
    let text = text.trim().trim_start_matches(['$', '{']);
    let name = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let behind = text[name..].trim_start_matches('}').trim_start();
    text[name..].starts_with('}') && (behind.is_empty() || behind.starts_with('#'))
}

/// Lowers orders that only name the fields that a template declares: "Given the fields `text`, produce the fields `title`."
pub(super) fn lower_orders_by_field(text: &str, said: &mut [Said]) {
    let declared: Vec<_> = text
        .lines()
        .filter_map(|line| declared_field(without_list_mark(line.trim())))
        .collect();
    let names = |said: &Said| {
        let quoted = said.text.split('`').skip(1).step_by(2);
        quoted
            .filter(|name| declared.iter().any(|field| field.name == *name))
            .count()
    };
    if !declared.is_empty() {
        let orders = said.iter_mut().filter(|said| said.source == AskSource::Words);
        for said in orders.filter(|said| names(said) >= 2) {
            said.weight = said.weight.min(LITTLE);
        }
    }
}

/// Lowers labelled words that only point, beside others: a template says what its labels are for ("Question: the input
/// question you must answer").
pub(super) fn lower_templates_labels(said: &mut [Said]) {
    let points = |said: &Said| said.source == AskSource::Label && only_points(&said.text);
    let labelled = |said: &&Said| said.source == AskSource::Label && said.weight > LITTLE;
    if said.iter().filter(labelled).any(|said| !points(said)) {
        for said in said.iter_mut().filter(|said| points(said)) {
            said.weight = said.weight.min(LITTLE);
        }
    }
}

/// Reads a field that a template declares: "`answer` (str): the clause that applies".
pub(super) fn declared_field(item: &str) -> Option<AnswerField> {
    let (name, behind) = item.strip_prefix('`')?.split_once('`')?;
    let (kind, description) = behind.lines().next()?.split_once(':')?;
    let kind = kind.trim();
    let declares = kind.is_empty() || (kind.starts_with('(') && kind.ends_with(')'));
    declares.then(|| AnswerField {
        name: name.to_owned(),
        description: description.trim().to_owned(),
    })
}

/// Returns whether a field that a template declares asks something: those for document and question are given.
pub(super) fn asks_by(field: &AnswerField) -> bool {
    let given = is_document_name(&field.name) || rank_name(&field.name).is_some();
    !given && field.description.contains(char::is_alphanumeric) && ask_of_field(field).is_some()
}
