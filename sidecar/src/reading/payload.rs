//! A text of the user's that a program wrote: JSON or TOML with a document, a question, or both in it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::ends::trim;
use super::speech::is_request;
use super::split::{QuestionName, is_answer_name, rank_name};
use super::user::ReadText;
use super::view::AskSource;
use super::words::{Instructions, Said, read_instructions};
use crate::need::QUESTION_MARKS;
use crate::request::Text;

/// Longer strings of a TOML text may be documents, in bytes.
const LONG: usize = 200;
/// What a value of several lines begins with in TOML.
const OPENERS: [&str; 4] = ["\"\"\"", "'''", "[", "{"];
/// The longest string that asks, in bytes, and most of them: more are a document's own.
const LONGEST: usize = 2_000;
const MOST: usize = 24;

/// Reads texts that are JSON or TOML by the names in them, if no other text asks.
pub(super) fn read_payloads(texts: &[(usize, Arc<Text<'_>>)], read: &mut [ReadText]) {
    for at in 0..read.len() {
        let others = read
            .iter()
            .enumerate()
            .any(|(other, text)| other != at && text.asks());
        let (Some((_, text)), Some(found)) = (texts.get(at), read.get_mut(at)) else {
            continue;
        };
        let words = found.documents.is_empty();
        if (words || !others)
            && let Some(payload) = read_payload(text, words)
        {
            *found = payload;
        }
    }
}

/// A string value, and the name of it.
struct NamedString<'t> {
    name: Cow<'t, str>,
    text: Cow<'t, str>,
    /// The bytes between its quotation marks, where they are known.
    within: Option<Range<usize>>,
}

/// Reads a text that is JSON or TOML and asks. `words` says that it holds no document.
fn read_payload(text: &Arc<Text<'_>>, words: bool) -> Option<ReadText> {
    let said = text.as_str();
    let json = text.strings();
    let strings = match &json {
        Some(strings) => {
            let named = strings.iter().map(|string| NamedString {
                name: Cow::Borrowed(&*string.key),
                text: Cow::Borrowed(string.text.as_str()),
                within: None,
            });
            named.collect()
        }
        None => read_toml(said)?,
    };
    // What comes with answers is a document: a list of questions and answers.
    let answers = |string: &NamedString<'_>| !string.text.trim().is_empty() && is_answer_name(&string.name);
    if strings.iter().any(answers) {
        return None;
    }
    let asked: Vec<_> = strings.iter().flat_map(read_string).collect();
    if asked.is_empty() || asked.len() > MOST {
        return None;
    }
    let request: Vec<_> = asked.iter().map(|said| said.text.as_str()).collect();
    let longest = strings.iter().filter_map(|string| string.within.clone());
    let longest = longest
        .max_by_key(Range::len)
        .filter(|range| range.len() * 2 > said.len());
    let document = match longest {
        Some(range) => vec![trim(said, range)],
        None if words => Vec::new(),
        None => vec![trim(said, 0..said.len())],
    };
    Some(ReadText {
        documents: document,
        instructions: Instructions {
            request: request.join("\n"),
            said: asked,
            ..Instructions::default()
        },
        words_start: Some(0),
        ..ReadText::default()
    })
}

/// Lists the strings of a text that is TOML with a document in it; none of settings, most of which are no long text.
fn read_toml(text: &str) -> Option<Vec<NamedString<'_>>> {
    let mut lines = text.lines().map(str::trim_start);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'))?;
    if !begins_toml(first) {
        return None;
    }
    let table = DeTable::parse(text).ok()?;
    let mut strings = Vec::new();
    list_strings(text, table.get_ref(), &mut strings);
    let long = strings
        .iter()
        .map(|string| string.text.len())
        .filter(|length| *length >= LONG);
    (long.sum::<usize>() * 2 > text.len()).then_some(strings)
}

/// Returns whether a text that begins with this line may be TOML: the line is, or opens a value of several lines. Logs,
/// numbered passages and code are told by it, and not parsed to their end.
fn begins_toml(line: &str) -> bool {
    let opens = |value: &str| {
        let value = value.trim_start();
        OPENERS.iter().any(|opener| value.starts_with(opener))
    };
    match line.starts_with('[') {
        true => DeTable::parse(line).is_ok(),
        false => line.contains('=') && (line.split('=').skip(1).any(opens) || DeTable::parse(line).is_ok()),
    }
}

fn list_strings<'t>(text: &str, table: &DeTable<'t>, strings: &mut Vec<NamedString<'t>>) {
    for (name, value) in table {
        let mut values = vec![value];
        while let Some(value) = values.pop() {
            match value.get_ref() {
                DeValue::Table(table) => list_strings(text, table, strings),
                DeValue::Array(array) => values.extend(array.iter().rev()),
                DeValue::String(string) => strings.push(NamedString {
                    name: name.get_ref().clone(),
                    text: string.clone(),
                    within: within_marks(text, value.span()),
                }),
                _ => {}
            }
        }
    }
}

/// Returns the range of a TOML string without its quotation marks.
fn within_marks(text: &str, string: Range<usize>) -> Option<Range<usize>> {
    let raw = text.get(string.clone())?;
    let marks = match raw.starts_with("\"\"\"") || raw.starts_with("'''") {
        true => 3,
        false => 1,
    };
    let within = string.start + marks..string.end.checked_sub(marks)?;
    text.get(within.clone())?;
    Some(within)
}

/// Returns what a string asks: by the name of its value, or because it ends as a question does.
fn read_string(string: &NamedString<'_>) -> Vec<Said> {
    let text = string.text.trim();
    if text.len() > LONGEST || !text.contains(char::is_whitespace) && text.is_ascii() {
        return Vec::new();
    }
    let say = |source| {
        vec![Said {
            text: text.to_owned(),
            weight: 1.0,
            source,
        }]
    };
    match rank_name(&string.name) {
        Some(QuestionName::Question | QuestionName::Task) => say(AskSource::Label),
        Some(QuestionName::Instructions) => read_instructions(text).said,
        None if text.ends_with(QUESTION_MARKS) && is_request(text) => say(AskSource::Numbered),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_tells_what_is_no_toml() {
        for line in [
            "[request]",
            "[[hits]] # the best ones",
            "question = \"Who sold tar?\"",
            "'a = b' = \"\"\"",
            "hits = [",
            "hit = {",
            "ledger.text = '''The first day.",
        ] {
            assert!(begins_toml(line), "{line}");
        }
        for line in [
            "[2024-05-01 10:00:00] INFO the crane at berth 7 was started",
            "[1] The crane at berth 7 was started.",
            "level=info msg=\"the crane was started\" berth=7",
            "total = count(cranes)",
            "The crane was started.",
        ] {
            assert!(!begins_toml(line), "{line}");
        }
    }
}
