//! What is asked of a tool's answer: by the arguments of the call, and by what the model said before it.

use serde_json::Value;

use super::asks::clip;
use super::speech::judge;
use super::view::AskSource;
use super::words::Said;
use crate::need::Need;
use crate::request::ToolCall;

/// Weight of an argument that is a query, of other words in arguments, and of what the model said.
const QUERY: f32 = 1.0;
const WORDS: f32 = 0.7;
const SAID: f32 = 0.6;
/// Longer arguments are texts, no words about one; in bytes.
const LONGEST: usize = 600;
/// Most arguments that are read, and the deepest.
const ARGUMENTS: usize = 8;
const DEEPEST: usize = 4;
/// Of what the model said, its last bytes.
const LAST_WORDS: usize = 600;
/// Longer arguments as a whole are what a tool writes, not what it is asked.
const LONGEST_CALL: usize = 16 << 10;

/// Names of arguments that say what is looked for: a single word will do.
#[rustfmt::skip]
const QUERY_NAMES: &[&str] = &[
    "q", "query", "queries", "search", "search_query", "searchquery", "question", "questions", "prompt", "keyword", "keywords", "topic", "topics",
    "subject", "instruction", "instructions", "task", "intent", "goal", "objective", "input", "text", "term", "terms", "description", "focus",
    "frage", "suche", "recherche", "consulta", "pergunta", "domanda", "запрос", "查询", "質問", "질문",
];

/// Names of arguments that never are words: places, programs, patterns, texts to write.
#[rustfmt::skip]
const OTHER_NAMES: &[&str] = &[
    "path", "file", "filename", "file_path", "filepath", "dir", "directory", "folder", "cwd", "workdir", "url", "uri", "link", "href", "command", "cmd",
    "script", "code", "sql", "pattern", "regex", "glob", "include", "exclude", "old_string", "new_string", "old_str", "new_str", "content", "contents",
    "file_text", "insert_text", "patch", "diff", "body", "id", "uuid", "token", "cursor", "format", "encoding", "language", "lang", "locale", "mode",
    "type", "sort", "order", "branch", "repo", "owner", "model", "timezone",
];

/// Reads the words in a call's arguments.
pub(super) fn read_arguments(call: &ToolCall<'_>) -> Vec<Said> {
    let mut found = Vec::new();
    if call.arguments.len() <= LONGEST_CALL {
        match serde_json::from_str(&call.arguments) {
            Ok(value) => read_value(&value, "", DEEPEST, &mut found),
            // A tool of free form: its input is no JSON.
            Err(_) => read_value(
                &Value::String(call.arguments.clone().into_owned()),
                "",
                0,
                &mut found,
            ),
        }
    }
    found.truncate(ARGUMENTS);
    found
}

fn read_value(value: &Value, key: &str, depth: usize, found: &mut Vec<Said>) {
    match value {
        Value::String(text) => found.extend(words_of(key, text)),
        Value::Array(values) if depth > 0 => {
            for value in values.iter().take(ARGUMENTS) {
                read_value(value, key, depth - 1, found);
            }
        }
        Value::Object(fields) if depth > 0 => {
            for (key, value) in fields {
                read_value(value, key, depth - 1, found);
            }
        }
        _ => {}
    }
}

/// Returns an argument if it reads like words: not a place, an address, an id, a flag, a program.
fn words_of(key: &str, text: &str) -> Option<Said> {
    let key = key.to_lowercase();
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST || OTHER_NAMES.contains(&key.as_str()) || is_address(text) {
        return None;
    }
    let is_query = QUERY_NAMES.contains(&key.as_str());
    let words = text.split_whitespace();
    let plain = words.filter(|word| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        !bare.is_empty()
            && bare
                .chars()
                .all(|c| c.is_alphabetic() || !c.is_ascii() || "-'".contains(c))
    });
    let plain = plain.count();
    let spaceless = text
        .chars()
        .filter(|c| *c >= '\u{e00}' && c.is_alphabetic())
        .take(4)
        .count()
        == 4;
    let reads = (is_query && (plain >= 1 || text.contains(char::is_alphabetic))) || plain >= 2 || spaceless;
    reads.then(|| Said {
        text: text.to_owned(),
        weight: if is_query { QUERY } else { WORDS },
        source: AskSource::Arguments,
    })
}

/// Returns true for a path, an address, an id, or a line for a shell.
fn is_address(text: &str) -> bool {
    let one_word = !text.contains(char::is_whitespace);
    let place = text.contains("://") || (one_word && text.contains(['/', '\\', '@', '=', '_', '{', '.']));
    let number = one_word && text.contains(|c: char| c.is_ascii_digit());
    let shell = text.contains(" -")
        && text
            .split_whitespace()
            .any(|word| word.starts_with('-') && word.len() > 1 && !word.ends_with('-'))
        || [
            "&&", "||", "$(", " | ", "=>", "();", "{", "}", "SELECT ", "\\d", "\\s", ".*",
        ]
        .iter()
        .any(|mark| text.contains(mark));
    place || number || shell
}

/// Returns the last sentences of what the model said before a call.
pub(super) fn read_said(text: &str) -> Option<Said> {
    let text = text.trim();
    let near = text.ceil_char_boundary(text.len().saturating_sub(LAST_WORDS));
    let last = text.get(near..)?;
    // From the start of a paragraph or sentence.
    let from = if near == 0 {
        0
    } else {
        last.find(['\n', '.', '。']).map_or(0, |at| at + 1)
    };
    let last = last.ceil_char_boundary(from);
    let last = clip(text.get(near + last..)?, LAST_WORDS);
    (last.contains(char::is_alphanumeric) && judge(last) != Need::None).then(|| Said {
        text: last.to_owned(),
        weight: SAID,
        source: AskSource::Said,
    })
}
