//! Finds who speaks in a transcript: lines such as `Project Manager: ...` or `[00:12] Ann: ...`, and who writes in
//! the export of a chat: `[12/04/24, 21:07:44] Ann: ...`, `12.04.24, 21:07 - Ann: ...`, `Ann  9:07 PM`.

use std::collections::HashMap;

use super::lines::Line;
use super::stamps::{is_blank, read_stamp};

/// Longest label, in bytes and in words.
const MAX_LABEL_BYTES: usize = 120;
const MAX_LABEL_WORDS: usize = 14;

/// Longest name of someone who writes, in bytes and in words.
const MAX_WRITER_BYTES: usize = 80;
const MAX_WRITER_WORDS: usize = 8;

/// Fewest labelled lines of a transcript.
const MIN_TURNS: usize = 4;

/// The names of a document's speakers.
#[derive(Default)]
pub(super) struct Speakers<'a> {
    lines: HashMap<&'a str, u32>,
    /// True if most lines begin with a label: then a name that speaks once counts as well, and a turn goes on
    /// until the next label.
    pub(super) transcript: bool,
    /// True if most labels say the day: then each message stands for itself.
    pub(super) chat: bool,
}

/// The label that a line begins with.
#[derive(Clone, Copy)]
pub(super) struct LabelEnd {
    /// One past its last byte, counted from the line's beginning.
    pub(super) end: usize,
    /// Whether it says when.
    pub(super) stamped: bool,
}

impl<'a> Speakers<'a> {
    /// Counts the names that lines begin with. A name counts if it comes again; a document has speakers if
    /// enough of its lines begin with such a name.
    pub(super) fn find(text: &'a str, lines: &[Line]) -> Self {
        let mut names: HashMap<&str, u32> = HashMap::new();
        let (mut filled, mut dated) = (0, 0);
        for line in lines {
            let line = line.text(text);
            filled += usize::from(!line.trim().is_empty());
            if let Some(label) = parse_label(line) {
                dated += u32::from(label.dated);
                *names.entry(label.name).or_default() += 1;
            }
        }
        let labelled: u32 = names.values().sum();
        names.retain(|_, count| *count >= 2);
        let repeated = names.values().sum::<u32>() as usize;
        if repeated < MIN_TURNS || repeated * 5 < filled {
            return Self::default();
        }
        Self {
            lines: names,
            transcript: labelled as usize * 2 >= filled,
            chat: dated * 2 >= labelled,
        }
    }

    /// Finds the label that a line begins with.
    pub(super) fn find_label(&self, line: &str) -> Option<LabelEnd> {
        if self.lines.is_empty() {
            return None;
        }
        let label = parse_label(line)?;
        (self.transcript || self.lines.contains_key(label.name)).then_some(LabelEnd {
            end: label.end,
            stamped: label.stamped,
        })
    }
}

struct Label<'a> {
    name: &'a str,
    /// One past the colon.
    end: usize,
    stamped: bool,
    dated: bool,
}

/// Reads a label: that of a message, or that of a turn.
fn parse_label(line: &str) -> Option<Label<'_>> {
    parse_stamped(line)
        .or_else(|| parse_signed(line))
        .or_else(|| parse_turn(line))
}

/// Reads a time and a name behind it: `[12/04/24, 21:07] Ann: `, `12.04.24, 21:07 - Ann: `, `21:07 <ann> `. A time
/// alone is a label if it is in brackets or all that its line holds.
fn parse_stamped(line: &str) -> Option<Label<'_>> {
    let stamp = read_stamp(line)?;
    let rest = &line[stamp.end..];
    let label = |name, end| Label {
        name,
        end,
        stamped: true,
        dated: stamp.dated,
    };
    if !rest.is_empty() && !rest.starts_with(|c| is_blank(c) || matches!(c, '-' | '–' | ':')) {
        return None;
    }
    let dash = |c: char| is_blank(c) || matches!(c, '-' | '–' | '—' | '|');
    let named = rest.trim_start_matches(dash);
    let start = line.len() - named.len();
    if let Some(nick) = named.strip_prefix('<')
        && let Some(close) = nick.find("> ").filter(|&close| is_writer(&nick[..close]))
    {
        return Some(label(&nick[..close], start + close + 2));
    }
    let colon = named
        .char_indices()
        .take_while(|&(at, _)| at <= MAX_WRITER_BYTES)
        .find(|&(_, c)| c == ':' || c == '：');
    if let Some((colon, mark)) = colon {
        let end = start + colon + mark.len_utf8();
        let spaced = line[end..].chars().next().is_none_or(char::is_whitespace);
        if spaced && is_writer(&named[..colon]) {
            return Some(label(named[..colon].trim(), end));
        }
    }
    let alone = named.is_empty() || (stamp.bracketed && rest.starts_with(is_blank));
    (alone && !line.contains('\t')).then(|| label("", stamp.end))
}

/// Reads a name and the time behind it, which are a line of their own: `Ann Lee  9:07 PM`, `Ann, [12.04.24 21:07]`.
fn parse_signed(line: &str) -> Option<Label<'_>> {
    let trimmed = line.trim_end_matches(is_blank);
    if trimmed.len() > MAX_WRITER_BYTES || !trimmed.ends_with(|c: char| c.is_numeric() || "mM.])".contains(c))
    {
        return None;
    }
    let separator = |c: char| is_blank(c) || matches!(c, ',' | '-' | '–' | '—' | '|' | '•' | '·');
    let mut words = trimmed
        .match_indices(' ')
        .map(|(at, _)| at)
        .take(MAX_WRITER_WORDS + 2);
    let (at, stamp) = words.find_map(|at| {
        let rest = trimmed[at..].trim_start_matches(separator);
        let stamp = read_stamp(rest).filter(|stamp| stamp.end == rest.len())?;
        Some((at, stamp))
    })?;
    let name = trimmed[..at].trim_matches(separator);
    (is_writer(name) && name.starts_with(|c: char| c.is_alphabetic() || matches!(c, '+' | '@' | '~')))
        .then_some(Label {
            name,
            end: line.len(),
            stamped: true,
            dated: stamp.dated,
        })
}

/// Returns true for what could be the name, number or alias of someone who writes.
fn is_writer(name: &str) -> bool {
    let name = name.trim();
    (1..=MAX_WRITER_WORDS).contains(&name.split_whitespace().count())
        && name.len() <= MAX_WRITER_BYTES
        && !name.contains(['"', '|', '=', '{', ';', '\t', '<', '/'])
}

/// Reads the label of a turn: an optional time, a name that begins with a letter that is not lower case, a colon, and
/// white space or the line's end.
fn parse_turn(line: &str) -> Option<Label<'_>> {
    let time = |c: char| c.is_ascii_digit() || c.is_whitespace() || "[]():.,-–>*".contains(c);
    let from = line.find(|c| !time(c))?;
    if from > MAX_LABEL_BYTES {
        return None;
    }
    let (colon, mark) = line[from..]
        .char_indices()
        .take_while(|&(at, _)| at <= MAX_LABEL_BYTES)
        .find(|&(_, c)| c == ':' || c == '：')?;
    let name = line[from..from + colon].trim_end_matches('*').trim_end();
    let end = from + colon + mark.len_utf8();
    let rest = line[end..].trim_start_matches('*');
    let spaced = mark == '：' || rest.chars().next().is_none_or(char::is_whitespace);
    (spaced && is_name(name)).then_some(Label {
        name,
        end: line.len() - rest.len(),
        stamped: false,
        dated: false,
    })
}

fn is_name(name: &str) -> bool {
    let mut words = 0;
    for word in name.split_whitespace() {
        words += 1;
        let sentence_end = word.ends_with(['.', '!', '?']) && word.chars().count() > 5;
        if sentence_end || word.contains(['"', '|', '=', '{', '<', ';']) {
            return false;
        }
    }
    let first = name.chars().next();
    (1..=MAX_LABEL_WORDS).contains(&words) && first.is_some_and(|c| c.is_alphabetic() && !c.is_lowercase())
}
