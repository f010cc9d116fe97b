//! Reads evaluation sets: JSON lines, plain or gzip; eval/README.md says what is in them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// The folder of the sets that come with the project.
const FOLDER: &str = "eval";

/// A question about a document, with what a good pack holds.
pub(crate) struct Item {
    /// Place among the items that are measured.
    pub(crate) index: usize,
    /// Which half its document belongs to.
    pub(crate) half: Half,
    pub(crate) id: String,
    pub(crate) document: String,
    pub(crate) question: String,
    pub(crate) answers: Vec<String>,
    /// Texts of the labelled evidence.
    pub(crate) evidence: Vec<String>,
}

/// Halves of a set, by document: all questions about a document are in one half, so what was chosen on one half
/// can be shown on documents that took no part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Half {
    /// Documents whose SHA-256 begins with an even byte.
    First,
    /// The others.
    Second,
}

impl Half {
    pub(crate) const BOTH: [Self; 2] = [Self::First, Self::Second];

    fn of(document: &str) -> Self {
        if Sha256::digest(document)[0] % 2 == 0 {
            Self::First
        } else {
            Self::Second
        }
    }
}

/// Which items are measured.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Choice {
    /// Only this half of the documents: the first byte of their SHA-256 is even (first) or odd (second)
    #[arg(long, value_enum)]
    half: Option<Half>,
    /// Only N items of each set, drawn by --seed
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Draws the sample: the N items with the smallest SHA-256 of "SEED:ID"
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Choice {
    /// The items that are measured, in the order of the file.
    fn apply(&self, mut items: Vec<Item>) -> Vec<Item> {
        items.retain(|item| self.half.is_none_or(|half| item.half == half));
        if let Some(count) = self.sample {
            items.sort_by_cached_key(|item| {
                <[u8; 32]>::from(Sha256::digest(format!("{}:{}", self.seed, item.id)))
            });
            items.truncate(count);
            items.sort_by_key(|item| item.index);
        }
        for (index, item) in items.iter_mut().enumerate() {
            item.index = index;
        }
        items
    }
}

/// The items of a file.
pub(crate) struct Set {
    /// The file's name up to the first full stop.
    pub(crate) name: String,
    pub(crate) items: Vec<Item>,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    document: String,
    question: String,
    #[serde(default)]
    answers: Vec<String>,
    #[serde(default)]
    evidence: Vec<Evidence>,
}

#[derive(Deserialize)]
struct Evidence {
    text: String,
}

/// The sets of the files named, or of the project's folder if none is.
pub(crate) fn load_all(files: &[PathBuf], choice: &Choice) -> anyhow::Result<Vec<Set>> {
    let found = if files.is_empty() {
        in_folder(Path::new(FOLDER))?
    } else {
        files.to_vec()
    };
    if found.is_empty() {
        bail!("no set in {FOLDER}/: name files to measure");
    }
    load_all_of(&found, choice)
}

/// The sets of the files named.
pub(crate) fn load_all_of(files: &[PathBuf], choice: &Choice) -> anyhow::Result<Vec<Set>> {
    files.iter().map(|path| load(path, choice)).collect()
}

fn in_folder(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".jsonl.gz"));
    files.sort();
    Ok(files)
}

/// Reads JSON lines, plain or gzip. Errors name file and line.
pub(crate) fn lines<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> = if packed {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let parse = |(index, line): (usize, std::io::Result<String>)| {
        let at = || format!("{} line {}", path.display(), index + 1);
        serde_json::from_str(&line.with_context(at)?).with_context(at)
    };
    BufReader::new(reader).lines().enumerate().map(parse).collect()
}

fn load(path: &Path, choice: &Choice) -> anyhow::Result<Set> {
    let mut items = Vec::new();
    for (index, line) in lines::<Line>(path)?.into_iter().enumerate() {
        items.push(Item {
            index,
            half: Half::of(&line.document),
            id: line.id,
            document: line.document,
            question: line.question,
            answers: line.answers,
            evidence: line.evidence.into_iter().map(|evidence| evidence.text).collect(),
        });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(Set {
        name: name.split('.').next().unwrap_or_default().to_owned(),
        items: choice.apply(items),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items() -> Vec<Item> {
        let item = |index: usize| {
            let document = format!("document {}", index / 2);
            Item {
                index,
                half: Half::of(&document),
                id: format!("item {index}"),
                document,
                question: String::new(),
                answers: Vec::new(),
                evidence: Vec::new(),
            }
        };
        (0..100).map(item).collect()
    }

    fn ids(choice: Choice) -> Vec<String> {
        let chosen = choice.apply(items());
        assert!(chosen.iter().enumerate().all(|(index, item)| item.index == index));
        chosen.into_iter().map(|item| item.id).collect()
    }

    #[test]
    fn halves_share_no_document_and_leave_nothing_out() {
        let [first, second] = Half::BOTH.map(|half| {
            ids(Choice {
                half: Some(half),
                ..Choice::default()
            })
        });
        assert!(first.iter().all(|id| !second.contains(id)));
        assert_eq!(first.len() + second.len(), 100);
        assert!(first.len() > 20 && second.len() > 20);
    }

    #[test]
    fn a_sample_follows_its_seed() {
        let sample = |seed| {
            ids(Choice {
                sample: Some(10),
                seed,
                ..Choice::default()
            })
        };
        assert_eq!(sample(1).len(), 10);
        assert_eq!(sample(1), sample(1));
        assert_ne!(sample(1), sample(2));
    }
}
