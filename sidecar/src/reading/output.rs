//! Tells what a tool answered: prose, a table or a page, which may be cut; or code, listings, search hits, logs, test
//! output and configuration, which a later step must match exactly.

use super::content::{Content, classify};
use crate::api::Reason;

/// Bytes that are read at the front, in the middle and at the end.
const SAMPLE: usize = 6 << 10;
/// The fewest words of a line of prose, and the fewest letters where a script has no spaces.
const WORDS: usize = 6;
const IDEOGRAPHS: usize = 12;

/// Returns the reason to keep a tool's answer as it is, if there is one.
pub(super) fn reason_to_keep(text: &str) -> Option<Reason> {
    reason_by_kind(text).or_else(|| {
        let count = Count::read(text);
        let kept = !is_page(text) && (count.is_output() || !count.is_readable());
        kept.then_some(Reason::ToolOutput)
    })
}

/// Returns the reason to keep a text that stands in a tool's JSON. What is named there need not be sentences.
pub(super) fn reason_to_keep_value(text: &str) -> Option<Reason> {
    reason_by_kind(text).or_else(|| {
        let kept = !is_page(text) && Count::read(text).is_output();
        kept.then_some(Reason::ToolOutput)
    })
}

/// Returns the reason to keep a text of a kind that is never cut.
pub(super) fn reason_by_kind(text: &str) -> Option<Reason> {
    match classify(text) {
        Content::Code => Some(Reason::Code),
        Content::Opaque => Some(Reason::NotProse),
        Content::Text => None,
    }
}

/// Three samples of a text, in whole lines.
fn samples(text: &str) -> Vec<&str> {
    if text.len() <= 3 * SAMPLE {
        return vec![text];
    }
    let starts = [0, text.len() / 2, text.len() - SAMPLE];
    let samples = starts.into_iter().filter_map(|start| {
        let start = text.ceil_char_boundary(start);
        let sample = text.get(start..text.floor_char_boundary((start + SAMPLE).min(text.len())))?;
        // The first line of a later sample is a line's end.
        let whole = if start == 0 {
            Some(0)
        } else {
            sample.find('\n').map(|at| at + 1)
        };
        sample.get(whole.unwrap_or(0)..)
    });
    samples.collect()
}

/// Returns true for a page of HTML.
fn is_page(text: &str) -> bool {
    let start = text.trim_start();
    let head = start
        .get(..start.floor_char_boundary(1 << 10))
        .unwrap_or(start)
        .to_ascii_lowercase();
    head.starts_with("<!doctype html")
        || head.contains("<html")
        || ["<p>", "<p ", "<div", "<body", "<article", "<table"]
            .iter()
            .filter(|tag| head.contains(*tag))
            .count()
            >= 2
}

/// Bytes of the lines of each kind.
#[derive(Default)]
struct Count {
    all: usize,
    output: usize,
    readable: usize,
}

impl Count {
    fn read(text: &str) -> Self {
        let mut count = Self::default();
        for line in samples(text)
            .into_iter()
            .flat_map(str::lines)
            .filter(|line| !line.trim().is_empty())
        {
            count.all += line.len();
            if is_output_line(line) {
                count.output += line.len();
            } else if is_prose_line(line) || is_row(line) || is_heading(line) {
                count.readable += line.len();
            }
        }
        count
    }

    fn is_output(&self) -> bool {
        self.output * 2 > self.all
    }

    fn is_readable(&self) -> bool {
        self.readable * 2 > self.all
    }
}

/// Returns true for a row of a table: cells between separators, or words with two numbers behind them.
fn is_row(line: &str) -> bool {
    let separated = ['|', '\t', ';', ',']
        .iter()
        .any(|separator| line.matches(*separator).count() >= 2);
    let is_number = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit() || "$€£(-+".contains(c))
            && word.contains(|c: char| c.is_ascii_digit())
    };
    let numbers = line.split_whitespace().filter(|word| is_number(word)).count();
    separated || (numbers >= 2 && line.contains(char::is_alphabetic))
}

/// Returns true for a heading or an item of Markdown.
fn is_heading(line: &str) -> bool {
    let bare = line.trim_start();
    (bare.starts_with('#') && bare.trim_start_matches('#').starts_with(' ')) || bare.starts_with("**")
}

/// Returns true for a line that holds a clause: enough words, most of them of letters.
fn is_prose_line(line: &str) -> bool {
    let spaceless = line
        .chars()
        .filter(|c| ('\u{2e80}'..='\u{9fff}').contains(c) || ('\u{e00}'..='\u{eff}').contains(c));
    if spaceless.take(IDEOGRAPHS).count() == IDEOGRAPHS {
        return true;
    }
    let (mut words, mut all) = (0, 0);
    for word in line.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        words += usize::from(
            !bare.is_empty()
                && bare
                    .chars()
                    .all(|c| c.is_alphabetic() || !c.is_ascii() || "'-".contains(c)),
        );
        all += 1;
    }
    words >= WORDS && words * 3 >= all * 2
}

/// Returns true for a line as tools write them: a hit, a listing's entry, a log's, a test's, a setting.
fn is_output_line(line: &str) -> bool {
    let bare = line.trim();
    is_hit(bare)
        || is_numbered_source(line)
        || is_entry(bare)
        || is_log(bare)
        || is_test(bare)
        || is_frame_of_stack(bare)
        || is_setting(bare)
}

/// `src/a.rs:12: text`, `src/a.rs-13- text`.
fn is_hit(line: &str) -> bool {
    let Some(end) = line.find([':', ' ']).filter(|end| line[*end..].starts_with(':')) else {
        return false;
    };
    let (path, behind) = (&line[..end], &line[end + 1..]);
    let number = behind.bytes().take_while(u8::is_ascii_digit).count();
    let is_path = path.contains(['/', '\\', '.']) && path.contains(char::is_alphabetic);
    is_path && !path.contains("//") && number > 0 && behind[number..].starts_with([':', ' ', '\t', '-'])
}

/// `    12\ttext`, `12→text`: a file with the numbers of its lines.
fn is_numbered_source(line: &str) -> bool {
    let bare = line.trim_start();
    let digits = bare.bytes().take_while(u8::is_ascii_digit).count();
    digits > 0
        && digits <= 7
        && (bare[digits..].starts_with(['→', '│'])
            || (bare[digits..].starts_with(['\t', '|', ':']) && bare.len() + 2 <= line.len()))
}

/// An entry of a listing: permissions, branches of a tree, a path alone.
fn is_entry(line: &str) -> bool {
    let permissions = line.len() > 10
        && line.starts_with(['-', 'd', 'l', 'b', 'c'])
        && line
            .bytes()
            .skip(1)
            .take(9)
            .all(|byte| b"rwxsStT-".contains(&byte));
    let tree = line.starts_with(['├', '└', '│']) || line.starts_with("|--") || line.starts_with("`--");
    let path = !line.contains(' ')
        && line.contains(['/', '\\'])
        && !line.contains("://")
        && line.contains(char::is_alphabetic);
    permissions || tree || path
}

/// Words that name the level of a log's entry.
const LEVELS: &[&str] = &[
    "INFO",
    "WARN",
    "WARNING",
    "ERROR",
    "DEBUG",
    "TRACE",
    "FATAL",
    "CRITICAL",
    "NOTICE",
    "level=",
    "\"level\"",
];

/// A log's entry: a level near its start, behind a time or a bracket; or a date and a process.
fn is_log(line: &str) -> bool {
    let near = &line[..line.floor_char_boundary(80)];
    let levelled = LEVELS.iter().any(|level| {
        near.match_indices(level).any(|(at, _)| {
            let inside = near[..at].chars().next_back().is_some_and(char::is_alphanumeric);
            let behind = near[at + level.len()..].chars().next();
            !inside && (level.ends_with(['=', '"']) || behind.is_none_or(|c| !c.is_alphanumeric()))
        })
    });
    let dated = near.bytes().take(24).filter(u8::is_ascii_digit).count() >= 6;
    let daemon = dated_by_name(near) && near.contains("]: ");
    let request = near.contains("] \"GET ") || near.contains("] \"POST ") || near.contains("\"] \"");
    (levelled
        && (dated || line.starts_with(['[', '<']) || LEVELS.iter().any(|level| line.starts_with(level))))
        || daemon
        || request
}

/// `Jan 12 10:00:01 host`.
fn dated_by_name(line: &str) -> bool {
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    months.iter().any(|month| line.starts_with(month)) && line.matches(':').count() >= 2
}

/// Starts of lines that tests, builds and package managers write.
#[rustfmt::skip]
const TOOL_STARTS: &[&str] = &[
    "PASS", "FAIL", "ok ", "not ok ", "--- PASS", "--- FAIL", "=== RUN", "test result:", "running ", "✓", "✔", "✗", "✕", "×", "Compiling ",
    "Downloading ", "Downloaded ", "Installing ", "Collecting ", "Requirement already", "Building ", "Finished ", "warning: ", "warning[",
    "error: ", "error[", "note: ", "help: ", "make: ", "make[", "npm ", "yarn ", "[INFO]", "[ERROR]", "[WARN", "gcc ", "cc ", "CC ", "LD ",
    "FAILED", "ERROR ", "PASSED", "Traceback (most", "Caused by", "AssertionError", "E   ",
];

fn is_test(line: &str) -> bool {
    let verdicts = [
        " PASSED",
        " FAILED",
        " SKIPPED",
        " XFAIL",
        " ... ok",
        " ... FAILED",
        " ... ignored",
        " passed in ",
        " (ms)",
        " ms)",
    ];
    let starts = |start: &&str| {
        let behind = line.strip_prefix(*start);
        let word = start.ends_with(char::is_alphanumeric);
        behind.is_some_and(|behind| !word || !behind.starts_with(char::is_alphanumeric))
            && (*start != "ok " || line.len() < 120)
    };
    TOOL_STARTS.iter().any(starts) || verdicts.iter().any(|verdict| line.contains(verdict))
}

fn is_frame_of_stack(line: &str) -> bool {
    (line.starts_with("at ")
        && line.contains(['(', ':'])
        && line.ends_with([')', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']))
        || (line.starts_with("File \"") && line.contains(", line "))
}

/// A setting: `port = 80`, `replicas: 3`, `[section]`, `"key": 1,`, a bracket alone.
fn is_setting(line: &str) -> bool {
    if ["{\"", "[{", "[\""].iter().any(|start| line.starts_with(start))
        || line.chars().all(|c| "{}[](),;".contains(c))
    {
        return true;
    }
    if line.starts_with('[') && line.ends_with(']') && !line.contains(' ') {
        return true;
    }
    let bare = line.trim_start_matches(['-', ' ', '"']);
    let Some(end) = bare.find([':', '=']) else {
        return false;
    };
    let key = bare[..end].trim_end_matches(['"', ' ', ':']);
    let is_key = key.contains(char::is_alphabetic)
        && key.len() <= 48
        && key.chars().all(|c| c.is_alphanumeric() || "_-./@$".contains(c));
    let value = bare[end + 1..].trim();
    // A speaker's name and a label are followed by words.
    is_key
        && value.split_whitespace().count() <= 4
        && !value.ends_with(['.', '?', '!'])
        && (line.contains(['_', '"', '=']) || key == key.to_lowercase())
}
