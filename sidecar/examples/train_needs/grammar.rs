//! Reads a grammar of requests and expands it. The format: `sidecar/needs/README.md`.

use std::collections::HashMap;

use super::Result;
use super::random::Random;

/// The most expansions of one line.
const MOST: usize = 32;
/// Slots in slots, at most.
const DEEPEST: usize = 6;

/// A grammar: lists of alternatives by name, and lines under the labels of their sections.
pub(crate) struct Grammar {
    /// Name of the language, from the file's name.
    pub(crate) language: String,
    lists: HashMap<String, Vec<String>>,
    lines: Vec<Line>,
}

/// A line of a grammar and the labels of its section.
pub(crate) struct Line {
    /// Index of the need, None if the section is about speech alone.
    pub(crate) need: Option<usize>,
    /// Index of the kind of speech, None if the section is about needs alone.
    pub(crate) speech: Option<usize>,
    /// The line as it is written.
    pub(crate) text: String,
}

impl Grammar {
    /// Reads a grammar's file.
    pub(crate) fn read(language: &str, file: &str) -> Result<Self> {
        let mut grammar = Self {
            language: language.to_owned(),
            lists: HashMap::new(),
            lines: Vec::new(),
        };
        let mut section = (None, None);
        for line in file
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("// "))
        {
            if let Some(labels) = line.strip_prefix("== ") {
                section = read_labels(labels)?;
            } else if let Some(list) = line.strip_prefix("= ") {
                let (name, items) = list.split_once(':').ok_or("a list without a colon")?;
                let items = split_alternatives(items)
                    .into_iter()
                    .map(|item| item.trim().to_owned());
                grammar
                    .lists
                    .entry(name.trim().to_owned())
                    .or_default()
                    .extend(items);
            } else {
                let text = line.replace("\\n", "\n");
                grammar.lines.push(Line {
                    need: section.0,
                    speech: section.1,
                    text,
                });
            }
        }
        for line in &grammar.lines {
            grammar.count(&line.text, 0)?;
        }
        Ok(grammar)
    }

    /// Returns the lines with how many expansions each is worth.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&Line, usize)> {
        self.lines.iter().map(|line| {
            let ways = self.count(&line.text, 0).unwrap_or(1.0);
            let least = if ways > 1.0 || line.need.is_some() { 2 } else { 1 };
            (
                line,
                ((3.0 * ways.powf(0.4)) as usize)
                    .min(MOST)
                    .min((2.0 * ways) as usize)
                    .max(least),
            )
        })
    }

    /// Returns a member of a list by chance, expanded, or None if the language has no such list.
    pub(crate) fn draw(&self, list: &str, random: &mut Random) -> Option<String> {
        let items = self.lists.get(list)?;
        Some(self.expand(random.choose(items)?, random))
    }

    /// Fills the slots of a text by chance.
    pub(crate) fn expand(&self, text: &str, random: &mut Random) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, slot, behind)) = find_slot(rest) {
            out.push_str(before);
            let ways = self.ways(slot);
            if let Some(way) = random.choose(&ways) {
                out.push_str(&self.expand(way, random));
            }
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    /// Returns what may stand in a slot: its alternatives, or those of the list that it names.
    fn ways<'a>(&'a self, slot: &'a str) -> Vec<&'a str> {
        match self.lists.get(slot) {
            Some(items) => items.iter().map(String::as_str).collect(),
            None => split_alternatives(slot),
        }
    }

    /// Counts the expansions of a text.
    fn count(&self, text: &str, depth: usize) -> Result<f64> {
        let mut product = 1.0;
        let mut rest = text;
        while let Some((_, slot, behind)) = find_slot(rest) {
            if !slot.contains('|') && !self.lists.contains_key(slot) {
                return Err(format!("{}: no list is called {slot:?}: {text:?}", self.language).into());
            }
            if depth == DEEPEST {
                return Err(format!("{}: slots within slots without end: {text:?}", self.language).into());
            }
            let mut sum = 0.0;
            for way in self.ways(slot) {
                sum += self.count(way, depth + 1)?;
            }
            product *= sum;
            rest = behind;
        }
        Ok(product)
    }
}

/// Finds the first slot: what stands before it, in it, and behind it.
fn find_slot(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('[')?;
    let mut depth = 1;
    for (at, c) in rest.char_indices() {
        depth += i32::from(c == '[') - i32::from(c == ']');
        if depth == 0 {
            return Some((before, &rest[..at], &rest[at + 1..]));
        }
    }
    None
}

/// Splits at the bars that stand in no inner slot.
fn split_alternatives(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let bars = |c: char| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        c == '|' && depth == 0
    };
    text.split(bars).collect()
}

/// Reads a section's labels: a need and a kind of speech, either of which may be `-`.
fn read_labels(labels: &str) -> Result<(Option<usize>, Option<usize>)> {
    let (need, speech) = labels.split_once(' ').ok_or("a section needs two labels")?;
    Ok((
        find_label(&super::NEEDS, need)?,
        find_label(&super::SPEECHES, speech.trim())?,
    ))
}

fn find_label(names: &[&str], name: &str) -> Result<Option<usize>> {
    match names.iter().position(|other| *other == name) {
        Some(at) => Ok(Some(at)),
        None if name == "-" => Ok(None),
        None => Err(format!("no label is called {name:?}").into()),
    }
}
