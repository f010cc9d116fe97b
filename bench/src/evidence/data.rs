//! Reads evaluation sets: JSON lines, plain or gzip; eval/README.md says what is in them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;

/// The folder of the sets that come with the project.
const FOLDER: &str = "eval";

/// A question about a document, with what a good pack holds.
pub(crate) struct Item {
    /// Place in its set.
    pub(crate) index: usize,
    pub(crate) id: String,
    pub(crate) document: String,
    pub(crate) question: String,
    pub(crate) answers: Vec<String>,
    /// Texts of the labelled evidence.
    pub(crate) evidence: Vec<String>,
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
pub(crate) fn load_all(files: &[PathBuf], limit: Option<usize>) -> anyhow::Result<Vec<Set>> {
    let found = if files.is_empty() {
        in_folder(Path::new(FOLDER))?
    } else {
        files.to_vec()
    };
    if found.is_empty() {
        bail!("no set in {FOLDER}/: name files to measure");
    }
    found.iter().map(|path| load(path, limit)).collect()
}

fn in_folder(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".jsonl.gz"));
    files.sort();
    Ok(files)
}

fn load(path: &Path, limit: Option<usize>) -> anyhow::Result<Set> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> = if packed {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut items = Vec::new();
    for (index, line) in BufReader::new(reader)
        .lines()
        .take(limit.unwrap_or(usize::MAX))
        .enumerate()
    {
        let at = || format!("{} line {}", path.display(), index + 1);
        let line: Line = serde_json::from_str(&line.with_context(at)?).with_context(at)?;
        items.push(Item {
            index,
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
        items,
    })
}
