//! A layer: the files of an image as a tar whose bytes depend on nothing but their content.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use liquid_signing::Sum;
use tar::{Builder, EntryType, Header, HeaderMode};

use super::blob::{Blob, Hashing};

/// Files by their path in the image, without a leading slash.
#[derive(Default)]
pub(crate) struct Layer {
    entries: BTreeMap<String, Entry>,
}

enum Entry {
    Folder(u32),
    File(Source, u32),
    Link(String),
}

enum Source {
    Path(PathBuf),
    Bytes(Vec<u8>),
}

impl Source {
    fn sum(&self) -> Result<Sum> {
        match self {
            Self::Path(path) => File::open(path)
                .and_then(Sum::read)
                .with_context(|| format!("cannot read {}", path.display())),
            Self::Bytes(bytes) => Ok(Sum::of(bytes)),
        }
    }
}

/// How a layer is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// What shrinks and travels.
    Gzip,
    /// Weights do not shrink; what only tests use does not travel.
    Plain,
}

/// A stored layer and the sum of its uncompressed tar, which the configuration names.
pub(crate) struct Stored {
    pub(crate) blob: Blob,
    pub(super) diff_id: String,
    pub(super) packing: Packing,
}

impl Layer {
    pub(crate) fn folder(&mut self, path: &str, mode: u32) {
        self.entries.insert(path.to_owned(), Entry::Folder(mode));
    }

    pub(crate) fn bytes(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        let entry = Entry::File(Source::Bytes(content.into()), 0o644);
        self.entries.insert(path.to_owned(), entry);
    }

    /// A file of the machine; executable for everybody if it is for its owner.
    pub(crate) fn file(&mut self, path: &str, from: &Path) -> Result<()> {
        let data = fs::metadata(from).with_context(|| format!("cannot read {}", from.display()))?;
        let mode = if data.permissions().mode() & 0o100 == 0 {
            0o644
        } else {
            0o755
        };
        let path = path.trim_start_matches('/').to_owned();
        self.entries
            .insert(path, Entry::File(Source::Path(from.to_owned()), mode));
        Ok(())
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.entries
            .insert(path.to_owned(), Entry::Link(target.to_owned()));
    }

    /// A folder of the machine with everything below it that `keep` lets through.
    pub(crate) fn tree(&mut self, path: &str, from: &Path, keep: &dyn Fn(&Path) -> bool) -> Result<()> {
        let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
        for entry in entries {
            let source = entry?.path();
            let name = source.file_name().context("a folder without names")?;
            let Some(name) = name.to_str().filter(|_| keep(&source)) else {
                continue;
            };
            let inner = format!("{}/{name}", path.trim_start_matches('/'));
            // Links are followed: what they point to may lie outside.
            let data = fs::metadata(&source);
            match data {
                Ok(data) if data.is_dir() => self.tree(&inner, &source, keep)?,
                Ok(_) => self.file(&inner, &source)?,
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// A tree that Python has compiled beside its sources, to where it looks for it.
    pub(super) fn bytecode(&mut self, path: &str, from: &Path) -> Result<()> {
        let path = path.trim_start_matches('/');
        for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
            let source = entry?.path();
            let name = source
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if source.is_dir() {
                self.bytecode(&format!("{path}/{name}"), &source)?;
            } else {
                self.file(&format!("{path}/__pycache__/{name}"), &source)?;
            }
        }
        Ok(())
    }

    /// Where its files, folders and links are, without a leading slash.
    #[cfg(test)]
    pub(super) fn paths(&self) -> Vec<&str> {
        self.entries.keys().map(String::as_str).collect()
    }

    /// The files of the machine that are in it.
    pub(super) fn sources(&self) -> Vec<PathBuf> {
        let files = self.entries.values().filter_map(|entry| match entry {
            Entry::File(Source::Path(path), _) => Some(path.clone()),
            _ => None,
        });
        files.collect()
    }

    /// The names of its files that begin with `start`, without that, and the sums of their contents.
    pub(super) fn sums(&self, start: &str) -> Result<Vec<(String, Sum)>> {
        let files = self.entries.iter().filter_map(|(path, entry)| match entry {
            Entry::File(source, _) => Some((path.strip_prefix(start)?, source)),
            _ => None,
        });
        files
            .map(|(name, source)| Ok((name.to_owned(), source.sum()?)))
            .collect()
    }

    /// Writes it into `folder` and names it by its sum.
    pub(crate) fn store(mut self, folder: &Path, packing: Packing) -> Result<Stored> {
        self.add_parents();
        let partial = folder.join("layer.partial");
        let stored = Hashing::new(BufWriter::new(File::create(&partial)?));
        let (stored, diff_id) = match packing {
            Packing::Gzip => {
                // No name, no time: the header holds nothing that changes.
                let packed = GzBuilder::new().mtime(0).write(stored, Compression::new(6));
                let tar = self.write(Hashing::new(packed))?;
                let (packed, _, diff_id) = tar.finish();
                (packed.finish()?, diff_id)
            }
            Packing::Plain => {
                let (stored, _, diff_id) = self.write(Hashing::new(stored))?.finish();
                (stored, diff_id)
            }
        };
        let (mut file, size, sum) = stored.finish();
        file.flush()?;
        let blob = Blob::place(folder, &partial, size, sum)?;
        Ok(Stored {
            blob,
            diff_id,
            packing,
        })
    }

    fn add_parents(&mut self) {
        let paths = self.entries.keys().cloned().collect::<Vec<_>>();
        for path in paths {
            let mut rest = path.as_str();
            while let Some((parent, _)) = rest.rsplit_once('/') {
                self.entries
                    .entry(parent.to_owned())
                    .or_insert(Entry::Folder(0o755));
                rest = parent;
            }
        }
    }

    fn write<W: Write>(&self, to: W) -> Result<W> {
        let mut tar = Builder::new(to);
        tar.mode(HeaderMode::Deterministic);
        for (path, entry) in &self.entries {
            match entry {
                Entry::Folder(mode) => {
                    let mut header = header(EntryType::Directory, *mode, 0);
                    tar.append_data(&mut header, format!("{path}/"), std::io::empty())?;
                }
                Entry::Link(target) => {
                    let mut header = header(EntryType::Symlink, 0o777, 0);
                    tar.append_link(&mut header, path, target)?;
                }
                Entry::File(Source::Bytes(content), mode) => {
                    let mut header = header(EntryType::Regular, *mode, content.len() as u64);
                    tar.append_data(&mut header, path, content.as_slice())?;
                }
                Entry::File(Source::Path(from), mode) => append(&mut tar, path, from, *mode)?,
            }
        }
        Ok(tar.into_inner()?)
    }
}

fn append<W: Write>(tar: &mut Builder<W>, path: &str, from: &Path, mode: u32) -> Result<()> {
    let file = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let size = file.metadata()?.len();
    let mut header = header(EntryType::Regular, mode, size);
    let mut counted = file.take(size);
    tar.append_data(&mut header, path, &mut counted)?;
    if counted.limit() != 0 {
        bail!("{} shrank while it was read", from.display());
    }
    Ok(())
}

/// Owned by root, without a time.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}
