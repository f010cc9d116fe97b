//! The GPU suite as one archive: the program without symbols, the data that its commands read, and a README.
//! It unpacks into one folder and needs neither this repository nor cargo.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use crate::command::{output, root};
use crate::console::{say, thousands};
use crate::model;

const README: &str = include_str!("pack/README.md");
const RUN: &str = include_str!("pack/run.sh");

/// The folder into which a pack unpacks.
const FOLDER: &str = "liquid-gpu";

/// Where `liquid-bench` looks for the weights.
const MODEL: &str = ".cache/models/all-minilm-l6-v2";

/// Files of the repository that the commands read.
const DATA: [&str; 4] = [
    "eval/cuad.jsonl.gz",
    "eval/qmsum.jsonl.gz",
    "eval/tatqa.jsonl.gz",
    "attention/peers/training.py",
];

/// Writes the archive.
pub(super) fn write(file: &Path, program: &Path, with_weights: bool) -> Result<()> {
    let at = || format!("cannot write {}", file.display());
    let stripped = stripped(program)?;
    let mut pack = Pack::create(file).with_context(at)?;
    pack.text("README.md", README, 0o644)?;
    pack.text("run.sh", RUN, 0o755)?;
    pack.file("liquid-bench", &stripped, 0o755)?;
    for name in DATA {
        pack.file(name, &root().join(name), 0o644)?;
    }
    if with_weights {
        match model::ensure()? {
            model::Weights::Ready(folder) => pack.folder(MODEL, &folder)?,
            model::Weights::Missing(why) => bail!("--with-weights: {why}"),
        }
    }
    pack.finish().with_context(at)?;
    let sizes = [&stripped, file].map(|path| Ok(thousands(path.metadata()?.len() >> 10)));
    let [program, archive]: [Result<String>; 2] = sizes;
    say(format!(
        "written: {} ({} KiB, the program in it {} KiB)\nthere: tar -xzf {} && {FOLDER}/run.sh suite check",
        file.display(),
        archive?,
        program?,
        file.file_name().unwrap_or_default().display()
    ));
    Ok(())
}

/// An archive that is being written.
struct Pack(Builder<GzEncoder<File>>);

impl Pack {
    fn create(file: &Path) -> Result<Self> {
        let encoder = GzEncoder::new(File::create(file)?, Compression::best());
        Ok(Self(Builder::new(encoder)))
    }

    fn text(&mut self, name: &str, text: &str, mode: u32) -> Result<()> {
        self.add(name, text.len() as u64, text.as_bytes(), mode)
    }

    fn file(&mut self, name: &str, path: &Path, mode: u32) -> Result<()> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let size = file.metadata()?.len();
        self.add(name, size, file, mode)
    }

    /// Adds the files of a folder; there are none below it.
    fn folder(&mut self, name: &str, folder: &Path) -> Result<()> {
        let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        let mut files: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
        files.sort();
        for path in files {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            self.file(&format!("{name}/{file}"), &path, 0o644)?;
        }
        Ok(())
    }

    fn add(&mut self, name: &str, size: u64, data: impl std::io::Read, mode: u32) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(size);
        header.set_mode(mode);
        self.0
            .append_data(&mut header, format!("{FOLDER}/{name}"), data)
            .with_context(|| format!("cannot pack {name}"))
    }

    fn finish(self) -> Result<()> {
        Ok(self.0.into_inner()?.finish()?.flush()?)
    }
}

/// A copy of a program without symbols, which are two thirds of one that the profile dev has built.
fn stripped(program: &Path) -> Result<PathBuf> {
    let target = program.with_extension("packed");
    output(Command::new("strip").arg("-o").arg(&target).arg(program))
        .context("cannot strip the program (Debian: apt-get install binutils)")?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn a_pack_unpacks_into_one_folder_with_a_command_that_runs() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let archive = folder.path().join("pack.tar.gz");
        let mut pack = Pack::create(&archive)?;
        pack.text("run.sh", RUN, 0o755)?;
        pack.text("liquid-bench", "#!/bin/sh\npwd; echo \"$@\"\n", 0o755)?;
        pack.finish()?;
        tar::Archive::new(GzDecoder::new(File::open(&archive)?)).unpack(folder.path())?;
        let run = folder.path().join(FOLDER).join("run.sh");
        let said = output(Command::new(run).args(["suite", "check"]))?;
        let there = folder.path().join(FOLDER).canonicalize()?;
        assert_eq!(said, format!("{}\nsuite check", there.display()));
        Ok(())
    }

    #[test]
    fn what_a_pack_carries_is_there() {
        for name in DATA {
            assert!(root().join(name).is_file(), "{name}");
        }
        assert!(
            README.contains(MODEL),
            "the README names the folder of the weights"
        );
    }
}
