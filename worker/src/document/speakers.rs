//! Finds who speaks in a transcript: lines such as `Project Manager: ...` or `[00:12] Ann: ...`.

use std::collections::HashMap;

use super::lines::Line;

/// Longest label, in bytes and in words.
const MAX_LABEL_BYTES: usize = 120;
const MAX_LABEL_WORDS: usize = 14;

/// Fewest labelled lines of a transcript.
const MIN_TURNS: usize = 4;

/// The names of a document's speakers.
#[derive(Default)]
pub(super) struct Speakers<'a> {
    lines: HashMap<&'a str, u32>,
    /// True if most lines begin with a label: then a name that speaks once counts as well, and a turn goes on
    /// until the next label.
    pub(super) transcript: bool,
}

impl<'a> Speakers<'a> {
    /// Counts the names that lines begin with. A name counts if it comes again; a document has speakers if
    /// enough of its lines begin with such a name.
    pub(super) fn find(text: &'a str, lines: &[Line]) -> Self {
        let mut names: HashMap<&str, u32> = HashMap::new();
        let mut filled = 0;
        for line in lines {
            let line = line.text(text);
            filled += usize::from(!line.trim().is_empty());
            if let Some(label) = parse_label(line) {
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
        }
    }

    /// Returns the end of the label that a line begins with, in bytes of the line.
    pub(super) fn find_label_end(&self, line: &str) -> Option<usize> {
        if self.lines.is_empty() {
            return None;
        }
        let label = parse_label(line)?;
        (self.transcript || self.lines.contains_key(label.name)).then_some(label.end)
    }
}

struct Label<'a> {
    name: &'a str,
    /// One past the colon.
    end: usize,
}

/// Reads a label: an optional time, a name that begins with a letter that is not lower case, a colon, and
/// white space or the line's end.
fn parse_label(line: &str) -> Option<Label<'_>> {
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
