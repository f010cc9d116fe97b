//! Finds what stands on each page of a paginated text: page numbers and running titles. It is neither heading nor
//! evidence, and a sentence goes on behind it.
//!
//! A short line is such a thing if it comes again and again beside numbers that count the pages, beside form
//! feeds, or in the middle of sentences.

use std::collections::{HashMap, HashSet};

use super::lines::Line;

/// Longest running line, in bytes.
const MAX_BYTES: usize = 120;

/// Fewest occurrences of a running line, and fewest pages.
const MIN_PAGES: usize = 3;

/// Lines before and behind a page number, blank ones not counted, among which the running lines are.
const REACH: usize = 3;

/// Most lines between the halves of a sentence.
const MAX_BREAK: usize = 16;

/// Shortest line, in bytes, with which a sentence goes on in a capital letter: shorter ones may be headings.
const MIN_CAPITAL_BYTES: usize = 50;

/// Words that stand before the number of a page, in lower case.
const PAGE_WORDS: &[&str] = &[
    "page", "pages", "p", "pag", "pagina", "página", "pág", "s", "seite", "sida", "side", "str", "strona",
    "стр",
];

/// Words between the number of a page and that of all pages.
const OF_WORDS: &[&str] = &["of", "von", "de", "di", "sur", "van", "z", "из", "av", "af"];

/// The lines that stand on each page.
#[derive(Default)]
pub(super) struct Pages {
    /// A flag for each line; empty if there is no such line.
    running: Vec<bool>,
    /// Whether form feeds separate pages.
    feeds: bool,
}

/// A line that is not blank.
struct Filled<'a> {
    line: usize,
    text: &'a str,
    number: Option<u32>,
    feed: bool,
}

impl Pages {
    /// Finds the running lines of a text.
    pub(super) fn find(text: &str, lines: &[Line]) -> Self {
        let filled = read_lines(text, lines);
        let marks = find_marks(&filled);
        let feeds = filled.iter().filter(|line| line.feed).count() + 1 >= MIN_PAGES;
        let split = find_splits(text, lines, &filled);
        if marks.is_empty() && !feeds && split.is_empty() {
            return Self::default();
        }
        let mut near: HashMap<String, usize> = HashMap::new();
        let mut all: HashMap<String, usize> = HashMap::new();
        let beside = find_beside(&filled, &marks, feeds);
        for (line, &beside) in filled.iter().zip(&beside) {
            let titled =
                line.text.contains(char::is_alphabetic) && !line.text.ends_with(['.', '!', '?', ';', ',']);
            if line.text.len() <= MAX_BYTES && titled {
                let key = key_of(line.text);
                *near.entry(key.clone()).or_default() += usize::from(beside);
                *all.entry(key).or_default() += 1;
            }
        }
        let splits: HashSet<String> = split.iter().map(|&i| key_of(filled[i].text)).collect();
        let running = |key: &str, count: usize| {
            let near = near.get(key).copied().unwrap_or_default();
            count >= MIN_PAGES && ((near >= MIN_PAGES && near * 10 >= count * 6) || splits.contains(key))
        };
        let keys: Vec<&String> = all
            .iter()
            .filter(|(key, count)| running(key, **count))
            .map(|(key, _)| key)
            .collect();
        let numbers_split = split.iter().any(|i| marks.contains(i));
        if keys.is_empty() && !numbers_split && !feeds {
            return Self::default();
        }
        let keys: HashSet<&str> = keys.into_iter().map(String::as_str).collect();
        let mut flags = vec![false; lines.len()];
        let first_mark = marks.first().copied().unwrap_or(0);
        let mut seen = HashSet::new();
        for (i, line) in filled.iter().enumerate() {
            let key = key_of_short(line.text);
            let runs = key.as_deref().is_some_and(|key| keys.contains(key));
            // On the first page it is the title.
            let title = runs && key.is_some_and(|key| seen.insert(key)) && i < first_mark;
            flags[line.line] = runs && !title;
        }
        marks.iter().for_each(|&mark| flags[filled[mark].line] = true);
        Self {
            running: flags,
            feeds,
        }
    }

    /// Returns true if a line stands on each page.
    pub(super) fn is_running(&self, line: usize) -> bool {
        self.running.get(line).copied().unwrap_or_default()
    }

    /// Finds the line behind a page break, which begins at `at`, on which the sentence goes on that `before` leaves
    /// open.
    pub(super) fn find_continuation(
        &self,
        text: &str,
        lines: &[Line],
        at: usize,
        before: &str,
    ) -> Option<usize> {
        if self.running.is_empty() || !is_open(before) {
            return None;
        }
        let mut broken = false;
        for (i, line) in lines.iter().enumerate().skip(at).take(MAX_BREAK) {
            let content = line.text(text);
            let feed = self.feeds && content.contains('\u{c}');
            broken |= feed || self.is_running(i);
            let content = content.trim();
            if content.is_empty() || self.is_running(i) {
                continue;
            }
            return (broken && goes_on(content)).then_some(i);
        }
        None
    }
}

fn read_lines<'a>(text: &'a str, lines: &[Line]) -> Vec<Filled<'a>> {
    let read = |(line, range): (usize, &Line)| {
        let content = range.text(text);
        let trimmed = content.trim();
        (!trimmed.is_empty()).then(|| Filled {
            line,
            text: trimmed,
            number: read_page_number(trimmed),
            feed: content.contains('\u{c}'),
        })
    };
    lines.iter().enumerate().filter_map(read).collect()
}

/// Reads a line that is the number of a page and nothing else: `3`, `- 3 -`, `Page 3 of 20`, `3/20`.
fn read_page_number(line: &str) -> Option<u32> {
    if line.len() > 32 || !line.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut number = None;
    for word in line
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        if word.bytes().all(|b| b.is_ascii_digit()) && word.len() <= 4 {
            number = number.or(word.parse().ok());
            continue;
        }
        let lower = word.to_lowercase();
        let known = match number {
            None => PAGE_WORDS.contains(&lower.as_str()),
            Some(_) => OF_WORDS.contains(&lower.as_str()),
        };
        if !known {
            return None;
        }
    }
    let numbers = line
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .count();
    number.filter(|_| numbers <= 2)
}

/// Returns the lines whose numbers count pages: each has one beside it that is one more or one less.
fn find_marks(filled: &[Filled<'_>]) -> Vec<usize> {
    let numbers: Vec<(usize, u32)> = filled
        .iter()
        .enumerate()
        .filter_map(|(i, line)| Some((i, line.number?)))
        .collect();
    let counts = |at: usize| {
        let (place, number) = numbers[at];
        let beside = numbers[at.saturating_sub(REACH)..numbers.len().min(at + REACH + 1)].iter();
        beside.filter(|&&(other, _)| other != place).any(|&(other, n)| {
            n.abs_diff(number) == 1 && (n > number) == (other > place) && other.abs_diff(place) > 1
        })
    };
    let marks: Vec<usize> = (0..numbers.len())
        .filter(|&at| counts(at))
        .map(|at| numbers[at].0)
        .collect();
    if marks.len() >= MIN_PAGES {
        marks
    } else {
        Vec::new()
    }
}

/// Returns the lines that stand alone in the middle of a sentence.
fn find_splits(text: &str, lines: &[Line], filled: &[Filled<'_>]) -> Vec<usize> {
    let blank = |line: usize| {
        lines
            .get(line)
            .is_none_or(|line| line.text(text).trim().is_empty())
    };
    let alone = |line: &Filled<'_>| {
        line.text.len() <= MAX_BYTES && blank(line.line.wrapping_sub(1)) && blank(line.line + 1)
    };
    let mut splits = Vec::new();
    for i in 1..filled.len() {
        if !alone(&filled[i]) || !is_open(filled[i - 1].text) || filled[i - 1].text.len() < MIN_CAPITAL_BYTES
        {
            continue;
        }
        let goes_on = |&j: &usize| filled[j].text.starts_with(char::is_lowercase);
        let end = (i..filled.len().min(i + REACH + 1)).find(goes_on);
        if let Some(end) = end.filter(|&end| (i..end).all(|j| alone(&filled[j]))) {
            splits.extend(i..end);
        }
    }
    splits
}

/// Flags the lines that stand beside page numbers or form feeds.
fn find_beside(filled: &[Filled<'_>], marks: &[usize], feeds: bool) -> Vec<bool> {
    let mut beside = vec![false; filled.len()];
    let breaks = filled
        .iter()
        .enumerate()
        .filter(|(_, line)| feeds && line.feed)
        .map(|(i, _)| i);
    for mark in marks.iter().copied().chain(breaks) {
        let short = |&i: &usize| filled[i].text.len() <= MAX_BYTES;
        let behind = (mark..filled.len().min(mark + REACH + 1)).take_while(short);
        let before = (mark.saturating_sub(REACH)..mark).rev().take_while(short);
        behind.chain(before).for_each(|i| beside[i] = true);
    }
    beside
}

/// Returns what is the same of a running line on each page: all of it, but for the number of the page. Titles that
/// differ in their number are different.
fn key_of(line: &str) -> String {
    let paged = line
        .split(|c: char| !c.is_alphabetic())
        .any(|word| word.len() >= 4 && PAGE_WORDS.contains(&word.to_lowercase().as_str()));
    if paged {
        line.chars()
            .map(|c| if c.is_numeric() { '#' } else { c })
            .collect()
    } else {
        line.to_owned()
    }
}

fn key_of_short(line: &str) -> Option<String> {
    (line.len() <= MAX_BYTES).then(|| key_of(line))
}

/// Returns true if a text ends in the middle of a sentence.
fn is_open(before: &str) -> bool {
    let before = before.trim_end();
    before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ',' | '-' | '–' | '(' | '’'))
        && before.split_whitespace().rev().take(4).count() == 4
}

/// Returns true if a line could go on a sentence.
fn goes_on(line: &str) -> bool {
    let first = line.chars().next();
    first.is_some_and(char::is_lowercase)
        || (line.len() >= MIN_CAPITAL_BYTES
            && first.is_some_and(|c| c.is_alphabetic() || matches!(c, '€' | '$')))
}
