//! The folder of a model in an image, and its signature.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use liquid_signing::{PrivateKey, SIGNATURE, SUMS, Sum, Sums};

use super::layer::Layer;

/// A model's files, by their names in its folder.
pub(super) struct ModelFolder {
    /// The folder in the image; empty for the image's root.
    place: String,
    files: BTreeMap<String, Content>,
}

#[derive(Clone)]
enum Content {
    Path(PathBuf),
    Bytes(Vec<u8>),
}

impl Content {
    fn sum(&self) -> Result<Sum> {
        match self {
            Self::Path(path) => File::open(path)
                .and_then(Sum::read)
                .with_context(|| format!("cannot read {}", path.display())),
            Self::Bytes(bytes) => Ok(Sum::of(bytes)),
        }
    }
}

impl ModelFolder {
    /// A folder without files.
    pub(super) fn new(place: &str) -> Self {
        Self {
            place: place.to_owned(),
            files: BTreeMap::new(),
        }
    }

    /// All files of a folder of the machine.
    pub(super) fn read(place: &str, folder: &Path) -> Result<Self> {
        let mut model = Self::new(place);
        for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let entry = entry?;
            model.file(&entry.file_name().to_string_lossy(), entry.path());
        }
        Ok(model)
    }

    pub(super) fn file(&mut self, name: &str, from: PathBuf) {
        self.files.insert(name.to_owned(), Content::Path(from));
    }

    pub(super) fn bytes(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        self.files.insert(name.to_owned(), Content::Bytes(content.into()));
    }

    /// Counts another folder, which is packed by itself, as a part of this one: it is inside.
    pub(super) fn add_inner(&mut self, inner: &Self, key: Option<&PrivateKey>) -> Result<()> {
        for (name, content) in inner.files.iter().chain(&inner.signature(key)?) {
            self.files
                .insert(format!("{}/{name}", inner.place), content.clone());
        }
        Ok(())
    }

    /// Adds the files to a layer; with a key, the list of their sums and its signature too.
    pub(super) fn pack(&self, layer: &mut Layer, key: Option<&PrivateKey>) -> Result<()> {
        let prefix = match self.place.as_str() {
            "" => String::new(),
            place => format!("{place}/"),
        };
        for (name, content) in self.files.iter().chain(&self.signature(key)?) {
            let path = format!("{prefix}{name}");
            match content {
                Content::Path(from) => layer.file(&path, from)?,
                Content::Bytes(bytes) => layer.bytes(&path, bytes.clone()),
            }
        }
        Ok(())
    }

    fn signature(&self, key: Option<&PrivateKey>) -> Result<BTreeMap<String, Content>> {
        let Some(key) = key else {
            return Ok(BTreeMap::new());
        };
        let mut sums = Sums::default();
        for (name, content) in &self.files {
            sums.insert(name, content.sum()?)?;
        }
        let files = [(SUMS, sums.to_string().into_bytes()), (SIGNATURE, sums.sign(key))];
        Ok(files
            .map(|(name, bytes)| (name.to_owned(), Content::Bytes(bytes)))
            .into())
    }
}
