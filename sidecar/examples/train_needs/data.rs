//! Reads the training data and makes samples of it: lines expanded, greeted, misspelt, given a persona.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::Result;
use super::grammar::{Grammar, Line};
use super::random::Random;

/// One of so many lines is held out of the first fit.
const HELD_OUT: usize = 10;
/// Label of a text that is a document's.
const CONTENT: usize = 2;
/// Label of a request that needs nothing.
const NONE: usize = 5;
/// Label of a text that rules.
const RULE: usize = 1;

/// The training data.
pub(crate) struct Data {
    grammars: Vec<Grammar>,
    /// SHA-256 of the names and bytes of the files.
    pub(crate) hash: [u8; 32],
}

/// A text with its labels.
pub(crate) struct Sample {
    /// What is written.
    pub(crate) text: String,
    /// Name of the language.
    pub(crate) language: String,
    /// Index of the need, if it has one.
    pub(crate) need: Option<usize>,
    /// Index of the kind of speech, if it has one.
    pub(crate) speech: Option<usize>,
    /// Whether its line is held out of the first fit.
    pub(crate) held_out: bool,
}

/// Reads the files `LANGUAGE.txt` or `LANGUAGE.PART.txt` of a folder in the order of their names. A language's lists are
/// in its first file.
pub(crate) fn read(folder: &Path) -> Result<Data> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    let mut hash = Sha256::new();
    let mut grammars: Vec<Grammar> = Vec::new();
    let mut text = String::new();
    for (at, path) in paths.iter().enumerate() {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let file = std::fs::read_to_string(path)?;
        hash.update(name);
        hash.update(&file);
        let language = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        text.push_str(&file);
        text.push('\n');
        let next = paths
            .get(at + 1)
            .and_then(|path| path.file_name())
            .and_then(|name| name.to_str());
        if next.is_none_or(|next| language(next) != language(name)) {
            grammars.push(Grammar::read(&language(name), &std::mem::take(&mut text))?);
        }
    }
    Ok(Data {
        grammars,
        hash: hash.finalize().into(),
    })
}

impl Data {
    /// Returns the number of lines.
    pub(crate) fn lines(&self) -> usize {
        self.grammars.iter().map(|grammar| grammar.lines().count()).sum()
    }

    /// Expands all lines. The same files give the same samples.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let mut random = Random(1);
        let mut samples = Vec::new();
        for grammar in &self.grammars {
            for (line, worth) in grammar.lines() {
                let held_out = is_held_out(&line.text);
                for turn in 0..worth {
                    let text = grammar.expand(&line.text, &mut random);
                    let text = if turn == 0 {
                        text
                    } else {
                        vary(grammar, line, text, &mut random)
                    };
                    let language = grammar.language.clone();
                    samples.push(Sample {
                        text,
                        language,
                        need: line.need,
                        speech: line.speech,
                        held_out,
                    });
                }
            }
        }
        samples
    }
}

fn is_held_out(line: &str) -> bool {
    let digest = Sha256::digest(line);
    usize::from(digest[0]) * HELD_OUT < 256
}

/// Varies a text as people write: greeted, thanked for, in a system prompt, without marks, misspelt.
fn vary(grammar: &Grammar, line: &Line, mut text: String, random: &mut Random) -> String {
    if line.speech == Some(CONTENT) {
        return text;
    }
    let asks = line.need.is_some_and(|need| need != NONE) && line.speech != Some(RULE);
    if asks
        && random.happens(0.12)
        && let Some(hello) = grammar.draw("hello", random)
    {
        text = format!("{hello} {text}");
    }
    if asks
        && random.happens(0.06)
        && let Some(chat) = grammar.draw("chat", random)
    {
        text = format!("{chat} {text}");
    }
    if asks
        && random.happens(0.10)
        && let Some(bye) = grammar.draw("bye", random)
    {
        text = format!("{text} {bye}");
    }
    if asks
        && line.speech != Some(RULE)
        && random.happens(0.12)
        && let Some(persona) = grammar.draw("persona", random)
    {
        let gap = if random.happens(0.3) { "\n" } else { " " };
        text = format!("{persona}{gap}{text}");
    }
    if asks
        && random.happens(0.08)
        && let Some(style) = grammar.draw("style", random)
    {
        let gap = if random.happens(0.3) { "\n" } else { " " };
        text = if random.happens(0.3) {
            format!("{style}{gap}{text}")
        } else {
            format!("{text}{gap}{style}")
        };
    }
    if random.happens(0.2) {
        let end = text.trim_end_matches(['.', '?', '!', '。', '？', '؟', '।']).len();
        text.truncate(end);
    }
    if random.happens(0.12) {
        text = misspell(&text, random);
    }
    text
}

/// Swaps two letters, loses one or doubles one, once in each 30 characters or so.
fn misspell(text: &str, random: &mut Random) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for _ in 0..=letters.len() / 30 {
        let at = random.below(letters.len().max(2) - 1);
        if letters
            .get(at..at + 2)
            .is_some_and(|two| two.iter().all(|c| c.is_alphabetic()))
        {
            match random.below(3) {
                0 => letters.swap(at, at + 1),
                1 => {
                    letters.remove(at);
                }
                _ => letters.insert(at, letters[at]),
            }
        }
    }
    letters.into_iter().collect()
}
