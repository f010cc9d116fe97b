//! Special tokens of chat templates in a prompt that was put together by its sender: `<|im_start|>user`, `[INST]`,
//! `<<SYS>>`. They end what stands before them, and belong to no document and to nobody's words.

use std::ops::Range;

use memchr::memchr2_iter;

use super::lines;

/// Tokens that are written out.
#[rustfmt::skip]
const WRITTEN: &[&str] = &[
    "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "<<SYS>>", "<</SYS>>", "<s>", "</s>", "<bos>", "<eos>", "<start_of_turn>",
    "<end_of_turn>",
];

/// Names of tokens between `<|` and `|>`, in lower case.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "im_start", "im_end", "im_sep", "system", "developer", "user", "assistant", "tool", "end", "start", "message", "channel", "return", "endoftext",
    "end_of_text", "begin_of_text", "start_header_id", "end_header_id", "eot_id", "eom_id", "start_of_role", "end_of_role", "begin▁of▁sentence",
    "end▁of▁sentence",
];

/// Who speaks, on the line of a token.
const ROLES: &[&str] = &["system", "developer", "user", "assistant", "model", "tool"];

/// The longest token, in bytes.
const LONGEST: usize = 40;

/// Who else speaks on a line of its own, without a token: `Human:`, `### AI:`.
const OTHER_SPEAKERS: &[&str] = &["human", "ai", "bot"];
/// Speakers who answer, and those who ask.
const ANSWERERS: &[&str] = &["assistant", "ai", "bot", "model"];
const ASKERS: &[&str] = &["user", "human"];

/// Returns the ranges between the tokens of a text, in order, without those that only name a role. Lines that name who
/// speaks are tokens where the last one leaves it to the model to go on. One pass.
pub(in crate::reading) fn segments(text: &str) -> Vec<Range<usize>> {
    let answers = |line: &str| speaker(line).is_some_and(|name| ANSWERERS.contains(&name.as_str()));
    match text.trim_end().rsplit_once('\n') {
        Some((_, last)) if answers(last) => between_speakers(text),
        _ => between_tokens(text),
    }
}

/// Returns the ranges between lines that name who speaks.
fn between_speakers(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut from) = (Vec::new(), 0);
    for line in lines(text, 0..text.len()) {
        if speaker(&text[line.clone()]).is_some() {
            found.push(from..line.start);
            from = line.end;
        }
    }
    found.push(from..text.len());
    found.retain(|range| !text[range.clone()].trim().is_empty());
    found
}

/// Returns the name, in lower case, on a line that only names who speaks.
fn speaker(line: &str) -> Option<String> {
    let line = line.trim();
    if line.len() > LONGEST || !line.contains([':', '#']) {
        return None;
    }
    let name = line.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let known = ROLES.contains(&name.as_str()) || OTHER_SPEAKERS.contains(&name.as_str());
    known.then_some(name)
}

/// Returns true for the name of the one who asks.
pub(in crate::reading) fn is_user(name: &str) -> bool {
    ASKERS.contains(&name.trim().to_lowercase().as_str())
}

fn between_tokens(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    for at in memchr2_iter(b'<', b'[', text.as_bytes()) {
        if let Some(length) = token(&text[at..]).filter(|_| at >= from) {
            found.push(from..at);
            from = at + length;
        }
    }
    found.push(from..text.len());
    if found.len() > 1 {
        found.retain(|range| !is_role(&text[range.clone()]));
    }
    found
}

/// Returns the segment that is more than half of a text with tokens.
pub(super) fn longest_segment(text: &str) -> Option<Range<usize>> {
    let longest = segments(text).into_iter().max_by_key(Range::len)?;
    (longest.len() < text.len() && longest.len() * 2 > text.len()).then_some(longest)
}

/// Returns the length of a token at the start of a text, with the role that is named on its line.
fn token(text: &str) -> Option<usize> {
    let length = WRITTEN
        .iter()
        .find(|token| text.starts_with(**token))
        .map(|token| token.len())
        .or_else(|| named_token(text))?;
    let line = text[length..].split('\n').next().unwrap_or_default();
    let role = ROLES.contains(&line.trim()) && line.len() < text.len() - length;
    Some(length + if role { line.len() + 1 } else { 0 })
}

fn named_token(text: &str) -> Option<usize> {
    ["|", "｜"].iter().find_map(|bar| {
        let rest = text.strip_prefix('<')?.strip_prefix(bar)?;
        let near = &rest[..rest.floor_char_boundary(LONGEST.min(rest.len()))];
        let end = near.find(bar)?;
        let closes = near[end + bar.len()..].starts_with('>');
        let known = NAMES.contains(&near[..end].to_lowercase().as_str());
        (closes && known).then_some(1 + bar.len() + end + bar.len() + 1)
    })
}

fn is_role(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || ROLES.contains(&text)
}
